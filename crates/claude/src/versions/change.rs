//! What people and upgrades decide about versions: the default, what is offered, what goes.
//!
//! Every change is one replacement of one file under the lock, so that a process that dies at any
//! moment leaves the store as it was before or as it is after.

use std::fs;

use semver::Version;

use super::{Canary, Installed, STAGING, Standing, StoreError, Versions, io_error, set_mode};

/// The version cannot be made the default.
#[derive(Debug, thiserror::Error)]
pub enum UseError {
    /// It is not installed.
    #[error("claude {version} is not installed; run `hostel cli install {version}`")]
    NotInstalled {
        /// Which version.
        version: Version,
    },
    /// The store could not be written.
    #[error("cannot change the default claude version")]
    Store(#[from] StoreError),
}

/// What a canary found cannot be kept, so nothing is offered.
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    /// The version was removed in the meantime.
    #[error("claude {version} was removed while its canary ran")]
    NotInstalled {
        /// Which version.
        version: Version,
    },
    /// The store could not be written.
    #[error("cannot keep what the canary found")]
    Store(#[from] StoreError),
}

/// There is nothing to go back to.
#[derive(Debug, thiserror::Error)]
pub enum RollbackError {
    /// Nothing is installed at all.
    #[error("no claude cli is installed; run `hostel cli install`")]
    NothingInstalled,
    /// No default came before this one, or it was removed.
    #[error(
        "no version before {version} is installed to go back to; choose one with `hostel cli use`"
    )]
    NothingBefore {
        /// The default.
        version: Version,
    },
    /// The store could not be written.
    #[error("cannot roll back")]
    Store(#[from] StoreError),
}

/// The version cannot be removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// It is not installed.
    #[error("claude {version} is not installed")]
    NotInstalled {
        /// Which version.
        version: Version,
    },
    /// Sessions get it.
    #[error(
        "claude {version} is the default; choose another with `hostel cli use`, or remove it with `hostel cli rm --force {version}`"
    )]
    IsDefault {
        /// Which version.
        version: Version,
    },
    /// The store could not be written.
    #[error("cannot remove the claude version")]
    Store(#[from] StoreError),
}

impl Versions {
    /// Makes an installed version the default, and offers it whatever a canary said: a person knows.
    /// Running processes keep theirs.
    pub fn use_version(&self, version: &Version) -> Result<(), UseError> {
        let _lock = self.lock()?;
        let (found, mut offers) = self.read()?;
        if !found.iter().any(|one| one.version == *version) {
            return Err(UseError::NotInstalled {
                version: version.clone(),
            });
        }
        if offers.curated {
            offers.stand(version, Standing::Offered);
        }
        offers.choose(version, default(&found));
        offers.write(&self.dir)?;
        Ok(())
    }

    /// From now on a version is offered when its canary passed; what is installed stays offered. An
    /// upgrade says so before it installs anything.
    pub fn curate(&self) -> Result<(), StoreError> {
        let _lock = self.lock()?;
        let (found, mut offers) = self.read()?;
        if offers.curated {
            return Ok(());
        }
        offers.curate(found.iter().map(|one| &one.version));
        offers.write(&self.dir)
    }

    /// Keeps what a canary found. A version that passed is offered, and becomes the default unless
    /// the default is newer; one that failed stands as before. Says whether it is the default now.
    pub fn judge(&self, version: &Version, canary: Canary) -> Result<bool, JudgeError> {
        let _lock = self.lock()?;
        let (found, mut offers) = self.read()?;
        if !found.iter().any(|one| one.version == *version) {
            return Err(JudgeError::NotInstalled {
                version: version.clone(),
            });
        }
        let passed = canary.passed();
        offers.note(version, canary);
        let was = default(&found);
        if passed {
            offers.stand(version, Standing::Offered);
            if was.is_none_or(|was| was < version) {
                offers.choose(version, was);
            }
        }
        offers.write(&self.dir)?;
        let found = self.list()?;
        Ok(default(&found) == Some(version))
    }

    /// Withdraws the default and returns to the one before it. Gives both, the withdrawn one first.
    pub fn rollback(&self) -> Result<(Version, Version), RollbackError> {
        let _lock = self.lock()?;
        let (found, mut offers) = self.read()?;
        let Some(from) = default(&found).cloned() else {
            return Err(RollbackError::NothingInstalled);
        };
        let is_there = |version: &Version| found.iter().any(|one| one.version == *version);
        let Some(to) = offers.back(|version| *version != from && is_there(version)) else {
            return Err(RollbackError::NothingBefore { version: from });
        };
        // Otherwise a requirement that allows both would still take the newer one.
        offers.curate(found.iter().map(|one| &one.version));
        offers.stand(&from, Standing::Withdrawn);
        offers.stand(&to, Standing::Offered);
        offers.choose(&to, None);
        offers.write(&self.dir)?;
        Ok((from, to))
    }

    /// Removes a version. The default is refused unless forced; a forced one leaves the newest that
    /// is offered of the others as the default.
    pub fn remove(&self, version: &Version, force: bool) -> Result<(), RemoveError> {
        let _lock = self.lock()?;
        let (found, mut offers) = self.read()?;
        let Some(one) = found.iter().find(|one| one.version == *version) else {
            return Err(RemoveError::NotInstalled {
                version: version.clone(),
            });
        };
        if one.default && !force {
            return Err(RemoveError::IsDefault {
                version: version.clone(),
            });
        }
        // A store that becomes empty begins anew.
        offers.curated &= found.len() > 1;
        offers.forget(version);
        // Out of sight first, so that nobody finds half of it.
        let aside = self.dir.join(format!("{STAGING}rm-{version}"));
        self.discard(&aside)?;
        let home = self.home(version);
        set_mode(&home, 0o755)?;
        fs::rename(&home, &aside).map_err(io_error("rename", &home))?;
        offers.write(&self.dir)?;
        self.discard(&aside)?;
        Ok(())
    }
}

fn default(found: &[Installed]) -> Option<&Version> {
    found.iter().find(|one| one.default).map(|one| &one.version)
}
