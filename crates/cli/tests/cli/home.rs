//! A hermetic home: the binary sees no variable, file or server of the person who runs the tests.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// A home and what runs in it.
pub struct Home {
    folder: TempDir,
}

/// What a run of the binary came to.
pub struct Ran {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Home {
    /// An empty home.
    pub fn new() -> Home {
        Home {
            folder: TempDir::new().expect("the temporary directory is writable"),
        }
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The binary with these words, not yet started.
    pub fn hostel(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hostel"));
        command.args(words).current_dir(self.path()).env_clear();
        command.env("HOME", self.path());
        // Programs of the system, and the way to the npm registry where it leads over a proxy.
        for name in [
            "PATH",
            "HTTPS_PROXY",
            "HTTP_PROXY",
            "NO_PROXY",
            "SSL_CERT_FILE",
            "npm_config_registry",
        ] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
    }

    /// Runs the binary to its end.
    pub fn run(&self, words: &[&str]) -> Ran {
        Ran::of(self.hostel(words))
    }
}

impl Ran {
    /// Runs a prepared command to its end.
    pub fn of(mut command: Command) -> Ran {
        let Output {
            status,
            stdout,
            stderr,
        } = command.output().expect("the binary starts");
        Ran {
            code: status.code().expect("the binary exits by itself"),
            out: String::from_utf8(stdout).expect("standard output is text"),
            err: String::from_utf8(stderr).expect("standard error is text"),
        }
    }

    /// Standard output as the one JSON value it must be.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.out, self.err))
    }
}
