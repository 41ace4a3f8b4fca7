//! What sandboxes are made of and how much each may use.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The sandboxes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sandbox {
    /// What runs them when an environment asks for no better isolation. Never replaced by something
    /// else when it cannot: the server says why.
    pub runtime: Runtime,
    /// The root file system: `host` for the host's own `/usr` and friends read-only, or the path of
    /// a directory or tar archive.
    pub rootfs: String,
    /// Memory of each, in MiB.
    #[schemars(range(min = 64))]
    pub memory_mib: u64,
    /// Processor time of each, in thousandths of a processor.
    #[schemars(range(min = 50))]
    pub cpu_millis: u32,
    /// Processes and threads of each.
    #[schemars(range(min = 32))]
    pub pids: u32,
    /// Disk of each, in MiB.
    #[schemars(range(min = 64))]
    pub disk_mib: u64,
    /// How long a session is idle before its processes are frozen, in milliseconds. Its files are
    /// saved then, too.
    #[schemars(range(min = 10))]
    pub freeze_after_ms: u64,
    /// The part of a sandbox's memory, in percent, beyond which an idle claude is ended and started
    /// anew with the next message.
    #[schemars(range(min = 10, max = 100))]
    pub soft_memory_percent: u8,
}

/// What runs sandboxes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// The OCI runtime that is compiled in.
    #[default]
    Embedded,
    /// `crun` of the host.
    Crun,
    /// `runc` of the host.
    Runc,
    /// `youki` of the host.
    Youki,
    /// gVisor's `runsc` of the host.
    Runsc,
    /// No OCI runtime: namespaces of the server's own making, the level `process`.
    None,
}

impl Runtime {
    /// The name of the host's program; `None` where there is none.
    #[must_use]
    pub fn program(self) -> Option<&'static str> {
        match self {
            Runtime::Embedded | Runtime::None => None,
            Runtime::Crun => Some("crun"),
            Runtime::Runc => Some("runc"),
            Runtime::Youki => Some("youki"),
            Runtime::Runsc => Some("runsc"),
        }
    }
}

impl Default for Sandbox {
    fn default() -> Sandbox {
        Sandbox {
            runtime: Runtime::Embedded,
            rootfs: "host".to_owned(),
            memory_mib: 1024,
            cpu_millis: 1000,
            pids: 512,
            disk_mib: 5 * 1024,
            freeze_after_ms: 2000,
            soft_memory_percent: 60,
        }
    }
}
