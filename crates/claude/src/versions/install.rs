//! Installs a version: find, download, unpack, verify, sync, rename.

use std::fs;
use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use futures::StreamExt;
use nix::fcntl::Flock;
use semver::{Version, VersionReq};
use tokio::sync::mpsc;

use super::registry::{Registry, RegistryError, Release, Session};
use super::unpack::unpack;
use super::{EXECUTABLE, Installed, STAGING, StoreError, Versions, exact, set_mode};

/// Pieces of the download that wait for the disk; the download waits when they are full. Pieces
/// are some 16 KiB, so this holds about half a megabyte.
const QUEUE: usize = 32;

/// How far an installation has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Asking the registry for a version.
    Looking,
    /// Waiting for somebody else who changes the store.
    Waiting,
    /// The package arrives.
    Downloading {
        /// Which version.
        version: Version,
        /// Bytes so far.
        received: u64,
        /// Bytes in all, if the registry says so.
        total: Option<u64>,
    },
    /// Everything arrived; it is checked and put in place.
    Finishing,
}

/// A version could not be installed. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The registry could not be used.
    #[error("cannot get the claude cli from the npm registry")]
    Registry(#[from] RegistryError),
    /// The store could not be changed.
    #[error("cannot change the store of claude versions")]
    Store(#[from] StoreError),
    /// The package is not what the registry says it is.
    #[error(
        "the package of claude {version} does not match its published integrity; nothing was installed"
    )]
    Integrity {
        /// Which version.
        version: Version,
    },
    /// The package ended early or is not an archive.
    #[error("cannot unpack the package")]
    Unpack(#[source] io::Error),
    /// The package has no executable.
    #[error("the package has no `package/claude`")]
    NoExecutable,
    /// The executable in the package is a link, a directory, or too large.
    #[error("`package/claude` in the package is not a file that can be installed")]
    NotAFile,
    /// The file could not be written, for example because the disk is full.
    #[error("cannot write {path:?}")]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The process is shutting down.
    #[error("the installation was stopped")]
    Stopped,
}

impl Versions {
    /// Installs the newest version that the registry has and the requirement allows, or finds it
    /// installed. Any number of threads and processes may do this at once: one of them downloads,
    /// the others wait and find it. When the future is dropped, or the process dies, nothing is
    /// installed; what is left of it is cleared away at the next [`Versions::open`] or
    /// installation.
    pub async fn install(
        &self,
        registry: &Registry,
        requirement: Option<&VersionReq>,
        progress: impl Fn(Progress) + Send + Sync,
    ) -> Result<Installed, InstallError> {
        // What has a number and is there needs nobody's word.
        if let Some(named) = requirement.and_then(exact)
            && let Some(installed) = self.find(&named)?
        {
            return Ok(installed);
        }
        progress(Progress::Looking);
        let session = registry.connect()?;
        let release = session.release(requirement).await?;
        if let Some(installed) = self.find(&release.version)? {
            return Ok(installed);
        }
        progress(Progress::Waiting);
        let lock = self.lock_in_background().await?;
        // Somebody else may have installed it while we waited.
        if let Some(installed) = self.find(&release.version)? {
            return Ok(installed);
        }
        self.clean()?;
        self.fetch(&session, release, lock, &progress).await
    }

    async fn fetch(
        &self,
        session: &Session<'_>,
        release: Release,
        lock: Flock<fs::File>,
        progress: &(impl Fn(Progress) + Sync),
    ) -> Result<Installed, InstallError> {
        let response = session.tarball(&release).await?;
        let total = response.content_length();
        let (chunks, receiver) = mpsc::channel(QUEUE);
        let (ended, end) = tokio::sync::oneshot::channel();
        let versions = self.clone();
        let version = release.version.clone();
        // The thread holds the lock and cleans up after itself, so that it does not matter when
        // the future is dropped: the channel closes and nothing is put in place.
        let worker =
            tokio::task::spawn_blocking(move || versions.place(release, receiver, end, lock));
        progress(Progress::Downloading {
            version: version.clone(),
            received: 0,
            total,
        });
        let sent = send(session, response, &chunks, |received| {
            progress(Progress::Downloading {
                version: version.clone(),
                received,
                total,
            });
        })
        .await;
        drop(chunks);
        progress(Progress::Finishing);
        // The worker waits for this word before it puts anything in place. When it gave up before,
        // nobody listens.
        let _ = ended.send(sent.is_ok());
        let placed = worker.await.unwrap_or(Err(InstallError::Stopped));
        // What the worker makes of a cut transfer only follows from the cut.
        sent?;
        placed
    }

    /// Unpacks into staging and renames. Runs on a thread that may block.
    fn place(
        &self,
        release: Release,
        chunks: mpsc::Receiver<Bytes>,
        end: tokio::sync::oneshot::Receiver<bool>,
        lock: Flock<fs::File>,
    ) -> Result<Installed, InstallError> {
        let staging = self.dir.join(format!("{STAGING}{}", release.version));
        let placed = self.stage(&release, chunks, end, &staging);
        if placed.is_err() {
            self.discard(&staging)?;
        }
        drop(lock);
        placed
    }

    fn stage(
        &self,
        release: &Release,
        chunks: mpsc::Receiver<Bytes>,
        end: tokio::sync::oneshot::Receiver<bool>,
        staging: &std::path::Path,
    ) -> Result<Installed, InstallError> {
        let failed = |source| InstallError::Write {
            path: staging.to_owned(),
            source,
        };
        self.discard(staging)?;
        fs::create_dir(staging).map_err(failed)?;
        let executable = staging.join(EXECUTABLE);
        let (unpacked, hash) = unpack(chunks, &executable);
        if let Err(full @ InstallError::Write { .. }) = unpacked {
            return Err(full);
        }
        // A package that is as published but makes no sense is another fault than one that was
        // changed on the way.
        if !release.integrity.matches(hash) {
            return Err(InstallError::Integrity {
                version: release.version.clone(),
            });
        }
        unpacked?;
        if !end.blocking_recv().unwrap_or(false) {
            return Err(InstallError::Stopped);
        }
        set_mode(&executable, 0o555)?;
        sync(staging).map_err(failed)?;
        set_mode(staging, 0o555)?;
        fs::rename(staging, self.home(&release.version)).map_err(failed)?;
        sync(&self.dir).map_err(failed)?;
        self.find(&release.version)?.ok_or(InstallError::Stopped)
    }

    /// The version as [`Versions::list`] would show it.
    fn find(&self, version: &Version) -> Result<Option<Installed>, StoreError> {
        Ok(self.list()?.into_iter().find(|one| one.version == *version))
    }

    async fn lock_in_background(&self) -> Result<Flock<fs::File>, InstallError> {
        let versions = self.clone();
        let lock = tokio::task::spawn_blocking(move || versions.lock()).await;
        Ok(lock.map_err(|_| InstallError::Stopped)??)
    }
}

/// Feeds the unpacking thread. Ends early without an error when that thread gave up: it knows why.
async fn send(
    session: &Session<'_>,
    response: reqwest::Response,
    chunks: &mpsc::Sender<Bytes>,
    progress: impl Fn(u64),
) -> Result<(), RegistryError> {
    let mut received = 0;
    let mut pieces = response.bytes_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| session.cut(error))?;
        received += piece.len() as u64;
        if chunks.send(piece).await.is_err() {
            return Ok(());
        }
        progress(received);
    }
    Ok(())
}

fn sync(dir: &std::path::Path) -> io::Result<()> {
    fs::File::open(dir)?.sync_all()
}
