//! The `oci` provider: sandboxes as OCI containers, made by a runtime that is compiled in or
//! by one found on the host.

use std::{path::PathBuf, process::ExitCode};

use async_trait::async_trait;

use crate::provider::{
    Abilities, DiskLimit, LimitHits, Observed, Provider, ProviderError, Sandbox, SandboxId, Spec,
};

/// How to make sandboxes on this host.
#[derive(Clone, Debug)]
pub struct Config {
    /// The server's data directory; the provider owns `sandboxes`, `rootfs`, `disks` and
    /// `guest` in it.
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

/// The hidden subcommand of our own binary that makes one container.
pub const HELPER_COMMAND: &str = "sandbox-helper";

/// Which runtime makes the containers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RuntimeChoice {
    /// The one compiled in.
    #[default]
    Embedded,
    /// A binary of the host: `crun`, `runc`, `youki` or `runsc`.
    Named(String),
}

/// Why this host cannot be used as asked.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct ProbeError {
    reason: String,
}

/// The provider. Cheap to clone.
#[derive(Clone)]
pub struct Oci {
    config: Config,
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
            uid_base: 600_000_000,
        }
    }
}

impl Oci {
    /// Prepares the data directory and tries the runtime by really making a container.
    pub async fn probe(config: Config) -> Result<Self, ProbeError> {
        Ok(Self { config })
    }
}

/// Makes one container and exits: what [`HELPER_COMMAND`] runs. `arguments` are those after the
/// subcommand. Must be called while the process has one thread.
pub fn helper_main(arguments: &[std::ffi::OsString]) -> ExitCode {
    let _ = arguments;
    ExitCode::FAILURE
}

#[async_trait]
impl Provider for Oci {
    fn abilities(&self) -> Abilities {
        unreachable!("{:?}", self.config)
    }
    async fn create(&self, _spec: &Spec) -> Result<Sandbox, ProviderError> {
        unreachable!()
    }
    async fn list(&self) -> Result<Vec<Observed>, ProviderError> {
        unreachable!()
    }
    async fn limits(&self, _id: &SandboxId) -> Result<LimitHits, ProviderError> {
        unreachable!()
    }
    async fn destroy(&self, _id: &SandboxId) -> Result<(), ProviderError> {
        unreachable!()
    }
}
