//! What the server asks of the helper, and what the helper answers.
//!
//! The request is a file in the sandbox's directory, so that the directory's path stands in
//! the helper's argument list: that is how a half-made sandbox's processes are found again.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One container to make. All paths are absolute and checked by the server.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    /// The sandbox's name.
    pub id: String,
    /// What it believes its machine is called.
    pub hostname: String,
    /// The layers of its root, topmost first. One is bound, several are laid over each other.
    pub root: Vec<PathBuf>,
    /// Host paths shown at the same place inside, read-only.
    pub binds: Vec<Bind>,
    /// What is shown over files that the root has, read-only; where it has none, nothing is shown.
    #[serde(default)]
    pub over: Vec<Bind>,
    /// What is shown below [`TOOLS`], read-only; targets are relative to it.
    pub tools: Vec<Bind>,
    /// The writable disk.
    pub disk: Disk,
    /// Which ids it runs as.
    pub ids: Ids,
    /// Several sessions share it.
    #[serde(default)]
    pub members: bool,
    /// What is sent to elsewhere shall be seen by the guest; see `network.rs`.
    #[serde(default)]
    pub watched: bool,
    /// The control groups to enter, for the embedded runtime.
    pub cgroups: Vec<PathBuf>,
    /// Where a runtime of the host shall make its control groups.
    pub cgroups_path: Option<String>,
    /// The limits that a runtime of the host shall set.
    pub limits: Limits,
    /// Who makes the container.
    pub maker: Maker,
}

/// One mount.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Bind {
    pub source: PathBuf,
    pub target: PathBuf,
}

/// The one writable file system.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Disk {
    /// An image holding ext4 with the directories of [`WRITABLE`].
    Image(PathBuf),
    /// Memory, this many bytes.
    Memory(u64),
}

/// The ids of the processes inside, as seen by the host.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Ids {
    /// A user namespace with 65,536 ids beginning here.
    Range(u32),
    /// No user namespace: the ids inside are those of the host.
    Shared,
    /// We are not root: one id, our own.
    Own,
}

/// The limits in the units of an OCI configuration.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Limits {
    pub memory_bytes: u64,
    pub pids: u32,
    pub cpu_quota_us: u64,
    pub cpu_period_us: u64,
}

/// Who makes the container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Maker {
    /// The library in this binary.
    Embedded,
    /// The helper itself, without an OCI runtime.
    Process,
    /// A program of the host.
    Program {
        path: PathBuf,
        /// Its state directory.
        state: PathBuf,
        /// Arguments before the verb.
        options: Vec<String>,
        /// Whether it refuses a hybrid control group layout unless `unified` is hidden.
        hide_unified: bool,
        /// Whether its containers have a kernel of their own, which brings up loopback itself and
        /// lets nothing be written that is no mount it was told of.
        own_kernel: bool,
    },
}

impl Maker {
    /// Whether its containers have a kernel of their own.
    pub fn own_kernel(&self) -> bool {
        matches!(
            self,
            Self::Program {
                own_kernel: true,
                ..
            }
        )
    }
}

/// The helper's answer: one line on its standard output.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// The container runs.
    Made(Made),
    /// It could not be made.
    Failed {
        /// Why, with causes.
        reason: String,
    },
}

/// The container's first process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Made {
    /// Its process id on the host.
    pub pid: i32,
    /// When it began, in clock ticks since boot: with the pid it names one process for ever.
    pub started: u64,
}

/// Where our own files are shown inside.
pub(super) const TOOLS: &str = "/opt/hostel";

/// The guest's name below [`TOOLS`].
pub(super) const GUEST: &str = "guest";

/// The writable places: name on the disk, path inside, mode.
pub(super) const WRITABLE: [(&str, &str, u32); 4] = [
    ("workspace", "/workspace", 0o755),
    ("tmp", "/tmp", 0o1777),
    ("home", "/home/agent", 0o755),
    ("session", "/mnt/session", 0o755),
];

/// The same where several members share the sandbox: everybody passes through, nobody sees which
/// names there are or makes any, and each member is given directories of its own. `/tmp` too:
/// what somebody left at a name that another will use would be a way to its files.
const WRITABLE_FOR_MEMBERS: [(&str, &str, u32); 4] = [
    ("workspace", "/workspace", 0o711),
    ("tmp", "/tmp", 0o711),
    ("home", "/home", 0o711),
    ("session", "/mnt/session", 0o711),
];

/// The user and group that everything inside runs as, unless it belongs to a member.
pub(super) const AGENT: u32 = 1000;

impl Request {
    /// The user and group of the first process, as known inside.
    pub fn user(&self) -> u32 {
        match self.ids {
            // The kernel's rule for who may become a member and end what members started.
            _ if self.members => 0,
            // Without a range of ids there is one id to have, and the kernel calls it 0 until the
            // guest's program begins.
            Ids::Own => 0,
            Ids::Range(_) | Ids::Shared => AGENT,
        }
    }

    /// The host's id of that user: who must own the writable places.
    pub fn owner(&self) -> u32 {
        match self.ids {
            Ids::Range(base) => base + self.user(),
            Ids::Shared | Ids::Own => self.user(),
        }
    }

    /// The writable places: name on the disk, path inside, mode.
    pub fn writable(&self) -> [(&'static str, &'static str, u32); 4] {
        if self.members {
            WRITABLE_FOR_MEMBERS
        } else {
            WRITABLE
        }
    }
}
