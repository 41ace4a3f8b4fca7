//! Installing a version from the registry that npm's own settings name, with progress.

use std::path::PathBuf;
use std::sync::Mutex;

use claude::versions::{Installed, Progress as Step, Registry, requirement};
use semver::VersionReq;
use server::config::Config;

use super::{listed, open};
use crate::failure::Failure;
use crate::progress::Progress;

/// Installs the newest version that the words, or else the settings, allow.
pub async fn install(config: &Config, words: Option<&str>) -> Result<Installed, Failure> {
    let allowed = match words {
        Some(words) => requirement(words).map_err(|error| no_version(words, &error))?,
        None => Some(config.cli.version.clone()).filter(|allowed| *allowed != VersionReq::STAR),
    };
    fetch(config, allowed.as_ref()).await
}

/// Installs the newest version that is allowed, or finds it installed.
pub async fn fetch(config: &Config, allowed: Option<&VersionReq>) -> Result<Installed, Failure> {
    let registry = registry()?;
    let progress = Mutex::new(Progress::begin(&format!(
        "claude CLI from {}",
        registry.url()
    )));
    let told = |step: Step| {
        // A poisoned lock would mean that printing panicked; the installation goes on.
        let Ok(mut progress) = progress.lock() else {
            return;
        };
        match step {
            Step::Downloading {
                received, total, ..
            } => progress.bytes(received, total),
            Step::Waiting => progress.note("waiting for another installation"),
            Step::Looking | Step::Finishing => {}
        }
    };
    let installed = open(config)?
        .install(&registry, allowed, told)
        .await
        .map_err(|error| {
            Failure::caused("cannot install the claude CLI", &error).next(format!(
                "is {} reachable? npm's settings (.npmrc, npm_config_registry) name the registry",
                registry.url()
            ))
        })?;
    if let Ok(progress) = progress.into_inner() {
        progress.end(&format!("{} is there", installed.version));
    }
    Ok(installed)
}

/// Makes sure that a version that the settings allow is installed.
pub async fn ensure(config: &Config) -> Result<(), Failure> {
    if listed(config)?
        .iter()
        .any(|one| config.cli.version.matches(&one.version))
    {
        return Ok(());
    }
    install(config, None).await.map(drop)
}

/// What somebody called a version is none.
pub fn no_version(words: &str, error: &semver::Error) -> Failure {
    Failure::usage(format!("{words} is no version: {error}"))
        .next("for example 2.1.330, ^2.1 or latest")
}

/// The registry as npm would find it from here.
fn registry() -> Result<Registry, Failure> {
    let variable = |name: &str| std::env::var(name).ok();
    let here =
        std::env::current_dir().map_err(|error| Failure::caused("no working directory", &error))?;
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from);
    Registry::from_npm_config(&variable, &here, &home)
        .map_err(|error| Failure::caused("cannot read npm's settings", &error))
}
