//! Rivals that come as packages, for orientation. Nothing here is needed: what is not installed is
//! passed over with a sentence.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::row::Row;
use super::{Setting, pairs};
use crate::shell;

/// Programs, and the words that make them do the least they can do.
const RIVALS: [(&str, &str); 2] = [("sandbox-agent", "--version"), ("omnigent", "--version")];

/// Times the start of those that are there beside the start of ours.
pub fn run(setting: &Setting) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (program, word) in RIVALS {
        if !shell::exists(program) {
            eprintln!("{program} is not installed and is passed over");
            continue;
        }
        let both = pairs::interleaved(
            setting.rounds.min(5),
            || start(Command::new(&setting.hostel).arg("--version")),
            || start(Command::new(program).arg(word)),
        )?;
        rows.push(Row::times("start of the program", program, both, &[]));
    }
    Ok(rows)
}

fn start(command: &mut Command) -> Result<Duration> {
    let begun = Instant::now();
    let status = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .context("cannot start a rival")?;
    if !status.success() {
        bail!("a rival ended with {status}");
    }
    Ok(begun.elapsed())
}
