//! What `cargo metadata` says about the workspace, in the few fields the gate needs.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::shell;

/// The platform whose dependencies are shipped; others' duplicates are nobody's weight.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// The answer of `cargo metadata`.
#[derive(Deserialize)]
pub struct Metadata {
    /// Every package of the dependency graph, members included.
    pub packages: Vec<Package>,
    /// The package ids of the members.
    pub workspace_members: Vec<String>,
}

/// One package.
#[derive(Deserialize)]
pub struct Package {
    /// Opaque package id.
    pub id: String,
    /// Name as in its manifest.
    pub name: String,
    /// Exact version.
    pub version: String,
    /// SPDX expression, when it has one.
    pub license: Option<String>,
    /// Registry or repository; none for a path.
    pub source: Option<String>,
    /// Its manifest file.
    pub manifest_path: PathBuf,
    /// What its manifest declares.
    pub dependencies: Vec<Dependency>,
}

/// One declared dependency.
#[derive(Deserialize)]
pub struct Dependency {
    /// Package name.
    pub name: String,
    /// The name it was given here, when it was renamed.
    pub rename: Option<String>,
    /// `dev`, `build`, or none for a normal one.
    pub kind: Option<String>,
}

impl Metadata {
    /// The graph for the shipped platform.
    pub fn load() -> Result<Metadata> {
        Metadata::read(&["--filter-platform", PLATFORM])
    }

    /// The whole lock file, every platform.
    pub fn locked() -> Result<Metadata> {
        Metadata::read(&[])
    }

    fn read(extra: &[&str]) -> Result<Metadata> {
        let mut command = shell::cargo();
        command
            .args(["metadata", "--format-version", "1", "--quiet"])
            .args(extra);
        let json = shell::output(&mut command)?;
        serde_json::from_slice(&json).context("cargo metadata answered something unexpected")
    }

    /// The packages of this workspace.
    pub fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages
            .iter()
            .filter(|package| self.workspace_members.contains(&package.id))
    }

    /// The packages of others.
    pub fn foreign(&self) -> impl Iterator<Item = &Package> {
        self.packages
            .iter()
            .filter(|package| !self.workspace_members.contains(&package.id))
    }
}

impl Package {
    /// The folder of its manifest.
    pub fn folder(&self) -> PathBuf {
        self.manifest_path
            .parent()
            .expect("a manifest lies in a folder")
            .to_path_buf()
    }
}

impl Dependency {
    /// The identifier by which sources name it.
    pub fn identifier(&self) -> String {
        self.rename.as_ref().unwrap_or(&self.name).replace('-', "_")
    }
}
