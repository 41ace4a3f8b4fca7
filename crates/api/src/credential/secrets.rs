//! What is secret of a credential.

use std::fmt;

use serde_json::Value;

use crate::error::Invalid;
use crate::read::{At, Read, expected};

/// A secret text. It has no `Debug` with content, no `Display` and no `Serialize`, and its memory is
/// cleared when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(String);

/// All secrets of one credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secrets {
    /// What is put into requests: the token or the variable's value.
    pub value: Hidden,
    /// What a new token is asked for with.
    pub refresh_token: Option<Hidden>,
    /// What the token endpoint knows its client by.
    pub client_secret: Option<Hidden>,
}

impl Hidden {
    /// Hides `text`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Hidden {
        Hidden(text.into())
    }

    /// The content. For those who seal or send it, never for a log, an error or an answer.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden")
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.0).into_bytes();
        bytes.fill(0);
        // Keeps the compiler from proving the store dead.
        std::hint::black_box(&bytes);
    }
}

impl Read for Hidden {
    fn read(value: Value, at: At<'_>) -> Result<Hidden, Invalid> {
        match value {
            Value::String(text) => Ok(Hidden(text)),
            other => Err(at.invalid(expected("a string", &other))),
        }
    }
}

/// Shorter values cannot be told from ordinary text where answers are searched for them.
const SHORTEST: usize = 8;

/// Checks what is put into requests. The message says nothing of the content.
pub(super) fn check_value(
    value: &Hidden,
    most: usize,
    header: bool,
    at: At<'_>,
) -> Result<(), Invalid> {
    let text = value.expose();
    let length = text.chars().count();
    if length < SHORTEST {
        let why = "shorter ones cannot be told from ordinary text in what hosts answer";
        return Err(at.invalid(format!("at least {SHORTEST} characters: {why}")));
    }
    check_length(value, most, at)?;
    if header && !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Err(at.invalid(
            "must be printable ASCII in one line, because it goes into headers; set `injection_location` to \
             the body alone for anything else",
        ));
    }
    Ok(())
}

/// Checks a secret that is not put into requests of a sandbox.
pub(super) fn check_length(value: &Hidden, most: usize, at: At<'_>) -> Result<(), Invalid> {
    let length = value.expose().chars().count();
    match length {
        0 => Err(at.invalid("cannot be empty")),
        _ if length > most => Err(at.invalid(format!("at most {most} characters, got {length}"))),
        _ => Ok(()),
    }
}
