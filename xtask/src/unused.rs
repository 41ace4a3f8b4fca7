//! Dependencies that no source file names: weight without use.
//!
//! It looks for the dependency's identifier as a word of code anywhere in the package's own
//! sources; it does not resolve names, so it may miss an unused one and never accuses a used one.

use anyhow::{Result, bail};

use crate::metadata::{Metadata, Package};
use crate::source;

/// Dependencies that are needed without being named, each with why.
const UNNAMED: &[(&str, &str, &str)] = &[];

/// Checks every member; any finding is an error.
pub fn run() -> Result<()> {
    let metadata = Metadata::load()?;
    let (mut findings, mut declared) = (0, 0);
    for package in metadata.members() {
        let code = code_of(package)?;
        declared += package.dependencies.len();
        for name in unnamed(package, &code) {
            eprintln!(
                "unused: {} declares {name}, and no source of it names that",
                package.name
            );
            findings += 1;
        }
    }
    if findings > 0 {
        bail!("unused: {findings} findings");
    }
    println!("unused: all {declared} declared dependencies are named");
    Ok(())
}

fn code_of(package: &Package) -> Result<String> {
    let mut code = String::new();
    for path in source::files(&package.folder(), &[".rs"])? {
        code.push_str(&source::code(&std::fs::read_to_string(path)?));
        code.push('\n');
    }
    Ok(code)
}

fn unnamed<'a>(package: &'a Package, code: &str) -> Vec<&'a str> {
    package
        .dependencies
        .iter()
        .filter(|dependency| !source::names(code, &dependency.identifier()))
        .map(|dependency| dependency.name.as_str())
        .filter(|name| {
            !UNNAMED
                .iter()
                .any(|(who, what, _)| *who == package.name && what == name)
        })
        .collect()
}
