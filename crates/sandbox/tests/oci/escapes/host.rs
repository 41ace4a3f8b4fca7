//! What of the host an attempt could change, before and after.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

/// Settings of the kernel that change by themselves, by a part of their path.
const RESTLESS: [&str; 14] = [
    "/random/",
    "ns_last_pid",
    "/pty/nr",
    "file-nr",
    "inode-nr",
    "inode-state",
    "dentry-state",
    "aio-nr",
    "/quota/",
    "sched_domain",
    "stat_refresh",
    "/net/netfilter/nf_conntrack_count",
    "msg_next_id",
    "/net/",
];

/// Files that nobody writes to while tests run.
const QUIET: [&str; 10] = [
    "/etc/passwd",
    "/etc/shadow",
    "/etc/hosts",
    "/etc/ld.so.preload",
    "/usr/bin/env",
    "/sys/kernel/uevent_helper",
    "/sys/kernel/kexec_loaded",
    "/proc/swaps",
    "/proc/self/attr/current",
    env!("CARGO_BIN_EXE_sandbox-helper"),
];

pub struct Host {
    files: BTreeMap<String, Vec<u8>>,
    at: (SystemTime, Instant),
}

impl Host {
    pub fn now() -> Self {
        let mut files = BTreeMap::new();
        for root in ["/proc/sys/kernel", "/proc/sys/vm", "/proc/sys/fs"] {
            settings(Path::new(root), &mut files);
        }
        for path in QUIET {
            files.insert(path.to_owned(), fs::read(path).unwrap_or_default());
        }
        for entry in fs::read_dir("/sys/fs/cgroup")
            .into_iter()
            .flatten()
            .flatten()
        {
            let path = entry.path().join("release_agent");
            files.insert(
                path.display().to_string(),
                fs::read(&path).unwrap_or_default(),
            );
        }
        Self {
            files,
            at: (SystemTime::now(), Instant::now()),
        }
    }

    /// Fails with the first difference.
    pub fn assert_unchanged(&self) {
        let after = Self::now();
        for (path, before) in &self.files {
            let now = after.files.get(path);
            assert!(now == Some(before), "{path} was changed: {now:?}");
        }
        let passed = after.at.0.duration_since(self.at.0).unwrap_or_default();
        let drift = passed.abs_diff(after.at.1 - self.at.1);
        assert!(
            drift < Duration::from_secs(60),
            "the clock was set: {drift:?}"
        );
    }
}

fn settings(directory: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let text = path.display().to_string();
        if RESTLESS.iter().any(|part| text.contains(part)) {
            continue;
        }
        if path.is_dir() {
            settings(&path, files);
        } else if let Ok(content) = fs::read(&path) {
            files.insert(text, content);
        }
    }
}
