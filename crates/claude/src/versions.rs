//! The CLI as an artifact: versions installed side by side, verified, read-only.
//!
//! ```text
//! <dir>/2.1.330/claude     the CLI, mode 0555 in a directory of mode 0555
//! <dir>/offers.json        which of them sessions are offered, the default, the canaries
//! <dir>/.lock              held by whoever installs, removes, chooses or cleans
//! <dir>/.tmp-*             an installation under way
//! ```
//!
//! A version's directory appears by one rename after its content was verified and synced, so it
//! is whole or not there. Several threads and processes may use the same directory.
//!
//! This module never runs the CLI and never deletes what a session might be using unless told to:
//! a file that is bound into a sandbox lives on until the sandbox ends.

mod change;
mod install;
mod integrity;
mod npmrc;
mod offers;
mod platform;
mod registry;
mod unpack;
mod wanted;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::fcntl::{Flock, FlockArg};
use semver::{Version, VersionReq};

pub use change::{JudgeError, RemoveError, RollbackError, UseError};
pub use install::{InstallError, Progress};
pub use npmrc::{ConfigError, DEFAULT_REGISTRY};
use offers::Offers;
pub use offers::{Canary, Standing, Step};
pub use platform::Platform;
pub use registry::{Registry, RegistryError};
pub use wanted::{Wanted, exact};

/// The file inside a version's directory and inside the package.
pub(crate) const EXECUTABLE: &str = "claude";
const LOCK: &str = ".lock";
const STAGING: &str = ".tmp-";

/// The versions of the CLI in one directory. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Versions {
    dir: PathBuf,
}

/// A version that is installed.
#[derive(Debug, Clone, PartialEq)]
pub struct Installed {
    /// Its number.
    pub version: Version,
    /// The executable.
    pub path: PathBuf,
    /// Bytes of the executable.
    pub size: u64,
    /// When it was installed.
    pub installed_at: SystemTime,
    /// Whether sessions without a requirement of their own get it.
    pub default: bool,
    /// Whether sessions get it that do not name it by its exact number.
    pub standing: Standing,
    /// What the last canary on it found.
    pub canary: Option<Canary>,
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
    /// The file that says what is offered is not one that was written here.
    #[error("{path:?} cannot be understood; without it, everything that is installed is offered")]
    Offers {
        /// The file.
        path: PathBuf,
        /// Where it goes wrong.
        #[source]
        source: serde_json::Error,
    },
}

/// No installed version fits.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// Nothing is installed at all.
    #[error("no claude cli is installed; run `hostel cli install`")]
    NothingInstalled,
    /// Nothing that is installed and may be taken fits what is asked for.
    #[error(
        "no claude cli that sessions are offered fits {wanted} (installed: {installed}); run `hostel cli upgrade '{requirement}'`"
    )]
    NoneFits {
        /// What was asked for, and by whom.
        wanted: String,
        /// The same as one requirement.
        requirement: String,
        /// What there is.
        installed: String,
    },
    /// The store could not be read.
    #[error("cannot read the claude versions")]
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
        match versions.try_lock() {
            Ok(Some(lock)) => {
                versions.clean()?;
                drop(lock);
            }
            Ok(None) => {}
            // A server that may only read here leaves clearing away to those who install.
            Err(StoreError::Io { source, .. })
                if source.kind() == io::ErrorKind::PermissionDenied => {}
            Err(error) => return Err(error),
        }
        Ok(versions)
    }

    /// The directory of the store.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What is installed, newest first.
    pub fn list(&self) -> Result<Vec<Installed>, StoreError> {
        Ok(self.read()?.0)
    }

    /// The version that a process gets which is started now: the chosen default where it fits, so
    /// that one command rolls back, else the newest that is offered and fits. One that is not
    /// offered is had by its exact number alone.
    pub fn resolve<'a>(&self, wanted: impl Into<Wanted<'a>>) -> Result<Installed, ResolveError> {
        let wanted = wanted.into();
        let (mut found, offers) = self.read()?;
        if let Some(at) = wanted::choose(&found, &wanted, offers.chosen.as_ref()) {
            return Ok(found.swap_remove(at));
        }
        if found.is_empty() {
            return Err(ResolveError::NothingInstalled);
        }
        Err(ResolveError::NoneFits {
            wanted: wanted.to_string(),
            requirement: wanted.joined(),
            installed: named(&found),
        })
    }

    /// What is installed, and what is known about it.
    fn read(&self) -> Result<(Vec<Installed>, Offers), StoreError> {
        let (mut found, offers) = (self.scan()?, Offers::read(&self.dir)?);
        for one in &mut found {
            one.standing = offers.standing(&one.version);
            one.canary = offers.canary(&one.version).cloned();
        }
        if let Some(default) = wanted::choose(&found, &Wanted::default(), offers.chosen.as_ref()) {
            found[default].default = true;
        }
        Ok((found, offers))
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
                standing: Standing::Unproved,
                canary: None,
            });
        }
        found.sort_by(|a, b| b.version.cmp(&a.version));
        Ok(found)
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

/// The versions in one line, with those that are not offered marked.
fn named(found: &[Installed]) -> String {
    let name = |one: &Installed| match one.standing {
        Standing::Offered => one.version.to_string(),
        Standing::Unproved => format!("{}, not offered", one.version),
        Standing::Withdrawn => format!("{}, rolled back", one.version),
    };
    found.iter().map(name).collect::<Vec<_>>().join("; ")
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
