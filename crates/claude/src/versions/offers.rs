//! Which versions sessions are offered, and why: one small file, replaced as a whole.
//!
//! ```text
//!   installed ──▶ Unproved ──canary passed──▶ Offered ──rollback──▶ Withdrawn
//!                    └────────── chosen by a person, or by its exact number ──▶ Offered
//! ```
//!
//! As long as nobody ever upgraded, there is no such file to speak of, and all that is installed is
//! offered. This module never looks at the versions themselves.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use semver::Version;
use serde::{Deserialize, Serialize};

use super::{STAGING, StoreError, io_error};

/// The file.
pub(super) const OFFERS: &str = "offers.json";
/// Defaults that a rollback can return to. Older ones are forgotten: who wants them says `use`.
const BEFORE: usize = 16;
/// Characters of a report that are kept; its beginning names the step.
const REPORT: usize = 16 * 1024;

/// Whether sessions get a version that they did not name by its exact number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Not yet: no canary passed on it.
    #[default]
    Unproved,
    /// Yes.
    Offered,
    /// No longer: it was rolled back.
    Withdrawn,
}

/// The trial of a version before it is offered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Canary {
    /// When it ended, in seconds since 1970.
    pub at_s: u64,
    /// The version whose conversation was gone on with; `None` where there was none before.
    pub from: Option<Version>,
    /// What was done, in order; the last one is where it failed, if it did.
    pub steps: Vec<Step>,
    /// Why it failed, for people; `None` when it passed.
    pub failure: Option<String>,
}

/// One step of a canary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// What was done.
    pub name: String,
    /// How long it took.
    pub seconds: f64,
}

impl Canary {
    /// Whether the version may be offered.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.failure.is_none()
    }
}

/// What the file holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Offers {
    /// Whether somebody ever upgraded: from then on what is not offered here is not offered.
    pub curated: bool,
    /// The chosen default; the newest that is offered when there is none.
    pub chosen: Option<Version>,
    /// The defaults before it, the last one newest.
    before: Vec<Version>,
    versions: BTreeMap<Version, Record>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Record {
    standing: Standing,
    canary: Option<Canary>,
}

impl Offers {
    /// Reads the file; an absent one is an empty one.
    pub(super) fn read(dir: &Path) -> Result<Offers, StoreError> {
        let path = dir.join(OFFERS);
        match fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|source| StoreError::Offers { path, source })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Offers::default()),
            Err(error) => Err(io_error("read", &path)(error)),
        }
    }

    /// Replaces the file, durably. Only under the lock.
    pub(super) fn write(&self, dir: &Path) -> Result<(), StoreError> {
        let staged = dir.join(format!("{STAGING}{OFFERS}"));
        self.replace(dir, &staged)
            .map_err(io_error("write", &staged))
    }

    fn replace(&self, dir: &Path, staged: &PathBuf) -> io::Result<()> {
        fs::write(staged, serde_json::to_vec_pretty(self)?)?;
        fs::File::open(staged)?.sync_all()?;
        fs::rename(staged, dir.join(OFFERS))?;
        fs::File::open(dir)?.sync_all()
    }

    pub(super) fn standing(&self, version: &Version) -> Standing {
        match self.versions.get(version) {
            Some(record) => record.standing,
            None if self.curated => Standing::Unproved,
            None => Standing::Offered,
        }
    }

    pub(super) fn canary(&self, version: &Version) -> Option<&Canary> {
        self.versions.get(version)?.canary.as_ref()
    }

    /// From now on only what is offered here is offered; what is installed was offered before.
    pub(super) fn curate<'a>(&mut self, installed: impl Iterator<Item = &'a Version>) {
        for version in installed.filter(|_| !self.curated) {
            let record = Record {
                standing: Standing::Offered,
                canary: None,
            };
            self.versions.entry(version.clone()).or_insert(record);
        }
        self.curated = true;
    }

    /// Keeps what a canary found.
    pub(super) fn note(&mut self, version: &Version, mut canary: Canary) {
        let failure = canary.failure.take();
        canary.failure = failure.map(|text| text.chars().take(REPORT).collect());
        self.record(version).canary = Some(canary);
    }

    pub(super) fn stand(&mut self, version: &Version, standing: Standing) {
        self.record(version).standing = standing;
    }

    /// A new default; the one that was is what a rollback returns to.
    pub(super) fn choose(&mut self, version: &Version, was: Option<&Version>) {
        if let Some(was) = was.filter(|was| *was != version) {
            self.before.retain(|one| one != was && one != version);
            self.before.push(was.clone());
            let over = self.before.len().saturating_sub(BEFORE);
            self.before.drain(..over);
        }
        self.chosen = Some(version.clone());
    }

    /// Takes the newest default before this one that is still there.
    pub(super) fn back(&mut self, is_there: impl Fn(&Version) -> bool) -> Option<Version> {
        while let Some(version) = self.before.pop() {
            if is_there(&version) {
                return Some(version);
            }
        }
        None
    }

    /// Forgets a version that goes.
    pub(super) fn forget(&mut self, version: &Version) {
        self.versions.remove(version);
        self.before.retain(|one| one != version);
        self.chosen.take_if(|chosen| chosen == version);
    }

    fn record(&mut self, version: &Version) -> &mut Record {
        let standing = self.standing(version);
        let record = Record {
            standing,
            canary: None,
        };
        self.versions.entry(version.clone()).or_insert(record)
    }
}
