//! How long the binary takes to start and end, against `true`: every sandbox is made by a helper
//! process of this binary and pays it.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::row::{Bound, Row};
use super::{Setting, pairs};

/// A dynamic binary of our size is read in a few milliseconds; more means that something runs
/// before `main` that should not.
const MOST: f64 = 10.0;

/// Measures `hostel --version` and `true` in pairs.
pub fn run(setting: &Setting) -> Result<Vec<Row>> {
    let both = pairs::interleaved(
        setting.rounds,
        || spawn(Command::new(&setting.hostel).arg("--version")),
        || spawn(&mut Command::new("true")),
    )?;
    Ok(vec![Row::times(
        "start of the binary",
        "true",
        both,
        &[Bound::Ratio(MOST)],
    )])
}

fn spawn(command: &mut Command) -> Result<Duration> {
    let started = Instant::now();
    let status = command
        .stdout(Stdio::null())
        .status()
        .context("cannot start the program under test")?;
    if !status.success() {
        bail!("the program under test failed with {status}");
    }
    Ok(started.elapsed())
}
