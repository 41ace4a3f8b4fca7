//! Finds out what this host can do, and proves it by making one sandbox.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use nix::{sys::prctl::set_child_subreaper, unistd::geteuid};
use sha2::{Digest, Sha256};
use tokio::{io::AsyncReadExt, sync::Semaphore};

use super::{
    Config, Oci,
    bundle::IDS,
    cgroup::Cgroups,
    create::install_guest,
    disk, names, network,
    request::{GUEST, Ids, Made, Request, TOOLS},
    rootfs,
    shared::{Identity, Shared, Table},
    sys::landlock_version,
    way::{self, Host, Ways},
};
use crate::provider::{DiskLimit, Provider, ProviderError, Resources, Rootfs, SandboxId, Spec};

/// How long the guest of the trial may take to begin.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where `/dev/net/tun` cannot be had.
const UNWATCHED: &str = "what programs send elsewhere than by the ways out is refused without a record: /dev/net/tun cannot be opened (module tun)";

/// Limits of the trial sandbox.
const TRIAL: Resources = Resources {
    memory_bytes: 256 << 20,
    cpu_millis: 1000,
    pids: 64,
    disk_bytes: disk::SMALLEST,
};

/// Why this host cannot be used as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// A runtime was asked for that is not there, or that we do not know.
    #[error("the runtime {name} cannot be used: {reason}")]
    Runtime {
        /// Its name.
        name: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The asked-for way to limit disks does not work.
    #[error("disks cannot be limited by {disk}: {reason}")]
    Disk {
        /// Which way.
        disk: &'static str,
        /// Why, and what to do.
        reason: String,
    },
    /// The control groups cannot be used, and without them no limit would hold.
    #[error("limits cannot be kept: {reason}")]
    Limits {
        /// Why.
        reason: String,
    },
    /// A file of the data directory could not be made.
    #[error("cannot {step}")]
    Data {
        /// The step.
        step: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The trial sandbox could not be made or removed.
    #[error("no sandbox can be made on this host")]
    Trial(#[source] ProviderError),
    /// The trial sandbox was made, and its guest did not begin.
    #[error("a sandbox was made on this host with {runtime}, but its guest did not begin")]
    Silent {
        /// Which runtime.
        runtime: String,
    },
}

/// Everything except the trial.
pub(super) async fn open(config: Config) -> Result<Shared, ProbeError> {
    tokio::task::spawn_blocking(move || prepare(&config))
        .await
        .map_err(io::Error::other)
        .map_err(data("prepare the data directory"))?
}

/// Makes a sandbox, waits for its guest to begin, and removes it.
pub(super) async fn try_once(provider: &Oci) -> Result<(), ProbeError> {
    let name = format!("trial-{}", std::process::id());
    let id: SandboxId = name.parse().expect("a word and a number make an id");
    let spec = Spec {
        id: id.clone(),
        rootfs: Rootfs::Host,
        resources: TRIAL,
        read_only: Vec::new(),
        trusted: None,
        hostname: "trial".to_owned(),
        members: false,
        isolation: None,
    };
    provider.destroy(&id).await.map_err(ProbeError::Trial)?;
    let sandbox = provider.create(&spec).await.map_err(ProbeError::Trial)?;
    let record = provider.shared.directory(&id).join("made.json");
    let began = wait_for_guest(&record, sandbox.stream).await;
    provider.destroy(&id).await.map_err(ProbeError::Trial)?;
    if began {
        return Ok(());
    }
    Err(ProbeError::Silent {
        runtime: provider.shared.abilities().runtime,
    })
}

/// The first process carries the guest's path among its arguments once the program has begun;
/// a runtime with a kernel of its own shows no such process, and is taken at its word as long
/// as the link stays open.
async fn wait_for_guest(record: &Path, mut stream: crate::GuestStream) -> bool {
    let Some(made) = fs::read(record)
        .ok()
        .and_then(|text| serde_json::from_slice::<Made>(&text).ok())
    else {
        return false;
    };
    let started = Instant::now();
    let guest = format!("{TOOLS}/{GUEST}");
    let mut byte = [0];
    while started.elapsed() < PATIENCE {
        let line = fs::read(format!("/proc/{}/cmdline", made.pid)).unwrap_or_default();
        if line
            .split(|byte| *byte == 0)
            .any(|argument| argument == guest.as_bytes())
        {
            return true;
        }
        let kernel = line.windows(5).any(|part| part == b"runsc");
        let look = if kernel {
            Duration::from_secs(2)
        } else {
            Duration::from_millis(2)
        };
        match tokio::time::timeout(look, stream.read(&mut byte)).await {
            Ok(Ok(0) | Err(_)) => return false,
            Err(_) if !kernel => {}
            _ => return true,
        }
    }
    false
}

fn prepare(config: &Config) -> Result<Shared, ProbeError> {
    let data_directory = prepare_data(&config.data).map_err(data("prepare the data directory"))?;
    set_child_subreaper(true)
        .map_err(|error| data("become the parent of orphans")(error.into()))?;
    let root = geteuid().is_root();
    let mut lost = Vec::new();
    let instance = digest(data_directory.as_os_str().as_encoded_bytes())[..12].to_owned();
    let cgroups = match Cgroups::open(&instance) {
        Ok(groups) => Some(groups),
        Err(reason) if root => return Err(ProbeError::Limits { reason }),
        Err(reason) => {
            lost.push(format!(
                "memory, cpu and process limits are not kept: {reason}"
            ));
            None
        }
    };
    let identity = identity(root, config.uid_base, &mut lost);
    let host = Host {
        data: &data_directory,
        layout: cgroups.as_ref().map(Cgroups::layout),
        identity,
    };
    let Ways { all: ways, levels } = way::find_all(config, &host)?;
    let disk = choose_disk(config.disk, &data_directory, root, &mut lost)?;
    let digest = digest(config.guest);
    let guest = install_guest(&data_directory, config.guest, &digest)
        .map_err(data("write the guest program"))?;
    let roots = data_directory.join("rootfs");
    rootfs::prune(&roots);
    let host_root = rootfs::host(&roots, &format!("host-{instance}"))
        .map_err(|error| data("make the root directory")(io::Error::other(error)))?;
    if landlock_version() == 0 {
        lost.push("files have one wall around them: this kernel has no Landlock".into());
    }
    if !Path::new("/proc/self/ns/time").exists() {
        lost.push(
            "sandboxes share the host's clocks since boot: this kernel has no time namespaces"
                .into(),
        );
    }
    let watched = network::can_watch();
    if !watched {
        lost.push(UNWATCHED.into());
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(Shared {
        table: Mutex::new(known_slots(&data_directory, config.uid_base)),
        data: data_directory,
        helper: config.helper.clone(),
        guest,
        disk,
        ways,
        levels,
        identity,
        lost,
        watched,
        cgroups,
        host_root,
        permits: Arc::new(Semaphore::new(processors)),
        template: Arc::default(),
    })
}

fn prepare_data(path: &Path) -> io::Result<PathBuf> {
    for name in ["sandboxes", "rootfs", "disks", "guest", "runtime"] {
        fs::create_dir_all(path.join(name))?;
    }
    path.canonicalize()
}

fn identity(root: bool, base: u32, lost: &mut Vec<String>) -> Identity {
    if !root {
        lost.push(
            "sandboxes run with the server's own user id, which inside is 0 without capabilities"
                .into(),
        );
        return Identity::Own;
    }
    let allowed = fs::read_to_string("/proc/sys/user/max_user_namespaces");
    let none = allowed.is_ok_and(|text| text.trim() == "0");
    if none || !Path::new("/proc/self/ns/user").exists() {
        lost.push(
            "sandboxes have no user ids of their own: this kernel gives no user namespaces".into(),
        );
        return Identity::Shared;
    }
    Identity::Ranges(base)
}

fn choose_disk(
    asked: Option<DiskLimit>,
    data_directory: &Path,
    root: bool,
    lost: &mut Vec<String>,
) -> Result<DiskLimit, ProbeError> {
    if asked != Some(DiskLimit::Tmpfs) {
        match try_image(data_directory, root) {
            Ok(()) => return Ok(DiskLimit::LoopExt4),
            Err(reason) if asked.is_some() => {
                return Err(ProbeError::Disk {
                    disk: "a loop image",
                    reason,
                });
            }
            Err(reason) => lost.push(format!("disks are in memory and count as it: {reason}")),
        }
    }
    Ok(DiskLimit::Tmpfs)
}

fn try_image(data_directory: &Path, root: bool) -> Result<(), String> {
    if !root {
        return Err("only root may mount images".to_owned());
    }
    if !Path::new("/dev/loop-control").exists() {
        return Err("this kernel has no loop devices".to_owned());
    }
    let directory = data_directory.join("disks");
    disk::make_template(&directory, TRIAL.disk_bytes)
        .map(drop)
        .map_err(|error| match error {
            disk::TemplateError::Run(_) => {
                "mkfs.ext4 is not installed (package e2fsprogs)".to_owned()
            }
            other => other.to_string(),
        })
}

/// The slots of sandboxes that an earlier server left behind.
fn known_slots(data_directory: &Path, base: u32) -> Table {
    let mut table = Table::default();
    let mut seen = BTreeSet::new();
    for name in names(&data_directory.join("sandboxes")) {
        let path = data_directory
            .join("sandboxes")
            .join(&name)
            .join("request.json");
        let request = fs::read(path)
            .ok()
            .and_then(|text| serde_json::from_slice::<Request>(&text).ok());
        let (Some(Ids::Range(first)), Ok(id)) = (request.map(|request| request.ids), name.parse())
        else {
            continue;
        };
        let slot = first.saturating_sub(base) / IDS;
        if seen.insert(slot) {
            table.hold(id, slot);
        }
    }
    table
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn data(step: &'static str) -> impl FnOnce(io::Error) -> ProbeError {
    move |source| ProbeError::Data { step, source }
}
