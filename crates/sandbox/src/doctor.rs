//! What this host can do for sandboxes, and what to install for more.
//!
//! Looking is quick and never fails: what cannot be read counts as not there. It proves
//! nothing: only [`crate::oci::Oci::probe`], which makes a container, does.

use std::{fs, path::Path};

use nix::unistd::geteuid;
use serde::Serialize;

use crate::{
    oci::{KNOWN, Layout, can_watch, find, landlock_version, version},
    provider::{DiskLimit, Isolation},
};

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The kernel's release.
    pub kernel: String,
    /// Whether the server is root here.
    pub root: bool,
    /// Kernel features that matter.
    pub features: Features,
    /// Control groups; `None` if none are mounted.
    pub cgroups: Option<Cgroups>,
    /// Runtimes, the one taken first.
    pub runtimes: Vec<Runtime>,
    /// How disks are limited.
    pub disk: Disk,
    /// What can stand between a sandbox and this host, weakest first.
    pub isolation: Vec<Level>,
    /// What is missing, one sentence each, with the package that brings it.
    pub advice: Vec<String>,
}

/// Kernel features.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Features {
    /// User namespaces can be made.
    pub user_namespaces: bool,
    /// Processes can be named for good (Linux 5.3).
    pub pidfd: bool,
    /// Landlock is active.
    pub landlock: bool,
    /// System calls can be filtered.
    pub seccomp: bool,
    /// Processes can have clocks of their own (Linux 5.6).
    pub time_namespaces: bool,
    /// Several root directories can be laid over each other.
    pub overlay: bool,
    /// Images can be mounted.
    pub loop_devices: bool,
    /// Network devices can be made that are a program's (`/dev/net/tun`).
    pub tun: bool,
    /// Hardware virtualisation is offered.
    pub kvm: bool,
}

/// Control groups.
#[derive(Clone, Debug, Serialize)]
pub struct Cgroups {
    /// `v1`, `hybrid` or `v2`.
    pub version: &'static str,
    /// What can be limited.
    pub controllers: Vec<String>,
}

/// One runtime.
#[derive(Clone, Debug, Serialize)]
pub struct Runtime {
    /// Its name, as the configuration takes it.
    pub name: &'static str,
    /// Its version; `None` if it is not installed or does not run.
    pub version: Option<String>,
    /// Whether it is the default.
    pub taken: bool,
    /// Why, or why not.
    pub reason: String,
}

/// One level of isolation.
#[derive(Clone, Debug, Serialize)]
pub struct Level {
    /// Its name, as environments ask for it.
    pub name: Isolation,
    /// Whether sandboxes can have it here.
    pub offered: bool,
    /// Why, or why not.
    pub reason: String,
}

/// How disks are limited.
#[derive(Clone, Debug, Serialize)]
pub struct Disk {
    /// The way that is taken.
    pub taken: DiskLimit,
    /// What it limits besides bytes.
    pub files: &'static str,
    /// The ways that are not, with the reason.
    pub others: Vec<String>,
}

/// Looks at this host.
pub fn report() -> Report {
    let kernel = read("/proc/sys/kernel/osrelease");
    let root = geteuid().is_root();
    let features = features(&kernel);
    let disk = disk(root, features.loop_devices);
    let layout = Layout::detect();
    let cgroups = layout.as_ref().map(|layout| Cgroups {
        version: match layout {
            Layout::V2(_) => "v2",
            Layout::V1 { .. } if layout.is_hybrid() => "hybrid",
            Layout::V1 { .. } => "v1",
        },
        controllers: layout.controllers(),
    });
    let missing = layout.as_ref().map(Layout::missing);
    let advice = advice(root, &features, missing.as_deref(), &disk);
    Report {
        kernel,
        root,
        features,
        cgroups,
        runtimes: runtimes(),
        disk,
        isolation: levels(root, &features),
        advice,
    }
}

fn features(kernel: &str) -> Features {
    let filesystems = read("/proc/filesystems");
    Features {
        user_namespaces: Path::new("/proc/self/ns/user").exists()
            && read("/proc/sys/user/max_user_namespaces") != "0"
            && read("/proc/sys/kernel/unprivileged_userns_clone") != "0",
        pidfd: release(kernel) >= (5, 3),
        landlock: landlock_version() > 0,
        time_namespaces: Path::new("/proc/self/ns/time").exists(),
        seccomp: Path::new("/proc/sys/kernel/seccomp/actions_avail").exists(),
        // A module is loaded at the first use, so only its absence on disk would tell.
        overlay: filesystems.contains("overlay")
            || Path::new("/lib/modules")
                .join(kernel)
                .join("kernel/fs/overlayfs")
                .exists(),
        loop_devices: Path::new("/dev/loop-control").exists(),
        tun: can_watch(),
        kvm: Path::new("/dev/kvm").exists(),
    }
}

fn runtimes() -> Vec<Runtime> {
    let embedded = Runtime {
        name: "embedded",
        version: Some("libcontainer 0.7".to_owned()),
        taken: true,
        reason: "it is the default and needs nothing installed".to_owned(),
    };
    let others = KNOWN.into_iter().map(|name| {
        let version = find(name).and_then(|path| version(&path));
        let reason = if version.is_some() {
            format!("it is taken only when asked for: runtime = \"{name}\"")
        } else {
            "it is not installed".to_owned()
        };
        Runtime {
            name,
            version,
            taken: false,
            reason,
        }
    });
    std::iter::once(embedded).chain(others).collect()
}

fn levels(root: bool, features: &Features) -> Vec<Level> {
    let namespaces = "this kernel gives no user namespaces";
    let level = |name, refusal: Option<&str>, reason: &str| Level {
        name,
        offered: refusal.is_none(),
        reason: refusal.unwrap_or(reason).to_owned(),
    };
    let process = match (features.user_namespaces, features.landlock) {
        (false, _) => Some(namespaces),
        (_, false) => Some("this kernel has no Landlock"),
        _ => None,
    };
    let container = (!features.user_namespaces && !root).then_some(namespaces);
    let gvisor = match (root, find("runsc")) {
        (false, _) => Some("it needs root"),
        (_, None) => Some("runsc is not installed (package runsc)"),
        _ => None,
    };
    vec![
        level(
            Isolation::Process,
            process,
            "namespaces and Landlock, without an OCI runtime",
        ),
        level(
            Isolation::Container,
            container,
            "namespaces, made by an OCI runtime",
        ),
        level(Isolation::Gvisor, gvisor, "a kernel in user space: runsc"),
    ]
}

fn disk(root: bool, loop_devices: bool) -> Disk {
    let mkfs = find("mkfs.ext4").is_some();
    let refusal = match (root, loop_devices, mkfs) {
        (true, true, true) => None,
        (false, ..) => Some("loop-ext4: only root may mount images"),
        (_, false, _) => Some("loop-ext4: this kernel has no loop devices"),
        (.., false) => Some("loop-ext4: mkfs.ext4 is not installed"),
    };
    let never = "project quota and btrfs subvolumes: not supported";
    match refusal {
        None => Disk {
            taken: DiskLimit::LoopExt4,
            files: "files, too: one for each 16 KiB, and not fewer than 1024",
            others: vec![
                "tmpfs: it would count as the sandbox's memory".into(),
                never.into(),
            ],
        },
        Some(reason) => Disk {
            taken: DiskLimit::Tmpfs,
            files: "files, too: 65,536",
            others: vec![reason.into(), never.into()],
        },
    }
}

fn advice(root: bool, features: &Features, missing: Option<&[&str]>, disk: &Disk) -> Vec<String> {
    let mut advice = Vec::new();
    if !root {
        advice.push("run the server as root for limits and user ids of the sandboxes' own".into());
    }
    if !features.user_namespaces {
        advice.push("allow user namespaces: sysctl user.max_user_namespaces=10000".into());
    }
    if root && disk.taken == DiskLimit::Tmpfs {
        advice
            .push("for disks outside of memory install e2fsprogs and load the module loop".into());
    }
    if missing.is_none() {
        advice.push("mount the control groups: without them sandboxes have no limits".into());
    }
    for name in missing.unwrap_or_default() {
        advice.push(format!(
            "enable the control group controller {name}: without it sandboxes have no limits, or cannot be frozen"
        ));
    }
    if !features.tun {
        advice.push(
            "to have a record of what programs send elsewhere than by the ways out load the module tun, and let the server open /dev/net/tun"
                .into(),
        );
    }
    if find("runsc").is_none() {
        advice
            .push("for a kernel in user space install runsc (package runsc) and ask for it".into());
    }
    advice
}

/// The version of Landlock that this kernel has; 0 for none.
#[must_use]
pub fn landlock() -> i64 {
    landlock_version()
}

/// The running kernel's major and minor number.
pub(crate) fn kernel() -> (u32, u32) {
    release(&read("/proc/sys/kernel/osrelease"))
}

/// Major and minor number of a kernel release.
fn release(kernel: &str) -> (u32, u32) {
    let mut numbers = kernel.split(|letter: char| !letter.is_ascii_digit());
    let mut next = || {
        numbers
            .next()
            .and_then(|number| number.parse().ok())
            .unwrap_or(0)
    };
    (next(), next())
}

fn read(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_numbers_are_compared_as_numbers() {
        assert_eq!(release("6.18.44-fc-v595"), (6, 18));
        assert!(release("5.10.0") > release("5.9.9"));
        assert_eq!(release(""), (0, 0));
    }

    #[test]
    fn exactly_one_runtime_is_taken() {
        let report = report();
        assert_eq!(
            report
                .runtimes
                .iter()
                .filter(|runtime| runtime.taken)
                .count(),
            1
        );
        assert_eq!(
            report
                .isolation
                .iter()
                .map(|level| level.name)
                .collect::<Vec<_>>(),
            Isolation::ALL
        );
        assert!(
            report
                .runtimes
                .iter()
                .all(|runtime| !runtime.reason.is_empty())
        );
        assert!(
            serde_json::to_string(&report)
                .unwrap()
                .contains(&report.kernel)
        );
    }
}
