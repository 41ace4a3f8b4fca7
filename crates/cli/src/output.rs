//! How a verb speaks: for people or, with `--json`, one JSON value per line on standard output.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use serde_json::Value;

use crate::failure::{Failure, Outcome};

/// The chosen manner of speaking.
#[derive(Clone, Copy)]
pub struct Output {
    /// Whether programs read it.
    pub json: bool,
    /// Whether colours help: a terminal, and nobody asked for none.
    pub colour: bool,
}

impl Output {
    /// As asked on the command line, and as the terminal allows.
    pub fn new(json: bool) -> Output {
        let colour = !json
            && std::io::stdout().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Output { json, colour }
    }

    /// A result: the value for programs, the text for people.
    pub fn result(&self, value: &Value, text: &str) -> Outcome {
        if self.json {
            line(&value.to_string())?;
        } else {
            line(text)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Writes one line and flushes it; a reader that went away ends the verb without a panic.
pub fn line(text: &str) -> Result<(), Failure> {
    write(text)?;
    write("\n")
}

/// Writes a piece of a line and flushes it.
pub fn write(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::caused("cannot write to standard output", &error))
}
