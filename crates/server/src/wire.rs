//! From settings to a running server: opens and starts every part in the order in which they need
//! each other. The only place that knows them all.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use api::limits::{MOST_BYTES, MOST_CPU_MILLIS, MOST_PIDS};
use async_trait::async_trait;
use claude::versions::Versions;
use egress::{
    ClientId, CredentialError, Egress, Errands, KeyHeader, Operator, Slot, SystemResolver, Windows,
};
use sandbox::keeper::{BeginError, Bounds, Remote};
use sandbox::oci::{self, Oci, RuntimeChoice};
use sandbox::{Provider, Resources, Rootfs};
use semver::VersionReq;
use snapshot::Snapshots;
use store::Store;
use tokio::runtime::Handle;

use crate::app::{PING, Parts};
use crate::audit::{Auditor, Lines};
use crate::blobs::Blobs;
use crate::clock::Clock;
use crate::config::{Config, Credential, Runtime, Secret, budgets};
use crate::given::Papers;
use crate::ids::Ids;
use crate::session::keep::Keeper;
use crate::session::{self, Sessions};
use crate::usage::{Daily, Ledger};
use crate::vaults::key::KeyError;
use crate::vaults::{self, Keyring, Resealed, Vaults};

const MIB: u64 = 1024 * 1024;

/// The slot of the model's key. No credential's id is like it.
const MODEL: &str = "model";

/// Why a part did not start.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The data directory cannot be named from the root.
    #[error("cannot find the data directory {}", .path.display())]
    Data {
        /// As it was given.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The store cannot be opened.
    #[error("cannot open the data directory")]
    Store(#[source] store::OpenError),
    /// The snapshots cannot be read.
    #[error("cannot open the snapshots")]
    Snapshots(#[source] snapshot::OpenError),
    /// The key of the snapshots cannot be read.
    #[error("cannot read the key of the snapshots from {}", .path.display())]
    SnapshotKeyFile {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The key of the snapshots is not one.
    #[error(
        "{} does not hold 64 hexadecimal digits; make a key with `openssl rand -hex 32`",
        .path.display()
    )]
    SnapshotKey {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The keys of the vaults cannot be read.
    #[error("cannot open the vaults")]
    VaultKeys(#[source] KeyError),
    /// The vaults cannot be read.
    #[error("cannot read the vaults")]
    Vaults(#[source] store::StoreError),
    /// The installed CLI versions cannot be read.
    #[error("cannot open the store of claude versions")]
    Versions(#[source] claude::versions::StoreError),
    /// This machine cannot make sandboxes as it was asked to.
    #[error("cannot make sandboxes")]
    Sandboxes(#[source] oci::ProbeError),
    /// The keeper is not there, or cannot make sandboxes as it was asked to.
    #[error("cannot make sandboxes")]
    Keeper(#[source] BeginError),
    /// The program's own file, which makes sandboxes in a process of its own, cannot be found.
    #[error("cannot find this program's own file")]
    Program(#[source] io::Error),
    /// The root file system of the settings is not there.
    #[error("setting sandbox.rootfs: {} is neither a directory nor a file", .path.display())]
    Rootfs {
        /// Which.
        path: PathBuf,
    },
    /// The price table cannot be read.
    #[error("cannot read the price table {}", .path.display())]
    PricesFile {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The price table is not one.
    #[error("in the price table {}", .path.display())]
    Prices {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: egress::PricesError,
    },
    /// The price of unknown models is none.
    #[error("setting prices.unknown")]
    UnknownPrice(#[source] egress::PricesError),
    /// A host in the settings is not one.
    #[error("setting egress.private_hosts: {host:?} is not a host and port")]
    PrivateHost {
        /// As it was given.
        host: String,
        /// What is wrong.
        #[source]
        source: egress::ParseHostError,
    },
    /// A package registry in the settings is not a host.
    #[error("setting egress.package_hosts: {host:?} is not a host, with or without a port")]
    PackageHost {
        /// As it was given.
        host: String,
        /// What is wrong.
        #[source]
        source: egress::ParseHostError,
    },
    /// The authorities cannot be read.
    #[error("cannot read the authorities {}", .path.display())]
    Authorities {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The file of the audit cannot be written.
    #[error("setting audit.file")]
    Audit(#[source] crate::audit::LinesError),
    /// The way out cannot be opened.
    #[error("cannot open the way out")]
    Egress(#[source] egress::ConfigError),
    /// The sessions of an earlier server cannot be taken up.
    #[error("cannot go on with the sessions of the last run")]
    Resume(#[source] store::StoreError),
}

/// The parts, and the keeper behind them.
pub(crate) struct Wired {
    pub parts: Parts,
    /// None where the server makes sandboxes itself.
    pub keeper: Option<Arc<Remote>>,
}

/// Starts every part. Sessions that an earlier server left unfinished go on from here.
pub(crate) async fn parts(
    config: &Config,
    papers: Papers,
    keeper: Option<UnixStream>,
) -> Result<Wired, WireError> {
    let given = &config.data;
    let data = std::path::absolute(given).map_err(|source| WireError::Data {
        path: given.clone(),
        source,
    })?;
    let (clock, ids) = (Clock::system(), Ids::random());
    let store = Arc::new(open_store(data.clone()).await?);
    let versions = Versions::open(data.join("cli")).map_err(WireError::Versions)?;
    let blobs = Blobs::new(&data.join("files"));
    let settings = settings(config, &papers);
    let ledger = ledger(config, &store, &ids, &clock);
    let auditor = auditor(config, &store, &clock).await?;
    let settled = egress_settings(config, &papers)?;
    let keys = Keyring::complete(papers.vault_keys, &data);
    let vaults = vaults::Parts {
        store: store.clone(),
        keys: keys.map_err(WireError::VaultKeys)?,
        errands: Errands::new(&settled, Arc::new(SystemResolver)).map_err(WireError::Egress)?,
        ledger: ledger.clone(),
        clock: clock.clone(),
        ids: ids.clone(),
    };
    let vaults = open_vaults(vaults).await?;
    let slots = Slots {
        model: model_key(config),
        vaults: vaults.clone(),
    };
    let egress = egress(settled, slots, &ledger, &auditor)?;
    let snapshots = Snapshots::open(data.join("snapshots"), papers.snapshot_key);
    let snapshots = snapshots.map_err(WireError::Snapshots)?;
    let saves = Keeper::new(
        snapshots,
        store.clone(),
        blobs.clone(),
        clock.clone(),
        ids.clone(),
    );
    let (provider, keeper) = provider(config, data, keeper).await?;
    let parts = session::Parts {
        store: store.clone(),
        provider,
        egress,
        ledger,
        vaults: vaults.clone(),
        auditor,
        keeper: saves,
        versions,
        settings,
        clock: clock.clone(),
        ids: ids.clone(),
    };
    let sessions = Sessions::new(parts);
    sessions.begin().await.map_err(WireError::Resume)?;
    let parts = Parts {
        store,
        blobs,
        sessions,
        vaults,
        clock,
        ids,
        ping: PING,
    };
    Ok(Wired { parts, keeper })
}

async fn open_store(data: PathBuf) -> Result<Store, WireError> {
    // Opening brings the schema up to date, which may take a while and blocks.
    let opened = tokio::task::spawn_blocking(move || Store::open(&data)).await;
    opened
        .expect("opening a store does not panic")
        .map_err(WireError::Store)
}

/// The provider, which is in this process or behind a keeper.
async fn provider(
    config: &Config,
    data: PathBuf,
    keeper: Option<UnixStream>,
) -> Result<(Arc<dyn Provider>, Option<Arc<Remote>>), WireError> {
    if let Some(socket) = keeper {
        let remote = Arc::new(Remote::begin(socket).await.map_err(WireError::Keeper)?);
        return Ok((remote.clone(), Some(remote)));
    }
    let program = std::env::current_exe().map_err(WireError::Program)?;
    let mut made = oci::Config::new(data, program, sandbox::guest_channel::GUEST);
    made.runtime = runtime(config);
    let oci = Oci::probe(made).await.map_err(WireError::Sandboxes)?;
    Ok((Arc::new(oci), None))
}

/// Which runtime the settings ask for.
#[must_use]
pub fn runtime(config: &Config) -> RuntimeChoice {
    match config.sandbox.runtime {
        Runtime::None => RuntimeChoice::None,
        runtime => runtime.program().map_or(RuntimeChoice::Embedded, |name| {
            RuntimeChoice::Named(name.to_owned())
        }),
    }
}

/// What a keeper lets a server with these settings do; `data` is the data directory without links.
///
/// # Errors
/// When the root file system of the settings is not there.
pub fn bounds(config: &Config, data: PathBuf) -> Result<Bounds, WireError> {
    let most = |own: u64, asked: u64| own.max(asked);
    let sandbox = &config.sandbox;
    Ok(Bounds {
        runtime: runtime(config),
        disk: None,
        roots: vec![rootfs(&sandbox.rootfs)?],
        shown: vec![data.join("cli")],
        most: Resources {
            memory_bytes: most(sandbox.memory_mib.saturating_mul(MIB), MOST_BYTES),
            cpu_millis: sandbox.cpu_millis.max(MOST_CPU_MILLIS),
            pids: sandbox.pids.max(MOST_PIDS),
            disk_bytes: most(sandbox.disk_mib.saturating_mul(MIB), MOST_BYTES),
        },
        // One that is being destroyed is there beside the one that takes its place.
        sandboxes: config
            .limits
            .max_sandboxes
            .saturating_mul(2)
            .saturating_add(8),
        data,
    })
}

fn settings(config: &Config, papers: &Papers) -> session::Settings {
    let sandbox = &config.sandbox;
    let resources = Resources {
        memory_bytes: sandbox.memory_mib.saturating_mul(MIB),
        cpu_millis: sandbox.cpu_millis,
        pids: sandbox.pids,
        disk_bytes: sandbox.disk_mib.saturating_mul(MIB),
    };
    let launch = session::start::Limits {
        max_turns: Some(config.limits.max_turns),
        max_retries: config.model.max_retries,
        own_work: false,
    };
    session::Settings {
        resources,
        rootfs: papers.rootfs.clone(),
        // Any version means the one that was chosen as the default.
        cli: Some(config.cli.version.clone()).filter(|version| *version != VersionReq::STAR),
        launch,
        max_sandboxes: config.limits.max_sandboxes as usize,
        start_timeout: Duration::from_millis(config.cli.start_timeout_ms),
        stall: Duration::from_millis(config.cli.stall_timeout_ms),
        freeze_after: Duration::from_millis(sandbox.freeze_after_ms),
        soft_memory_percent: sandbox.soft_memory_percent,
        keep_audit: Duration::from_secs(u64::from(config.audit.keep_days) * 24 * 3600),
    }
}

fn ledger(config: &Config, store: &Arc<Store>, ids: &Ids, clock: &Clock) -> Arc<Ledger> {
    let amount = |cents: &Option<String>| cents.as_deref().map(budgets::amount);
    let daily = Daily {
        workspace: amount(&config.budgets.workspace_per_day),
        agent: amount(&config.budgets.agent_per_day),
    };
    let (store, ids, clock) = (store.clone(), ids.clone(), clock.clone());
    Arc::new(Ledger::new(store, ids, clock, Handle::current(), daily))
}

async fn auditor(
    config: &Config,
    store: &Arc<Store>,
    clock: &Clock,
) -> Result<Arc<Auditor>, WireError> {
    let lines = match &config.audit.file {
        Some(path) => Some(Lines::open(path).await.map_err(WireError::Audit)?),
        None => None,
    };
    Ok(Arc::new(Auditor::start(
        store.clone(),
        clock.clone(),
        lines,
    )))
}

/// The root file system of the settings.
pub(crate) fn rootfs(text: &str) -> Result<Rootfs, WireError> {
    let path = match text {
        "host" => return Ok(Rootfs::Host),
        path => PathBuf::from(path),
    };
    let path = std::path::absolute(&path).unwrap_or(path);
    match path.metadata() {
        Ok(found) if found.is_dir() => Ok(Rootfs::Directory(path)),
        Ok(found) if found.is_file() => Ok(Rootfs::Tarball(path)),
        _ => Err(WireError::Rootfs { path }),
    }
}

/// Opens the vaults, and seals under the present key what a former one sealed.
async fn open_vaults(parts: vaults::Parts) -> Result<Arc<Vaults>, WireError> {
    let vaults = Arc::new(Vaults::new(parts));
    let Resealed { done, closed } = vaults.reseal().await.map_err(WireError::Vaults)?;
    if done > 0 {
        tracing::info!("{done} credentials were sealed anew under the present key");
    }
    if closed > 0 {
        tracing::error!(
            "{closed} credentials cannot be opened with the keys that are configured and will not work: \
             give the key that sealed them (setting vaults.former_keys)"
        );
    }
    Ok(vaults)
}

fn egress_settings(config: &Config, papers: &Papers) -> Result<egress::Config, WireError> {
    let model = &config.model;
    let upstream = model
        .base_url
        .parse()
        .expect("the settings were checked to hold an address");
    let mut made = egress::Config::new(upstream, Slot(MODEL.to_owned()));
    made.connect_timeout = Duration::from_millis(model.connect_timeout_ms);
    made.idle_timeout = Duration::from_millis(model.idle_timeout_ms);
    made.operator = operator(config)?;
    if let Some(text) = &papers.authorities {
        made.authorities.clone_from(text);
    }
    if let (Some(path), Some(text)) = (&config.prices.file, &papers.prices) {
        let priced = made.prices.overridden_by(text);
        made.prices = priced.map_err(|source| WireError::Prices {
            path: path.clone(),
            source,
        })?;
    }
    if let Some(unknown) = config.prices.unknown {
        let priced = made.prices.with_unknown(unknown.input, unknown.output);
        made.prices = priced.map_err(WireError::UnknownPrice)?;
    }
    if let Some(Credential::AuthToken(_)) = &model.credential {
        made.key_header = KeyHeader::Bearer;
    }
    Ok(made)
}

fn model_key(config: &Config) -> Option<Secret> {
    match &config.model.credential {
        Some(Credential::ApiKey(key) | Credential::AuthToken(key)) => Some(key.clone()),
        None => None,
    }
}

fn egress(
    settled: egress::Config,
    slots: Slots,
    ledger: &Arc<Ledger>,
    auditor: &Arc<Auditor>,
) -> Result<Egress, WireError> {
    let windows = Windows {
        policies: ledger.clone(),
        credentials: Arc::new(slots),
        usage: ledger.clone(),
        resolver: Arc::new(SystemResolver),
        audit: auditor.clone(),
        clock: SystemTime::now,
    };
    Egress::new(settled, windows).map_err(WireError::Egress)
}

fn operator(config: &Config) -> Result<Operator, WireError> {
    let said = &config.egress;
    let private = said.private_hosts.iter().map(|host| private_host(host));
    let packages = said.package_hosts.iter().map(|host| {
        host.parse().map_err(|source| WireError::PackageHost {
            host: host.clone(),
            source,
        })
    });
    Ok(Operator {
        private_hosts: private.collect::<Result<_, _>>()?,
        package_hosts: packages.collect::<Result<_, _>>()?,
        private_addresses: said.private_addresses,
    })
}

fn private_host(host: &str) -> Result<egress::HostPort, WireError> {
    host.parse().map_err(|source| WireError::PrivateHost {
        host: host.to_owned(),
        source,
    })
}

/// What is behind the slots: the model API's key, from the settings, and the credentials of vaults.
struct Slots {
    model: Option<Secret>,
    vaults: Arc<Vaults>,
}

#[async_trait]
impl egress::Credentials for Slots {
    async fn resolve(&self, slot: &Slot) -> Result<egress::Secret, CredentialError> {
        if slot.0 != MODEL {
            return self.vaults.resolve(slot).await;
        }
        let key = self.model.as_ref();
        key.map(|key| egress::Secret::new(key.expose()))
            .ok_or(CredentialError::Missing)
    }

    async fn fresh(
        &self,
        client: &ClientId,
        slot: &Slot,
    ) -> Result<egress::Secret, CredentialError> {
        self.vaults.fresh(client, slot).await
    }

    async fn renewed(
        &self,
        client: &ClientId,
        slot: &Slot,
        refused: &egress::Secret,
    ) -> Result<Option<egress::Secret>, CredentialError> {
        self.vaults.renewed(client, slot, refused).await
    }
}
