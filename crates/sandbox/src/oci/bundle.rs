//! The OCI configuration of a sandbox: what is hidden, denied and dropped.
//!
//! There is no seccomp section: the guest puts a precompiled filter on itself before it does
//! anything else, which saves the ten milliseconds that compiling one takes.

use std::path::Path;

use nix::sys::resource::{Resource, getrlimit};
use serde_json::{Value, json};

use super::request::{AGENT, GUEST, Ids, Limits, Request, TOOLS};

/// Kernel files that tell about the host or let it be steered.
const MASKED: [&str; 23] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/config.gz",
    "/proc/interrupts",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/key-users",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/kpagecgroup",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/latency_stats",
    "/proc/modules",
    "/proc/pagetypeinfo",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/slabinfo",
    "/proc/softirqs",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/vmallocinfo",
    "/proc/zoneinfo",
];

/// Kernel files that may be read, never written.
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Open files of one process: claude needs about a hundred.
const OPEN_FILES: u64 = 4096;

/// How much sooner than the host's own programs a sandbox is taken when memory runs out.
const OOM_SCORE: i32 = 500;

/// Ids in one sandbox's range.
pub(super) const IDS: u32 = 65_536;

/// The configuration for a root that stands complete at `root`. Limits are left out when
/// somebody else keeps them.
pub(super) fn config(request: &Request, root: &Path, with_limits: bool) -> Value {
    json!({
        "ociVersion": "1.0.2",
        "root": { "path": root, "readonly": true },
        "hostname": request.hostname,
        "process": process(request),
        "mounts": mounts(),
        "linux": linux(request, with_limits),
    })
}

fn process(request: &Request) -> Value {
    // Without a range of ids there is one id to have, and the kernel calls it 0 until the
    // guest's program begins.
    let user = if matches!(request.ids, Ids::Own) {
        0
    } else {
        AGENT
    };
    let hard = getrlimit(Resource::RLIMIT_NOFILE).map_or(OPEN_FILES, |(_, hard)| hard);
    let files = OPEN_FILES.min(hard);
    json!({
        "terminal": false,
        "user": { "uid": user, "gid": user, "umask": 0o022 },
        "args": [format!("{TOOLS}/{GUEST}")],
        "env": [
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME=/home/agent",
        ],
        "cwd": "/workspace",
        "capabilities": {
            "bounding": [], "effective": [], "inheritable": [], "permitted": [], "ambient": [],
        },
        "noNewPrivileges": true,
        "oomScoreAdj": OOM_SCORE,
        "rlimits": [
            { "type": "RLIMIT_CORE", "hard": 0, "soft": 0 },
            { "type": "RLIMIT_NOFILE", "hard": files, "soft": files },
        ],
    })
}

fn mounts() -> Value {
    json!([
        {
            "destination": "/proc", "type": "proc", "source": "proc",
            "options": ["nosuid", "noexec", "nodev"],
        },
        {
            "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "noexec", "strictatime", "mode=755", "size=64k", "nr_inodes=64"],
        },
        {
            "destination": "/dev/pts", "type": "devpts", "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
        },
        {
            "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
            "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        },
    ])
}

fn linux(request: &Request, with_limits: bool) -> Value {
    let mut linux = json!({
        "namespaces": namespaces(request.ids),
        "maskedPaths": MASKED,
        "readonlyPaths": READ_ONLY,
    });
    if let Ids::Range(base) = request.ids {
        let mapping = json!([{ "containerID": 0, "hostID": base, "size": IDS }]);
        linux["uidMappings"] = mapping.clone();
        linux["gidMappings"] = mapping;
    }
    if let Some(path) = &request.cgroups_path {
        linux["cgroupsPath"] = json!(path);
    }
    if with_limits {
        linux["resources"] = resources(&request.limits);
    }
    linux
}

fn namespaces(ids: Ids) -> Value {
    let mut kinds = vec!["pid", "ipc", "uts", "mount", "cgroup"];
    match ids {
        Ids::Range(_) => kinds.extend(["network", "user"]),
        Ids::Shared => kinds.push("network"),
        // The helper has made both before: the container is born in them.
        Ids::Own => {}
    }
    kinds
        .into_iter()
        .map(|kind| json!({ "type": kind }))
        .collect()
}

fn resources(limits: &Limits) -> Value {
    json!({
        // Every runtime adds the harmless devices it makes itself.
        "devices": [{ "allow": false, "access": "rwm" }],
        "memory": { "limit": limits.memory_bytes, "swap": limits.memory_bytes },
        "pids": { "limit": limits.pids },
        "cpu": { "quota": limits.cpu_quota_us, "period": limits.cpu_period_us },
    })
}
