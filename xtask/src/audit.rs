//! The dependency audit: licences from an allow-list, no source but the registry and this tree,
//! one version of each package, and a bounded number of them.
//!
//! It reads `cargo metadata` and never the network. Known vulnerabilities are `cargo deny`'s
//! part, which runs when it is installed and says so when it is not.

mod licence;

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use crate::metadata::{Metadata, Package};
use crate::shell;

/// More packages than this in the lock file is a decision, not an accident.
const MOST_LOCKED: usize = 450;

/// Packages that may stand in two versions on the shipped platform, each with who holds the older
/// one. A row that is no longer needed is an error too.
const TWO_VERSIONS: &[(&str, &str)] = &[
    ("base64", "hyper-util's proxy matcher is ahead of the rest"),
    (
        "cpufeatures",
        "sha2 0.10 is behind proptest's generator, which is for tests only",
    ),
    ("foldhash", "as hashbrown"),
    (
        "getrandom",
        "ring 0.17 holds 0.2; tempfile and proptest are ahead at 0.4",
    ),
    (
        "hashbrown",
        "rusqlite's statement cache (hashlink) is behind",
    ),
    ("linux-raw-sys", "as rustix"),
    ("nix", "libcontainer holds 0.29 and its own prctl is ahead"),
    (
        "rand",
        "tungstenite and yamux are behind proptest, which is for tests only",
    ),
    ("rand_core", "as rand"),
    (
        "rustix",
        "libcontainer's protobuf code generator (which 4) holds 0.38, at build time only",
    ),
    (
        "syn",
        "derive macros are in the middle of their move to 3, at build time only",
    ),
    (
        "synstructure",
        "rcgen names x509-parser by a weak feature, so it stands in the lock file without being built",
    ),
    ("thiserror", "libcontainer's protobuf holds 1"),
    ("thiserror-impl", "as thiserror"),
    ("winnow", "toml 0.9 uses both itself"),
];

/// Packages whose manifest names a file instead of a licence, each with what was read there.
const READ_BY_HAND: [(&str, &str); 1] = [("rust-criu", "MIT")];

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Audits and prints one line; every finding is printed and makes it an error.
pub fn run() -> Result<()> {
    let (shipped, locked) = (Metadata::load()?, Metadata::locked()?);
    let mut findings = Vec::new();
    findings.extend(licences(&shipped));
    findings.extend(sources(&locked));
    findings.extend(duplicates(&shipped, TWO_VERSIONS));
    if locked.packages.len() > MOST_LOCKED {
        findings.push(format!(
            "{} packages are locked, at most {MOST_LOCKED} may be",
            locked.packages.len()
        ));
    }
    for finding in &findings {
        eprintln!("audit: {finding}");
    }
    if !findings.is_empty() {
        bail!("audit: {} findings", findings.len());
    }
    println!(
        "audit: {} packages shipped or built for, {} locked (at most {MOST_LOCKED}), licences and sources allowed",
        shipped.packages.len(),
        locked.packages.len()
    );
    advisories()
}

fn advisories() -> Result<()> {
    if !shell::exists("cargo-deny") {
        println!(
            "audit: advisories skipped: cargo-deny is not installed (`cargo install cargo-deny`)"
        );
        return Ok(());
    }
    shell::run(shell::cargo().args(["deny", "check", "advisories"]))
}

fn licences(metadata: &Metadata) -> Vec<String> {
    metadata
        .foreign()
        .filter(|package| !licence_of(package).is_some_and(licence::allowed))
        .map(|package| {
            let licence = package.license.as_deref().unwrap_or("none named");
            format!(
                "{} {}: licence {licence} is not on the allow-list",
                package.name, package.version
            )
        })
        .collect()
}

fn licence_of(package: &Package) -> Option<&str> {
    let read = READ_BY_HAND.iter().find(|(name, _)| *name == package.name);
    package
        .license
        .as_deref()
        .or(read.map(|(_, licence)| *licence))
}

fn sources(metadata: &Metadata) -> Vec<String> {
    let root = shell::root();
    metadata
        .packages
        .iter()
        .filter(|package| match &package.source {
            Some(source) => source != REGISTRY,
            None => !package.manifest_path.starts_with(&root),
        })
        .map(|package| {
            format!(
                "{} comes from outside the registry and this tree",
                package.name
            )
        })
        .collect()
}

fn duplicates(metadata: &Metadata, explained: &[(&str, &str)]) -> Vec<String> {
    let mut versions: BTreeMap<&str, Vec<&Package>> = BTreeMap::new();
    for package in metadata.foreign() {
        versions.entry(&package.name).or_default().push(package);
    }
    versions.retain(|_, packages| packages.len() > 1);
    let mut findings = Vec::new();
    for (name, packages) in &versions {
        if !explained.iter().any(|(known, _)| known == name) {
            let list: Vec<_> = packages
                .iter()
                .map(|package| package.version.as_str())
                .collect();
            findings.push(format!(
                "{name} stands in several versions: {}",
                list.join(", ")
            ));
        }
    }
    for (name, _) in explained
        .iter()
        .filter(|(name, _)| !versions.contains_key(name))
    {
        findings.push(format!(
            "{name} no longer stands in several versions: remove its row in xtask/src/audit.rs"
        ));
    }
    findings
}
