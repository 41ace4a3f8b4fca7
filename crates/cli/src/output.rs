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

/// The text of a value; nothing when it is none.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A time to the second; nothing when there is none.
pub fn moment(value: &Value) -> String {
    let text: String = text(value).chars().take(19).collect();
    text.replace('T', " ")
}

/// Rows with their columns aligned; the first has the heads.
pub fn table(rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
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
