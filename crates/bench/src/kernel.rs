//! What the kernel says about processes and their control groups.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

/// The words of `/proc/<pid>/cmdline` or `environ`.
pub fn words(pid: u32, file: &str) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    text.split_terminator('\0').map(str::to_owned).collect()
}

/// Every process below one, those that its threads started too.
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(above) = found.get(next).copied() {
        let threads = fs::read_dir(format!("/proc/{above}/task"));
        for thread in threads.into_iter().flatten().flatten() {
            let children = fs::read_to_string(thread.path().join("children"));
            found.extend(
                children
                    .unwrap_or_default()
                    .split_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
        next += 1;
    }
    found.remove(0);
    found
}

/// Memory as `smaps_rollup` counts it, in bytes: shared pages by their share.
pub fn pss(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Pss:"))
        .context("no Pss")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

/// Processor time that these processes and everything below them have used, with what ended below
/// them and was waited for. In ticks of 10 ms for each process.
pub fn cpu(pids: &[u32]) -> Result<Duration> {
    let mut all = BTreeSet::new();
    for pid in pids {
        all.insert(*pid);
        all.extend(descendants(*pid));
    }
    let mut ticks = 0;
    for pid in all {
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        // The name may hold anything; the fields begin behind it with the third.
        let (_, fields) = text
            .rsplit_once(')')
            .context("a strange /proc/<pid>/stat")?;
        let times = fields.split_whitespace().skip(11).take(4);
        ticks += times
            .filter_map(|time| time.parse::<u64>().ok())
            .sum::<u64>();
    }
    Ok(Duration::from_millis(ticks * 10))
}

/// Whether the control group of a process is frozen.
pub fn frozen(pid: u32) -> bool {
    groups(pid).iter().any(|group| {
        let says = |file: &str, text: &str| {
            fs::read_to_string(group.join(file))
                .is_ok_and(|content| content.lines().any(|line| line == text))
        };
        says("freezer.state", "FROZEN") || says("cgroup.events", "frozen 1")
    })
}

/// The control groups of all sandboxes of the server that has this one, in every hierarchy.
pub fn server_groups(guest: u32) -> Vec<PathBuf> {
    let server = |group: PathBuf| {
        let mut above = group.ancestors();
        above
            .find(|path| {
                path.parent()
                    .is_some_and(|parent| parent.ends_with("hostel"))
            })
            .map(Path::to_owned)
    };
    let found: BTreeSet<PathBuf> = groups(guest).into_iter().filter_map(server).collect();
    found.into_iter().collect()
}

/// The control groups of a process, where they are mounted.
fn groups(pid: u32) -> Vec<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut found = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        for mount in mounts.lines() {
            let Some((place, kind)) = mount.split_once(" - ") else {
                continue;
            };
            let mut kind = kind.split(' ');
            let fits = match (kind.next(), controllers) {
                (Some("cgroup2"), "") => true,
                (Some("cgroup"), "") | (Some("cgroup2"), _) => false,
                (Some("cgroup"), names) => kind
                    .nth(1)
                    .is_some_and(|options| options.split(',').any(|option| option == names)),
                _ => false,
            };
            if let (true, Some(place)) = (fits, place.split(' ').nth(4)) {
                found.push(Path::new(place).join(path.trim_start_matches('/')));
            }
        }
    }
    found
}
