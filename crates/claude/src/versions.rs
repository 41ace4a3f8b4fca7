//! The CLI as an artifact: versions installed side by side, verified, read-only.
//!
//! ```text
//! <dir>/2.1.330/claude     the CLI, mode 0555 in a directory of mode 0555
//! <dir>/current            the default: a version or a requirement, if one was chosen
//! <dir>/.lock              held by whoever installs, removes or cleans
//! <dir>/.tmp-*             an installation under way
//! ```
//!
//! A version's directory appears by one rename after its content was verified and synced, so it
//! is whole or not there. Several threads and processes may use the same directory.
//!
//! This module never runs the CLI and never deletes what a session might be using unless told to:
//! a file that is bound into a sandbox lives on until the sandbox ends.

mod install;
mod integrity;
mod npmrc;
mod platform;
mod registry;
mod unpack;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::fcntl::{Flock, FlockArg};
use semver::{Version, VersionReq};

pub use install::{InstallError, Progress};
pub use npmrc::{ConfigError, DEFAULT_REGISTRY};
pub use platform::Platform;
pub use registry::{Registry, RegistryError};

/// The file inside a version's directory and inside the package.
pub(crate) const EXECUTABLE: &str = "claude";
const CURRENT: &str = "current";
const LOCK: &str = ".lock";
const STAGING: &str = ".tmp-";

/// The versions of the CLI in one directory. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Versions {
    dir: PathBuf,
}

/// A version that is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Its number.
    pub version: Version,
    /// The executable.
    pub path: PathBuf,
    /// Bytes of the executable.
    pub size: u64,
    /// When it was installed.
    pub installed_at: SystemTime,
    /// Whether new sessions without a requirement of their own get it.
    pub default: bool,
}

/// The directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or directory of the store could not be read or written.
    #[error("cannot {action} {path:?}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The file that names the default holds neither a version nor a requirement.
    #[error("{path:?} holds neither a version nor a requirement; choose one with `hostel cli use`")]
    Current {
        /// The file.
        path: PathBuf,
    },
}

/// No installed version fits.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// Nothing is installed at all.
    #[error("no claude cli is installed; run `hostel cli install`")]
    NothingInstalled,
    /// Nothing that is installed fits the requirement.
    #[error(
        "no installed claude cli fits {requirement} (installed: {installed}); run `hostel cli install '{requirement}'`"
    )]
    NoneFits {
        /// What was asked for.
        requirement: VersionReq,
        /// What there is.
        installed: String,
    },
    /// The store could not be read.
    #[error("cannot read the claude versions")]
    Store(#[from] StoreError),
}

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

/// The version cannot be removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// It is not installed.
    #[error("claude {version} is not installed")]
    NotInstalled {
        /// Which version.
        version: Version,
    },
    /// New sessions get it.
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

/// Reads what a person means by a version: `2.1.330` is exactly that one, `latest` and `*` are any,
/// everything else is a semver requirement.
pub fn requirement(text: &str) -> Result<Option<VersionReq>, semver::Error> {
    let text = text.trim();
    match text {
        "" | "*" | "latest" => Ok(None),
        _ if Version::parse(text).is_ok() => Ok(Some(VersionReq::parse(&format!("={text}"))?)),
        _ => Ok(Some(VersionReq::parse(text)?)),
    }
}

impl Versions {
    /// Opens the store, making the directory when it is not there, and clears away what
    /// installations left that did not end. Staging of an installation that runs is left alone.
    pub fn open(dir: PathBuf) -> Result<Self, StoreError> {
        fs::create_dir_all(&dir).map_err(io_error("create", &dir))?;
        let versions = Self { dir };
        if let Some(lock) = versions.try_lock()? {
            versions.clean()?;
            drop(lock);
        }
        Ok(versions)
    }

    /// The directory of the store.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What is installed, newest first.
    pub fn list(&self) -> Result<Vec<Installed>, StoreError> {
        let mut found = self.scan()?;
        let current = self.current()?;
        if let Some(default) = choose(&found, None, current.as_ref()) {
            found[default].default = true;
        }
        Ok(found)
    }

    /// The version a new session gets: the newest that is installed and allowed. A chosen default
    /// goes before newer ones wherever the requirement allows it, so that one command rolls back.
    pub fn resolve(&self, requirement: Option<&VersionReq>) -> Result<Installed, ResolveError> {
        let mut found = self.list()?;
        if let Some(at) = choose(&found, requirement, self.current()?.as_ref()) {
            return Ok(found.swap_remove(at));
        }
        match requirement {
            Some(requirement) if !found.is_empty() => Err(ResolveError::NoneFits {
                requirement: requirement.clone(),
                installed: found
                    .iter()
                    .map(|one| one.version.to_string())
                    .collect::<Vec<_>>()
                    .join(", "),
            }),
            _ => Err(ResolveError::NothingInstalled),
        }
    }

    /// Makes an installed version the default for new sessions. Running ones keep theirs.
    pub fn use_version(&self, version: &Version) -> Result<(), UseError> {
        let _lock = self.lock()?;
        if self.installed(version)?.is_none() {
            return Err(UseError::NotInstalled {
                version: version.clone(),
            });
        }
        self.write_current(&format!("{version}\n"))?;
        Ok(())
    }

    /// Removes a version. The default is refused unless forced; a forced one leaves the newest of
    /// the others as the default.
    pub fn remove(&self, version: &Version, force: bool) -> Result<(), RemoveError> {
        let _lock = self.lock()?;
        let Some(one) = self.list()?.into_iter().find(|one| one.version == *version) else {
            return Err(RemoveError::NotInstalled {
                version: version.clone(),
            });
        };
        if one.default && !force {
            return Err(RemoveError::IsDefault {
                version: version.clone(),
            });
        }
        let pinned = self
            .current()?
            .is_some_and(|pinned| pinned.matches(version));
        if one.default && pinned {
            let current = self.dir.join(CURRENT);
            fs::remove_file(&current).map_err(io_error("remove", &current))?;
        }
        // Out of sight first, so that nobody finds half of it.
        let aside = self.dir.join(format!("{STAGING}rm-{version}"));
        self.discard(&aside)?;
        let home = self.home(version);
        set_mode(&home, 0o755)?;
        fs::rename(&home, &aside).map_err(io_error("rename", &home))?;
        self.discard(&aside)?;
        Ok(())
    }

    /// This version, if it is installed.
    fn installed(&self, version: &Version) -> Result<Option<Installed>, StoreError> {
        Ok(self.scan()?.into_iter().find(|one| one.version == *version))
    }

    fn scan(&self) -> Result<Vec<Installed>, StoreError> {
        let mut found = Vec::new();
        let entries = fs::read_dir(&self.dir).map_err(io_error("read", &self.dir))?;
        for entry in entries {
            let entry = entry.map_err(io_error("read", &self.dir))?;
            let Some(version) = entry
                .file_name()
                .to_str()
                .and_then(|name| Version::parse(name).ok())
            else {
                continue;
            };
            let path = entry.path().join(EXECUTABLE);
            // A version can be removed while we look.
            let Ok(metadata) = fs::metadata(&path) else {
                continue;
            };
            let installed_at = metadata.modified().map_err(io_error("read", &path))?;
            found.push(Installed {
                version,
                path,
                size: metadata.len(),
                installed_at,
                default: false,
            });
        }
        found.sort_by(|a, b| b.version.cmp(&a.version));
        Ok(found)
    }

    /// What was chosen as the default, if anything.
    fn current(&self) -> Result<Option<VersionReq>, StoreError> {
        let path = self.dir.join(CURRENT);
        match fs::read_to_string(&path) {
            Ok(text) => requirement(&text).map_err(|_| StoreError::Current { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("read", &path)(error)),
        }
    }

    fn write_current(&self, text: &str) -> Result<(), StoreError> {
        let path = self.dir.join(CURRENT);
        let staged = self.dir.join(format!("{STAGING}{CURRENT}"));
        fs::write(&staged, text).map_err(io_error("write", &staged))?;
        fs::rename(&staged, &path).map_err(io_error("rename", &staged))
    }

    fn home(&self, version: &Version) -> PathBuf {
        self.dir.join(version.to_string())
    }

    fn lock_file(&self) -> Result<fs::File, StoreError> {
        let path = self.dir.join(LOCK);
        fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(io_error("open", &path))
    }

    /// Waits until nobody else changes the store.
    fn lock(&self) -> Result<Flock<fs::File>, StoreError> {
        let path = self.dir.join(LOCK);
        Flock::lock(self.lock_file()?, FlockArg::LockExclusive)
            .map_err(|(_, errno)| io_error("lock", &path)(errno.into()))
    }

    fn try_lock(&self) -> Result<Option<Flock<fs::File>>, StoreError> {
        let path = self.dir.join(LOCK);
        match Flock::lock(self.lock_file()?, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(lock)),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(io_error("lock", &path)(errno.into())),
        }
    }

    /// Removes all staging; only under the lock.
    fn clean(&self) -> Result<(), StoreError> {
        let entries = fs::read_dir(&self.dir).map_err(io_error("read", &self.dir))?;
        for entry in entries {
            let entry = entry.map_err(io_error("read", &self.dir))?;
            if entry.file_name().to_string_lossy().starts_with(STAGING) {
                self.discard(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Removes a file or directory, absent or not.
    fn discard(&self, path: &Path) -> Result<(), StoreError> {
        let removed = match fs::symlink_metadata(path) {
            Err(error) => Err(error),
            Ok(metadata) if metadata.is_dir() => {
                set_mode(path, 0o755)?;
                fs::remove_dir_all(path)
            }
            Ok(_) => fs::remove_file(path),
        };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io_error("remove", path)(error))
            }
            _ => Ok(()),
        }
    }
}

/// Which of the versions, newest first, a session gets.
fn choose(
    found: &[Installed],
    requirement: Option<&VersionReq>,
    current: Option<&VersionReq>,
) -> Option<usize> {
    // A requirement alone never takes a pre-release; without one the newest is the newest.
    let allowed =
        |one: &Installed| requirement.is_none_or(|requirement| requirement.matches(&one.version));
    let pinned = |one: &Installed| current.is_some_and(|current| current.matches(&one.version));
    found
        .iter()
        .position(|one| allowed(one) && pinned(one))
        .or_else(|| found.iter().position(allowed))
}

fn set_mode(path: &Path, mode: u32) -> Result<(), StoreError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(io_error("change the mode of", path))
}

fn io_error(action: &'static str, path: &Path) -> impl Fn(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io {
        action,
        path: path.clone(),
        source,
    }
}

#[cfg(test)]
mod tests;
