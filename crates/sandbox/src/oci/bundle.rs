//! The OCI configuration of a sandbox: what is hidden, denied and dropped.
//!
//! There is no seccomp section: the guest puts a precompiled filter on itself before it does
//! anything else, which saves the ten milliseconds that compiling one takes.

use std::path::Path;

use serde_json::{Value, json};

use super::{
    request::{GUEST, Ids, Limits, Maker, Request, TOOLS},
    rlimits,
    stage::Stage,
};

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
pub(super) const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// What the guest needs where several members share the sandbox, which it alone has and mostly
/// gives up again: `confine.rs` of the guest says what is kept and why. `SETPCAP` is for giving
/// up. All of it counts in the sandbox's user namespace only.
const FOR_MEMBERS: [&str; 6] = [
    "CAP_SETUID",
    "CAP_SETGID",
    "CAP_KILL",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_SETPCAP",
];

/// Lists what all members keep in the kernel for all to see.
const MASKED_FOR_MEMBERS: [&str; 1] = ["/proc/sysvipc"];

/// How much sooner than the host's own programs a sandbox is taken when memory runs out.
pub(super) const OOM_SCORE: i32 = 500;

/// Where the guest finds programs.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Ids in one sandbox's range.
pub(super) const IDS: u32 = 65_536;

/// The configuration for a root that stands complete on the stage. Limits are left out when
/// somebody else keeps them.
pub(super) fn config(request: &Request, stage: &Stage, with_limits: bool) -> Value {
    json!({
        "ociVersion": "1.0.2",
        "root": { "path": stage.root, "readonly": true },
        "hostname": request.hostname,
        "process": process(request),
        "mounts": mounts(request, &stage.disk),
        "linux": linux(request, with_limits),
    })
}

fn process(request: &Request) -> Value {
    let user = request.user();
    let mut args = vec![format!("{TOOLS}/{GUEST}")];
    let mut capabilities: &[&str] = &[];
    if request.members {
        args.push("members".to_owned());
        capabilities = &FOR_MEMBERS;
    }
    let limits = rlimits::of(request)
        .into_iter()
        .map(|limit| json!({ "type": limit.name, "hard": limit.value, "soft": limit.value }));
    json!({
        "terminal": false,
        "user": { "uid": user, "gid": user, "umask": 0o022 },
        "args": args,
        "env": [
            format!("PATH={PATH}"),
            format!("HOME={}", home(request)),
        ],
        "cwd": "/workspace",
        "capabilities": {
            "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
            "inheritable": [], "ambient": [],
        },
        "noNewPrivileges": true,
        "oomScoreAdj": OOM_SCORE,
        "rlimits": limits.collect::<Value>(),
    })
}

/// Where the guest is at home.
pub(super) fn home(request: &Request) -> &'static str {
    if request.members { "/" } else { "/home/agent" }
}

/// The kernel's files that are hidden.
pub(super) fn masked(request: &Request) -> Vec<&'static str> {
    let mut masked = MASKED.to_vec();
    if request.members {
        masked.extend(MASKED_FOR_MEMBERS);
    }
    masked
}

fn mounts(request: &Request, disk: &Path) -> Value {
    let mut mounts = kernel_mounts(request.members);
    if let Maker::Program {
        own_kernel: true, ..
    } = request.maker
    {
        mounts.extend(request.writable().map(|(name, place, _)| {
            json!({
                "destination": place, "type": "bind", "source": disk.join(name),
                "options": ["bind", "rw", "nosuid", "nodev"],
            })
        }));
    }
    mounts.into()
}

fn kernel_mounts(members: bool) -> Vec<Value> {
    let (mut proc, mut shm) = (vec!["nosuid", "noexec", "nodev"], "mode=1777");
    if members {
        // Nobody sees another user's processes, but for the guest by its group.
        proc.extend(["hidepid=2", "gid=0"]);
        // Names are to be known, not found.
        shm = "mode=1733";
    }
    vec![
        json!({
            "destination": "/proc", "type": "proc", "source": "proc",
            "options": proc,
        }),
        json!({
            "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "noexec", "strictatime", "mode=755", "size=64k", "nr_inodes=64"],
        }),
        json!({
            "destination": "/dev/pts", "type": "devpts", "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
        }),
        json!({
            "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
            "options": ["nosuid", "noexec", "nodev", shm, "size=65536k"],
        }),
    ]
}

fn linux(request: &Request, with_limits: bool) -> Value {
    let mut linux = json!({
        "namespaces": namespaces(request),
        "maskedPaths": masked(request),
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

/// The helper has made the network before, and without being root the user namespace: the container
/// is born in them.
fn namespaces(request: &Request) -> Value {
    let mut kinds = vec!["pid", "ipc", "uts", "mount", "cgroup"];
    if matches!(request.ids, Ids::Range(_)) {
        kinds.push("user");
    }
    if request.maker.own_kernel() {
        kinds.push("network");
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

#[cfg(test)]
mod tests {
    use super::*;

    fn made_for(members: bool) -> Value {
        let request: Request = serde_json::from_value(json!({
            "id": "one", "hostname": "sandbox", "root": ["/root"], "binds": [], "tools": [],
            "disk": { "Memory": 1 }, "ids": { "Range": 600_000_000 }, "members": members,
            "cgroups": [], "cgroups_path": null, "maker": "Embedded",
            "limits": { "memory_bytes": 1, "pids": 1, "cpu_quota_us": 1, "cpu_period_us": 1 },
        }))
        .unwrap();
        let stage = Stage {
            root: "/stage/root".into(),
            bundle: "/stage/bundle".into(),
            state: "/stage/state".into(),
            disk: "/stage/disk".into(),
        };
        config(&request, &stage, false)
    }

    const SETS: [&str; 5] = [
        "bounding",
        "effective",
        "permitted",
        "inheritable",
        "ambient",
    ];

    #[test]
    fn a_sandbox_of_one_has_nothing_of_what_members_need() {
        let config = made_for(false);
        let process = &config["process"];
        assert_eq!(process["args"], json!(["/opt/hostel/guest"]));
        assert_eq!(
            process["user"],
            json!({ "uid": 1000, "gid": 1000, "umask": 0o022 })
        );
        for set in SETS {
            assert_eq!(process["capabilities"][set], json!([]), "{set}");
        }
        let options = |index: usize| &config["mounts"][index]["options"];
        assert_eq!(*options(0), json!(["nosuid", "noexec", "nodev"]));
        assert!(options(3).as_array().unwrap().contains(&json!("mode=1777")));
        assert_eq!(config["linux"]["maskedPaths"], json!(MASKED));
    }

    #[test]
    fn for_members_the_guest_alone_is_privileged_and_only_in_its_namespace() {
        let config = made_for(true);
        let process = &config["process"];
        assert_eq!(process["args"], json!(["/opt/hostel/guest", "members"]));
        for set in &SETS[..3] {
            assert_eq!(process["capabilities"][set], json!(FOR_MEMBERS), "{set}");
        }
        // What a program that it starts would get.
        for set in &SETS[3..] {
            assert_eq!(process["capabilities"][set], json!([]), "{set}");
        }
        assert_eq!(process["noNewPrivileges"], json!(true));
        let of = |config: &Value| {
            let kinds = config["linux"]["namespaces"].as_array().unwrap().clone();
            (kinds, config["linux"]["uidMappings"].clone())
        };
        assert_eq!(of(&config), of(&made_for(false)));
        assert!(of(&config).0.contains(&json!({ "type": "user" })));
    }
}
