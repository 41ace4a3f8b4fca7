//! The `oci` provider: sandboxes as OCI containers, made by a runtime that is compiled in or
//! by one found on the host.
//!
//! What stands where, below the data directory:
//!
//! ```text
//! sandboxes/<id>/request.json   what was asked; there before anything is started
//! sandboxes/<id>/disk.img       the writable disk, unless it is in memory
//! sandboxes/<id>/made.json      the first process; absent while half made
//! rootfs/  disks/  guest/       what all sandboxes share, read-only
//! runtime/<name>/               the state of a runtime of the host
//! ```
//!
//! The provider keeps nothing in memory that it could not find again there, in the control
//! groups and in `/proc`. It never mounts anything in the host's mount namespace.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;

use crate::provider::{
    Abilities, Description, DiskLimit, Footprints, GroupLimits, LimitHits, Observed, Provider,
    ProviderError, Reclaimed, Sandbox, SandboxId, Spec,
};

mod bare;
mod bundle;
mod cgroup;
mod create;
mod destroy;
mod disk;
mod group;
mod helper;
mod members;
mod network;
mod probe;
mod process;
mod request;
mod rlimits;
mod rootfs;
mod runtime;
mod shared;
mod shown;
mod stage;
mod sys;
mod way;

pub(crate) use cgroup::Layout;
pub(crate) use helper::chain;
pub(crate) use network::can_watch;
pub use probe::ProbeError;
pub(crate) use runtime::{KNOWN, find, version};
pub use shown::shown;
pub(crate) use sys::landlock_version;

/// The hidden subcommand of our own binary that makes one container.
pub const HELPER_COMMAND: &str = "sandbox-helper";

/// How to make sandboxes on this host.
#[derive(Clone, Debug)]
pub struct Config {
    /// The server's data directory; the provider owns `sandboxes`, `rootfs`, `disks`, `guest`
    /// and `runtime` in it.
    pub data: PathBuf,
    /// Which runtime makes the containers.
    pub runtime: RuntimeChoice,
    /// Our own binary, which runs [`helper_main`] when its first argument is
    /// [`HELPER_COMMAND`].
    pub helper: PathBuf,
    /// The guest program: a static executable, normally `sandbox::GUEST`.
    pub guest: &'static [u8],
    /// How the disk limit is kept; `None` takes the best that this host can do.
    pub disk: Option<DiskLimit>,
    /// The first of the host user ids given to sandboxes; each takes 65,536 of them.
    pub uid_base: u32,
}

/// Which runtime makes the containers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuntimeChoice {
    /// The one compiled in.
    #[default]
    Embedded,
    /// None: our own code makes namespaces, and the usual level is `process`.
    None,
    /// A program of the host: `crun`, `runc`, `youki` or `runsc`.
    Named(String),
}

/// The provider. Cheap to clone.
#[derive(Clone)]
pub struct Oci {
    shared: Arc<shared::Shared>,
}

impl Config {
    /// The default configuration: the embedded runtime, the best disk limit there is.
    pub fn new(data: PathBuf, helper: PathBuf, guest: &'static [u8]) -> Self {
        Self {
            data,
            runtime: RuntimeChoice::Embedded,
            helper,
            guest,
            disk: None,
            // Above what account databases and other container programs hand out.
            uid_base: 600_000_000,
        }
    }
}

impl Oci {
    /// Prepares the data directory and tries everything by really making a container. This
    /// process becomes the parent of containers whose helper has ended (a child subreaper).
    ///
    /// # Errors
    ///
    /// A runtime or disk that was asked for and does not work is an error, never replaced by
    /// another one.
    pub async fn probe(config: Config) -> Result<Self, ProbeError> {
        let shared = probe::open(config).await?;
        let provider = Self {
            shared: Arc::new(shared),
        };
        probe::try_once(&provider).await?;
        Ok(provider)
    }

    /// Makes a sandbox as [`Provider::create`] does, and gives the link as the socket that it is.
    pub(crate) async fn make(
        &self,
        spec: &Spec,
    ) -> Result<(UnixStream, Description), ProviderError> {
        create::make(&self.shared, spec).await
    }

    /// Waits until nobody makes, changes or destroys this sandbox any more, whether or not anybody
    /// waits for the outcome.
    pub(crate) async fn settled(&self, id: &SandboxId) {
        drop(self.shared.lock(id).await);
    }
}

/// Makes one container and exits: what [`HELPER_COMMAND`] runs. `arguments` are those after
/// the subcommand.
///
/// Must be called while the process has one thread, so before any runtime is started.
pub fn helper_main(arguments: &[OsString]) -> ExitCode {
    helper::helper_main(arguments)
}

#[async_trait]
impl Provider for Oci {
    fn abilities(&self) -> Abilities {
        self.shared.abilities()
    }

    async fn create(&self, spec: &Spec) -> Result<Sandbox, ProviderError> {
        create::create(&self.shared, spec).await
    }

    async fn list(&self) -> Result<Vec<Observed>, ProviderError> {
        let shared = self.shared.clone();
        blocking(move || destroy::list(&shared)).await
    }

    async fn limits(&self, id: &SandboxId) -> Result<LimitHits, ProviderError> {
        let hits = match &self.shared.cgroups {
            Some(cgroups) => cgroups.hits(id.as_str()),
            None => self.shared.directory(id).exists().then(LimitHits::default),
        };
        hits.ok_or_else(|| ProviderError::Absent { id: id.clone() })
    }

    async fn destroy(&self, id: &SandboxId) -> Result<(), ProviderError> {
        destroy::destroy(&self.shared, id).await
    }

    async fn freeze(&self, id: &SandboxId, group: Option<&str>) -> Result<(), ProviderError> {
        group::freeze(&self.shared, id, group).await
    }

    async fn thaw(&self, id: &SandboxId, group: Option<&str>) -> Result<(), ProviderError> {
        group::thaw(&self.shared, id, group).await
    }

    async fn reclaim(&self, id: &SandboxId) -> Result<Reclaimed, ProviderError> {
        group::reclaim(&self.shared, id).await
    }

    async fn yield_to_others(&self, id: &SandboxId, yields: bool) -> Result<(), ProviderError> {
        group::yield_to_others(&self.shared, id, yields).await
    }

    async fn limit_processor(
        &self,
        id: &SandboxId,
        millis: Option<u32>,
    ) -> Result<(), ProviderError> {
        group::limit_processor(&self.shared, id, millis).await
    }

    async fn footprints(&self, id: &SandboxId) -> Result<Footprints, ProviderError> {
        group::footprints(&self.shared, id)
    }

    async fn group(
        &self,
        id: &SandboxId,
        name: &str,
        limits: GroupLimits,
    ) -> Result<(), ProviderError> {
        group::make(&self.shared, id, name, limits).await
    }

    async fn join(&self, id: &SandboxId, name: &str, pid: u32) -> Result<(), ProviderError> {
        group::join(&self.shared, id, name, pid).await
    }

    async fn group_limits(&self, id: &SandboxId, name: &str) -> Result<LimitHits, ProviderError> {
        group::limits(&self.shared, id, name)
    }

    async fn kill_group(&self, id: &SandboxId, name: &str) -> Result<(), ProviderError> {
        group::kill(&self.shared, id, name).await
    }
}

/// Runs what waits for the kernel or the disk outside of the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ProviderError> + Send + 'static,
) -> Result<T, ProviderError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            Err(ProviderError::Host {
                step: "finish work in a thread".to_owned(),
                source: std::io::Error::other(error),
            })
        })
}

/// Adds what was being done to an input or output error.
fn host(step: impl Into<String>) -> impl FnOnce(std::io::Error) -> ProviderError {
    let step = step.into();
    move |source| ProviderError::Host { step, source }
}

/// The names of a directory's entries; none if it is not there.
fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}
