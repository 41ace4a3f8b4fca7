//! The files of control groups: written with their name in the error, read leniently.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

/// How long a removed group may stay busy with processes that are already dead.
const RETRIES: u32 = 200;

pub(super) fn put(file: &Path, value: &str) -> io::Result<()> {
    fs::write(file, value)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))
}

pub(super) fn members(group: &Path) -> Vec<i32> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let below = subgroups(group)
        .into_iter()
        .flat_map(|group| members(&group));
    text.lines()
        .filter_map(|line| line.parse().ok())
        .chain(below)
        .collect()
}

pub(super) fn subgroups(group: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// A group stays busy for an instant after its last process has ended.
pub(super) fn remove(group: &Path) -> io::Result<()> {
    subgroups(group)
        .iter()
        .try_for_each(|group| remove(group))?;
    let mut left = RETRIES;
    loop {
        match fs::remove_dir(group) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if left == 0 || error.kind() != io::ErrorKind::ResourceBusy => {
                return Err(error);
            }
            Err(_) => left -= 1,
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// The number behind `key` in lines of `key number`.
pub(super) fn keyed(text: &str, key: &str) -> u64 {
    let value = |line: &str| {
        line.split_once(' ')
            .filter(|(name, _)| *name == key)?
            .1
            .trim()
            .parse()
            .ok()
    };
    text.lines().find_map(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_their_whole_name() {
        let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        assert_eq!(keyed(text, "oom_kill"), 3);
        assert_eq!(keyed(text, "max"), 0);
    }
}
