//! The claude CLI for test servers: the real one, installed once and shared, or a program of the
//! test's own in its place.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use crate::server::binary;

/// Which one.
#[derive(Debug, Clone)]
pub enum Cli {
    /// The one that users have.
    Real,
    /// The one that was published before it.
    Before,
    /// This script in its place.
    Fake(String),
    /// None at all.
    None,
}

impl Cli {
    /// Makes it the installed version of a data directory.
    pub fn install(&self, data: &Path) {
        match self {
            Cli::Real => share(&real(), &data.join("cli")),
            Cli::Before => share(&before(), &data.join("cli")),
            Cli::Fake(script) => fake(script, data),
            Cli::None => {}
        }
    }
}

/// The number of the real one.
#[must_use]
pub fn real_version() -> String {
    only(&real())
}

/// The number of the one before it.
#[must_use]
pub fn before_version() -> String {
    only(&before())
}

fn only(cli: &Path) -> String {
    let version = versions(cli).next().unwrap();
    version.file_name().unwrap().to_str().unwrap().to_owned()
}

fn fake(script: &str, data: &Path) {
    let home = data.join("cli/9.9.9");
    fs::create_dir_all(&home).unwrap();
    let path = home.join("claude");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o555)).unwrap();
}

/// Where the real one is installed for all tests, those in other languages as well.
fn real() -> PathBuf {
    kept("tests-cli", &[])
}

/// Where the one before it is.
fn before() -> PathBuf {
    kept("tests-cli/before", &[format!("<{}", real_version())])
}

/// The versions in a directory below the build's own, with one installed when there is none.
fn kept(name: &str, which: &[String]) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap();
    let shared = binary().parent().and_then(Path::parent).unwrap().join(name);
    fs::create_dir_all(&shared).unwrap();
    if versions(&shared.join("cli")).next().is_none() {
        let installed = Command::new(binary())
            .args(["cli", "install", "--data"])
            .arg(&shared)
            .args(which)
            .status()
            .unwrap();
        assert!(
            installed.success(),
            "the claude CLI cannot be installed for the tests"
        );
    }
    shared.join("cli")
}

fn versions(cli: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(cli).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.join("claude").is_file())
}

/// Hard links where that is possible: the CLI is some hundred megabytes.
fn share(from: &Path, to: &Path) {
    for version in versions(from) {
        let home = to.join(version.file_name().unwrap());
        fs::create_dir_all(&home).unwrap();
        let (source, target) = (version.join("claude"), home.join("claude"));
        if fs::hard_link(&source, &target).is_err() {
            std::os::unix::fs::symlink(&source, &target).unwrap();
        }
    }
}
