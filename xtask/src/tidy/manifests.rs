//! Rules over the manifests: the arrows between our crates, the drivers that one crate owns,
//! and that lints and versions are chosen once for all.

use std::collections::BTreeSet;

use super::{Finding, Tree};
use crate::metadata::Package;

/// Which of our crates each of them may import. An arrow is added here, in review, or not at all.
const ARROWS: [(&str, &[&str]); 15] = [
    ("api", &[]),
    ("protocol", &[]),
    ("egress", &[]),
    ("claude", &[]),
    ("model", &[]),
    ("fuzz", &[]),
    ("guest", &["protocol"]),
    ("sandbox", &["protocol"]),
    ("snapshot", &["protocol"]),
    ("store", &["api"]),
    (
        "server",
        &["api", "store", "sandbox", "snapshot", "egress", "claude"],
    ),
    (
        "cli",
        &["server", "api", "egress", "sandbox", "claude", "model"],
    ),
    (
        "integration",
        &[
            "api", "claude", "cli", "egress", "model", "protocol", "sandbox", "server", "snapshot",
            "store",
        ],
    ),
    (
        "bench",
        &["claude", "egress", "model", "sandbox", "snapshot"],
    ),
    ("xtask", &[]),
];

/// What tests may import beyond that: the model that speaks from a script stands in for the real
/// one, and fuzz targets are driven by one crate. They depend on nothing of ours.
const FOR_TESTS: [&str; 2] = ["model", "fuzz"];

/// A driver that only one crate may list, so that the manifest guards the seam.
const OWNED: [(&str, &[&str]); 6] = [
    ("rusqlite", &["store"]),
    ("libcontainer", &["sandbox"]),
    ("oci-spec", &["sandbox"]),
    ("clap", &["cli", "xtask", "integration"]),
    ("yamux", &["sandbox", "guest"]),
    ("zstd", &["snapshot"]),
];

/// A crate imports only the crates of ours that its row allows.
pub fn imports(tree: &Tree) -> Vec<Finding> {
    let ours: BTreeSet<&str> = tree
        .metadata
        .members()
        .map(|package| package.name.as_str())
        .collect();
    let mut findings = Vec::new();
    for package in tree.metadata.members() {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == package.name) else {
            findings.push(finding(
                package,
                "a crate without a row in xtask/src/tidy/manifests.rs",
            ));
            continue;
        };
        for dependency in package
            .dependencies
            .iter()
            .filter(|d| ours.contains(d.name.as_str()))
        {
            let test = dependency.kind.as_deref() == Some("dev")
                && FOR_TESTS.contains(&dependency.name.as_str());
            if !test && !allowed.contains(&dependency.name.as_str()) {
                findings.push(finding(
                    package,
                    &format!("{} may not import {}", package.name, dependency.name),
                ));
            }
        }
    }
    findings
}

/// A driver is listed only by the crate that owns it.
pub fn owners(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in tree.metadata.members() {
        for dependency in &package.dependencies {
            if let Some((driver, owners)) =
                OWNED.iter().find(|(driver, _)| *driver == dependency.name)
                && !owners.contains(&package.name.as_str())
            {
                findings.push(finding(
                    package,
                    &format!("only {} may list {driver}", owners.join(", ")),
                ));
            }
        }
    }
    findings
}

/// Every member takes the workspace's lints, and every version is chosen in the workspace's manifest.
pub fn shared(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in &tree.texts {
        if path.ends_with("Cargo.toml") && path != "Cargo.toml" {
            findings.extend(shared_in(path, text));
        }
    }
    findings
}

fn shared_in(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !text.contains("[lints]\nworkspace = true") {
        findings.push(Finding::file(path, "a member takes the workspace's lints"));
    }
    let mut section = "";
    for (index, line) in text.lines().enumerate() {
        if line.starts_with('[') {
            section = line;
        } else if section.contains("dependencies")
            && line.contains('=')
            && !line.starts_with('#')
            && !line.contains("workspace = true")
        {
            findings.push(Finding::line(
                path,
                index + 1,
                "versions are chosen in the workspace's Cargo.toml",
            ));
        }
    }
    findings
}

fn finding(package: &Package, rule: &str) -> Finding {
    Finding::file(
        package
            .folder()
            .file_name()
            .unwrap_or_default()
            .to_os_string(),
        rule,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_version_and_missing_lints_are_found() {
        let text = "[package]\nname = \"x\"\n\n[dependencies]\nserde = \"1\"\nbytes = { workspace = true }\n";
        let lines: Vec<_> = shared_in("crates/x/Cargo.toml", text)
            .iter()
            .map(|f| f.line)
            .collect();
        assert_eq!(lines, [None, Some(5)]);
    }

    #[test]
    fn every_arrow_points_at_a_crate_with_a_row() {
        for (name, targets) in ARROWS {
            for target in targets {
                assert!(
                    ARROWS.iter().any(|(row, _)| row == target),
                    "{name} -> {target}"
                );
            }
        }
    }
}
