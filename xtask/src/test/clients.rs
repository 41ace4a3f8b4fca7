//! The suites that drive the real binary through the official clients, in Python and TypeScript.
//! Their packages are pinned; they are installed below `target/`, again only when the pins change.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::{Outcome, watch};
use crate::shell;
use crate::tally::Tally;

/// The suite of `tests/python`, in an environment of its own.
pub fn python() -> Result<Outcome> {
    let folder = shell::root().join("tests/python");
    if !folder.is_dir() {
        return Ok(skipped("Python client tests", "tests/python is not there"));
    }
    if !shell::exists("python3") {
        return Ok(skipped(
            "Python client tests",
            "python3 is not installed (`make setup`)",
        ));
    }
    let home = shell::target().join("tests-python");
    let python = home.join("bin/python");
    let pins = fs::read_to_string(folder.join("requirements.txt"))
        .context("tests/python/requirements.txt")?;
    once(&home, &pins, || {
        shell::run(
            Command::new("python3")
                .args(["-m", "venv", "--clear"])
                .arg(&home),
        )?;
        let mut install = Command::new(&python);
        install.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-r",
            "requirements.txt",
        ]);
        shell::run(install.current_dir(&folder))
    })?;
    binary()?;
    let mut command = Command::new(&python);
    command
        .args(["-m", "pytest", "-ra", "--color=no"])
        .current_dir(&folder);
    command
        .env("HOSTEL_BIN", shell::target().join("debug/hostel"))
        .env("PYTHONUNBUFFERED", "1");
    watch(&mut command, Tally::of_pytest_line)
}

/// The suite of `tests/typescript`.
pub fn typescript() -> Result<Outcome> {
    let folder = shell::root().join("tests/typescript");
    if !folder.is_dir() {
        return Ok(skipped(
            "TypeScript client tests",
            "tests/typescript is not there",
        ));
    }
    if !shell::exists("node") || !shell::exists("npm") {
        return Ok(skipped(
            "TypeScript client tests",
            "node and npm are not installed (`make setup`)",
        ));
    }
    let pins = fs::read_to_string(folder.join("package-lock.json"))
        .context("tests/typescript/package-lock.json")?;
    once(&folder.join("node_modules"), &pins, || {
        let mut install = Command::new("npm");
        install.args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]);
        shell::run(install.current_dir(&folder))
    })?;
    binary()?;
    let mut command = Command::new("npm");
    command.args(["test", "--silent"]).current_dir(&folder);
    command.env("HOSTEL_BIN", shell::target().join("debug/hostel"));
    watch(&mut command, Tally::of_node_line)
}

/// Builds the binary that both suites start: the one that the Rust tests have just used.
fn binary() -> Result<()> {
    shell::run(shell::cargo().args(["build", "--quiet", "--locked", "--package", "cli"]))
}

/// Installs unless the folder already holds exactly these pins.
fn once(home: &Path, pins: &str, install: impl FnOnce() -> Result<()>) -> Result<()> {
    let stamp = home.join(".pins");
    if fs::read_to_string(&stamp).is_ok_and(|old| old == pins) {
        return Ok(());
    }
    install()?;
    fs::write(&stamp, pins).with_context(|| format!("cannot write {}", stamp.display()))
}

fn skipped(suite: &str, reason: &str) -> Outcome {
    println!("skipped: {suite}: {reason}");
    Outcome {
        tally: Tally {
            skipped: 1,
            ..Tally::default()
        },
        content: true,
    }
}
