//! What a verb ends with when it fails: what happened, what to do next, and the exit code.

use std::fmt;
use std::process::ExitCode;

/// A verb's failure, as it is told to a person or, with `--json`, to a program.
#[derive(Debug)]
pub struct Failure {
    what: String,
    next: Option<String>,
    usage: bool,
}

impl Failure {
    /// Something did not work: exit code 1.
    pub fn new(what: impl fmt::Display) -> Failure {
        Failure {
            what: what.to_string(),
            next: None,
            usage: false,
        }
    }

    /// The command was not understood: exit code 2.
    pub fn usage(what: impl fmt::Display) -> Failure {
        Failure::new(what).into_usage()
    }

    /// The same, as something that the command was wrong about: exit code 2.
    #[must_use]
    pub fn into_usage(self) -> Failure {
        Failure {
            usage: true,
            ..self
        }
    }

    /// From an error, with its causes in one sentence.
    pub fn caused(step: impl fmt::Display, error: &dyn std::error::Error) -> Failure {
        let mut what = format!("{step}: {error}");
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Some libraries repeat the cause in their own sentence.
            if !what.contains(&text) {
                what = format!("{what}: {text}");
            }
            cause = error.source();
        }
        Failure::new(what)
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn next(self, next: impl Into<String>) -> Failure {
        Failure {
            next: Some(next.into()),
            ..self
        }
    }

    /// Tells it on standard error and gives the exit code.
    pub fn report(&self, json: bool) -> ExitCode {
        if json {
            let next = self.next.as_deref();
            eprintln!(
                "{}",
                serde_json::json!({"error": {"message": self.what, "next": next}})
            );
        } else {
            eprintln!("hostel: {}", self.what);
            if let Some(next) = &self.next {
                eprintln!("        {next}");
            }
        }
        ExitCode::from(if self.usage { 2 } else { 1 })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// What every verb returns: the exit code of a run that worked, or a failure.
pub type Outcome = Result<ExitCode, Failure>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot bind")]
        struct Bind(#[source] std::io::Error);
        let error = Bind(std::io::Error::other("port taken"));
        let failure = Failure::caused("serve", &error);
        assert_eq!(failure.to_string(), "serve: cannot bind: port taken");
    }
}
