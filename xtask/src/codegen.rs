//! The generated files: written from the product itself, checked for being up to date.
//!
//! To add one: a row in `GENERATED` with the words that make `hostel` print it.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::shell;

/// How `codegen` is asked for.
#[derive(clap::Args)]
pub struct Options {
    /// Write nothing; fail when a file is not what would be written
    #[arg(long)]
    pub check: bool,
}

/// A file of the tree, and what `hostel` prints it.
const GENERATED: [(&str, &[&str]); 1] = [("docs/config.schema.json", &["config", "schema"])];

/// Writes, or with `--check` compares, every generated file.
pub fn run(options: &Options) -> Result<()> {
    let mut stale = Vec::new();
    for (file, words) in GENERATED {
        let mut command = shell::cargo();
        command
            .args([
                "run",
                "--quiet",
                "--package",
                "cli",
                "--bin",
                "hostel",
                "--",
            ])
            .args(words);
        let text = shell::output(&mut command)?;
        let path = shell::root().join(file);
        if fs::read(&path).is_ok_and(|old| old == text) {
            continue;
        }
        stale.push(file);
        if !options.check {
            fs::create_dir_all(path.parent().expect("a generated file lies in a folder"))?;
            fs::write(&path, text).with_context(|| format!("cannot write {file}"))?;
        }
    }
    match (stale.as_slice(), options.check) {
        ([], _) => println!("codegen: {} files, all up to date", GENERATED.len()),
        (stale, true) => bail!(
            "codegen: {} not up to date; run `cargo xtask codegen` and commit",
            stale.join(", ")
        ),
        (stale, false) => println!("codegen: wrote {}", stale.join(", ")),
    }
    Ok(())
}
