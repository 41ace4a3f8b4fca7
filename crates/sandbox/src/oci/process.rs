//! Processes by number, without ever hitting a stranger that got the same number later.

use std::{fs, io, os::unix::ffi::OsStrExt, path::Path};

use nix::{
    errno::Errno,
    sys::wait::{WaitPidFlag, WaitStatus, waitpid},
    unistd::{Pid, getpgrp, getsid},
};
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::request::Made;

/// The parts of `/proc/<pid>/stat` we look at.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: u8,
    parent: i32,
    group: i32,
    session: i32,
    started: u64,
}

/// When `pid` began, in clock ticks since boot.
pub(super) fn started(pid: i32) -> io::Result<u64> {
    Ok(stat(pid)?.started)
}

/// Whether exactly this process lives; a zombie does not.
pub(super) fn lives(made: Made) -> bool {
    stat(made.pid).is_ok_and(|stat| stat.started == made.started && stat.state != b'Z')
}

/// Kills exactly this process, if it is still there.
pub(super) fn kill(made: Made) {
    // The descriptor pins the process: checked after it was opened, the number cannot have
    // passed to another one in between.
    let Some(pid) = rustix::process::Pid::from_raw(made.pid) else {
        return;
    };
    let Ok(descriptor) = pidfd_open(pid, PidfdFlags::empty()) else {
        return;
    };
    if started(made.pid).is_ok_and(|started| started == made.started) {
        let _ = pidfd_send_signal(&descriptor, Signal::KILL);
    }
}

/// Kills whatever has this number now, which must have been read from the kernel a moment ago.
pub(super) fn kill_number(pid: i32) {
    if let Ok(started) = started(pid) {
        kill(Made { pid, started });
    }
}

/// Takes the exit status of `pid` if it is our child and has ended.
pub(super) fn reap(pid: i32) {
    let _ = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
}

/// Whether `pid` is gone for good: ended, and reaped if it was ours.
pub(super) fn gone(made: Made) -> bool {
    match waitpid(Pid::from_raw(made.pid), Some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::StillAlive) => false,
        Ok(_) => true,
        Err(Errno::ECHILD) => !lives(made),
        Err(_) => false,
    }
}

/// Reaps ended children that were adopted from a helper, as a subreaper must, except those in
/// `kept`. A child that we started ourselves is in our session, and in our process group or
/// leader of its own; an adopted one never is.
pub(super) fn reap_adopted(kept: &[i32]) {
    let (Ok(session), group) = (getsid(None), getpgrp()) else {
        return;
    };
    for pid in children() {
        let Ok(stat) = stat(pid) else { continue };
        let started_here =
            stat.session == session.as_raw() && (stat.group == group.as_raw() || stat.group == pid);
        if stat.state == b'Z' && !started_here && !kept.contains(&pid) {
            reap(pid);
        }
    }
}

/// All processes one of whose arguments is a path below `directory`.
pub(super) fn naming(directory: &Path) -> Vec<i32> {
    let wanted = directory.as_os_str().as_bytes();
    let names = |pid: &i32| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
            line.split(|byte| *byte == 0).any(|argument| {
                argument
                    .strip_prefix(wanted)
                    .is_some_and(|rest| rest.first() == Some(&b'/'))
            })
        })
    };
    numbers("/proc").filter(names).collect()
}

/// The number of `pid` in its own process namespace; `None` if that is ours, too.
pub(super) fn number_inside(pid: i32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    let numbers = line.split_whitespace().skip(1);
    numbers.last()?.parse().ok()
}

/// `first` and its descendants among `all`.
pub(super) fn below(first: i32, all: &[i32]) -> Vec<i32> {
    let parents: Vec<(i32, i32)> = all
        .iter()
        .filter_map(|&pid| Some((pid, stat(pid).ok()?.parent)))
        .collect();
    let mut found = vec![first];
    let mut looked = 0;
    while let Some(&parent) = found.get(looked) {
        looked += 1;
        let children = parents.iter().filter(|(_, above)| *above == parent);
        found.extend(children.map(|(pid, _)| pid));
    }
    found
}

fn children() -> Vec<i32> {
    numbers("/proc/self/task")
        .filter_map(|task| fs::read_to_string(format!("/proc/self/task/{task}/children")).ok())
        .flat_map(|line| {
            line.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect()
}

fn numbers(directory: &str) -> impl Iterator<Item = i32> + use<> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn stat(pid: i32) -> io::Result<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unknown form of stat"))
}

/// The command's name is in parentheses and may contain anything, parentheses included.
fn parse(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<_> = rest.split(' ').collect();
    Some(Stat {
        state: *fields.first()?.as_bytes().first()?,
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_with_parentheses_does_not_confuse_the_fields() {
        let text = "7 (a) b) c) S 1 7 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 1 2";
        let expected = Stat {
            state: b'S',
            parent: 1,
            group: 7,
            session: 9,
            started: 4711,
        };
        assert_eq!(parse(text), Some(expected));
    }

    #[test]
    fn other_process_with_the_same_number_is_not_alive() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let started = started(pid).unwrap();
        assert!(lives(Made { pid, started }));
        assert!(!lives(Made {
            pid,
            started: started + 1
        }));
    }

    #[test]
    fn other_process_with_the_same_number_is_not_killed() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let started = started(pid).unwrap();
        kill(Made {
            pid,
            started: started + 1,
        });
        assert!(child.try_wait().unwrap().is_none());
        kill(Made { pid, started });
        assert!(!child.wait().unwrap().success());
    }
}
