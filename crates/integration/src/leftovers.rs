//! What a server must not leave: processes, control groups, mounts, loop devices, files of sandboxes,
//! sockets. Looks only at what names the server's own data directory.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::process::Process;

/// What is left of a server with this data directory, after it ended; `known` are processes that it
/// had. Nothing is the empty list.
#[must_use]
pub fn of(data: &Path, known: &HashSet<Process>) -> Vec<String> {
    let name = data.to_str().unwrap();
    let mut left = Vec::new();
    let living = known.iter().filter(|process| process.lives());
    left.extend(living.map(|process| format!("process {:?}", process.arguments())));
    left.extend(naming(name).map(|process| format!("process {:?}", process.arguments())));
    left.extend(
        groups(data)
            .iter()
            .map(|group| format!("control group {}", group.display())),
    );
    left.extend(lines("/proc/self/mountinfo", name).map(|line| format!("mount {line}")));
    left.extend(lines("/proc/net/unix", name).map(|line| format!("socket {line}")));
    left.extend(loops(name).map(|file| format!("loop device of {file}")));
    let files = fs::read_dir(data.join("sandboxes"))
        .into_iter()
        .flatten()
        .flatten();
    left.extend(files.map(|file| format!("file {}", file.path().display())));
    left
}

/// The control groups of the server with this data directory.
#[must_use]
pub fn groups(data: &Path) -> Vec<PathBuf> {
    // The provider tells servers of one host apart by this.
    let path = data.canonicalize().unwrap_or_else(|_| data.to_owned());
    let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
    let hex: String = digest
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mounts = mountinfo.lines().filter(|line| {
        let kind = line.split_once(" - ").map(|(_, right)| right);
        kind.is_some_and(|kind| kind.starts_with("cgroup"))
    });
    let places = mounts.map(|line| PathBuf::from(line.split(' ').nth(4).unwrap()).join("hostel"));
    let names = [hex.clone(), format!("{hex}-devices")];
    let paths = places.flat_map(|place| names.clone().map(|name| place.join(name)));
    paths.filter(|path| path.exists()).collect()
}

/// Removes control groups of a server that a failed test killed; best effort.
pub fn remove_groups(data: &Path) {
    for group in groups(data) {
        for below in fs::read_dir(&group).into_iter().flatten().flatten() {
            let _ = fs::remove_dir(below.path());
        }
        let _ = fs::remove_dir(group);
    }
}

fn naming(name: &str) -> impl Iterator<Item = Process> {
    let me = i32::try_from(std::process::id()).unwrap();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let all = entries.filter_map(|entry| Process::of(entry.file_name().to_str()?.parse().ok()?));
    all.filter(move |process| {
        process.pid != me && process.arguments().iter().any(|word| word.contains(name))
    })
}

fn lines(file: &str, name: &str) -> impl Iterator<Item = String> {
    let text = fs::read_to_string(file).unwrap();
    let found: Vec<String> = text
        .lines()
        .filter(|line| line.contains(name))
        .map(str::to_owned)
        .collect();
    found.into_iter()
}

fn loops(name: &str) -> impl Iterator<Item = String> {
    let devices = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    devices
        .filter_map(|device| fs::read_to_string(device.path().join("loop/backing_file")).ok())
        .filter(move |file| file.contains(name))
}
