//! Measurements of the crate `bench`: it may use the product's crates and gives samples; this
//! side installs the claude CLI where it is missing, starts it, and reads what it found.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::Setting;
use super::row::Row;
use crate::shell;

/// Runs one of its measurements.
pub fn run(setting: &Setting, name: &str) -> Result<Vec<Row>> {
    let mut command = Command::new(setting.hostel.with_file_name("bench"));
    command
        .arg(&setting.hostel)
        .arg(claude(&setting.hostel)?)
        .arg(setting.rounds.to_string())
        .arg(name);
    if let Some(folder) = &setting.rivals {
        let folder = folder
            .canonicalize()
            .with_context(|| format!("no folder {}", folder.display()))?;
        command.env("BENCH_RIVALS", folder);
    }
    let rows = shell::output(&mut command)?;
    serde_json::from_slice(&rows).context("the crate bench wrote something unexpected")
}

/// The claude CLI that the tests use, installed when it is not there.
fn claude(hostel: &Path) -> Result<PathBuf> {
    let data = shell::target().join("tests-cli");
    if let Some(found) = installed(&data) {
        return Ok(found);
    }
    std::fs::create_dir_all(&data)?;
    let mut install = Command::new(hostel);
    install
        .args(["cli", "install", "--data"])
        .arg(&data)
        .stdout(Stdio::null());
    shell::run(&mut install)?;
    installed(&data).context("the claude CLI was installed and is not there")
}

fn installed(data: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(data.join("cli")).ok()?.flatten();
    entries
        .map(|entry| entry.path().join("claude"))
        .find(|path| path.is_file())
}
