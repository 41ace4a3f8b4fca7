//! The test runner: every suite with this terminal's output, counted, one line at the end.
//!
//! Suites that this machine cannot run are counted as skipped and say why. It never installs
//! anything outside `target/`.

mod clients;

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::shell;
use crate::tally::{CargoLines, Tally};

/// How the tests are asked for.
#[derive(clap::Args)]
pub struct Options {
    /// Only these; all when none is named
    pub only: Vec<Suite>,
}

/// One runner and what it runs.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Suite {
    /// `cargo test` over the workspace
    Rust,
    /// The official Python client against a real server
    Python,
    /// The official TypeScript client against a real server
    Typescript,
}

/// Runs the suites and ends with `N passed, N failed, N skipped`.
pub fn run(options: &Options) -> Result<()> {
    let mut failed = Vec::new();
    let tally = suites(options, &mut failed);
    println!("\n{tally}");
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

/// Runs the suites, adds the names of failed ones, and returns the numbers.
pub fn suites(options: &Options, failed: &mut Vec<String>) -> Tally {
    let wanted = |suite| options.only.is_empty() || options.only.contains(&suite);
    let mut tally = Tally::default();
    if wanted(Suite::Rust) {
        tally += one("Rust tests", failed, rust);
    }
    if wanted(Suite::Python) {
        tally += one("Python client tests", failed, clients::python);
    }
    if wanted(Suite::Typescript) {
        tally += one("TypeScript client tests", failed, clients::typescript);
    }
    tally
}

/// What a suite came to: its numbers, and whether its runner was content.
pub struct Outcome {
    tally: Tally,
    content: bool,
}

fn one(name: &str, failed: &mut Vec<String>, suite: fn() -> Result<Outcome>) -> Tally {
    eprintln!("── {name}");
    let (mut tally, content) = match suite() {
        Ok(outcome) => (outcome.tally, outcome.content),
        Err(error) => {
            eprintln!("── {name}: {error:#}");
            (Tally::default(), false)
        }
    };
    if !content {
        failed.push(name.to_owned());
        // A suite that did not even build must not look like one without failures.
        tally.failed = tally.failed.max(1);
    }
    eprintln!("── {name}: {tally}");
    tally
}

fn rust() -> Result<Outcome> {
    let mut command = shell::cargo();
    // The output of passed tests is shown, because it is there that a test says why it skipped.
    command.args([
        "test",
        "--workspace",
        "--no-fail-fast",
        "--locked",
        "--",
        "--show-output",
    ]);
    let mut cargo = CargoLines::default();
    let mut outcome = watch(&mut command, |line| cargo.count(line))?;
    // A test that says `skipped:` and returns is also in its binary's number of passed ones;
    // ignored tests are not allowed by the house, so all skipped ones are of that kind.
    outcome.tally.passed = outcome.tally.passed.saturating_sub(outcome.tally.skipped);
    Ok(outcome)
}

/// Runs a command, passes its output through line by line, and counts what the lines say.
fn watch(command: &mut Command, mut count: impl FnMut(&str) -> Tally) -> Result<Outcome> {
    let line = shell::describe(command);
    // One pipe for both streams keeps their order, and sees the lines that tests write past the
    // capture of standard output.
    let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
    command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start `{line}`"))?;
    // The command holds our ends of the pipe: without this the reader would never see its end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut tally = Tally::default();
    let mut stdout = std::io::stdout();
    let mut lines = BufReader::new(reader);
    let mut bytes = Vec::new();
    while lines.read_until(b'\n', &mut bytes)? > 0 {
        stdout.write_all(&bytes)?;
        tally += count(String::from_utf8_lossy(&bytes).trim_end());
        bytes.clear();
    }
    let status = child.wait()?;
    Ok(Outcome {
        tally,
        content: status.success() && tally.failed == 0,
    })
}
