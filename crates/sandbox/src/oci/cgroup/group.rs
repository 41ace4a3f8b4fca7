//! Groups in a sandbox: one for each of several sessions that share it, with a limit and a count
//! of its own, so that one of them can be stopped, measured or killed and the others go on.
//!
//! When a group's memory is used up, version 2 kills all of it at once (`memory.oom.group`).
//! Version 1 kills one process, mostly the largest of the group, and leaves the others to whoever
//! watches the count.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nix::errno::Errno;

use super::{
    CPU_PERIOD_US, Cgroups, LEAF, Layout,
    files::{keyed, members, put, remove},
    quota_us,
};
use crate::{
    oci::process,
    provider::{Footprint, GroupLimits, LimitHits, Reclaimed},
};

/// How long killed processes may take to end: milliseconds, unless one hangs in the kernel.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often we look in the meantime.
const LOOK: Duration = Duration::from_millis(1);

/// How often processes may have been made behind our back before we give up on moving them all.
const ROUNDS: u32 = 50;

/// Why a process is not in its group.
#[derive(Debug)]
pub(in crate::oci) enum JoinError {
    /// Nobody has this number inside.
    NoProcess,
    /// The kernel refused.
    Host(io::Error),
}

impl From<io::Error> for JoinError {
    fn from(error: io::Error) -> Self {
        Self::Host(error)
    }
}

impl Cgroups {
    /// Whether the sandbox, or the group in it, exists.
    pub fn exists(&self, path: &str) -> bool {
        let memory = self.layout.of("memory");
        memory.is_some_and(|mount| self.at(mount, path).is_dir())
    }

    /// Makes a group in a sandbox, or gives an existing one new limits.
    pub fn make_group(&self, path: &str, limits: GroupLimits) -> io::Result<()> {
        self.places(path).iter().try_for_each(fs::create_dir_all)?;
        let Some(memory) = self.layout.of("memory").map(|mount| self.at(mount, path)) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        match self.layout {
            Layout::V1 { .. } => {
                let value = limits
                    .memory_bytes
                    .map_or_else(|| "-1".to_owned(), |bytes| bytes.to_string());
                let with_swap = memory.join("memory.memsw.limit_in_bytes");
                // Memory alone may never be allowed more than memory with swap: of the two writes
                // the first is refused when the limit sinks.
                if with_swap.exists() {
                    let _ = put(&with_swap, &value);
                }
                put(&memory.join("memory.limit_in_bytes"), &value)?;
                if with_swap.exists() {
                    put(&with_swap, &value)?;
                }
                Ok(())
            }
            Layout::V2(_) => {
                let value = limits
                    .memory_bytes
                    .map_or_else(|| "max".to_owned(), |bytes| bytes.to_string());
                put(&memory.join("memory.max"), &value)?;
                put(&memory.join("memory.oom.group"), "1")
            }
        }
    }

    /// Moves the process that is called `inside` in its sandbox, and its descendants so far.
    pub fn join(&self, id: &str, path: &str, inside: u32) -> Result<(), JoinError> {
        let places = self.places(path);
        let first = self
            .everyone(id)
            .into_iter()
            .find(|pid| process::number_inside(*pid) == Some(inside))
            .ok_or(JoinError::NoProcess)?;
        // Whoever is born to one that was moved is born in the group, so what is missed by one
        // round is found by the next.
        for _ in 0..ROUNDS {
            let tree = process::below(first, &self.everyone(id));
            let mut moved = false;
            for place in &places {
                let there = members(place);
                for pid in tree.iter().filter(|pid| !there.contains(pid)) {
                    moved = true;
                    enter(place, *pid)?;
                }
            }
            if !moved {
                return Ok(());
            }
        }
        Err(JoinError::Host(io::Error::other(
            "it makes processes faster than they can be moved",
        )))
    }

    /// What a group ran into.
    pub fn group_hits(&self, path: &str) -> Option<LimitHits> {
        self.hits_at(path)
    }

    /// Kills all of a group and removes it. False if something in it does not end.
    pub fn kill_group(&self, path: &str) -> io::Result<bool> {
        let places = self.places(path);
        let deadline = Instant::now() + PATIENCE;
        while !self.kill_once(&places) {
            if Instant::now() > deadline {
                return Ok(false);
            }
            thread::sleep(LOOK);
        }
        places.iter().try_for_each(|place| remove(place))?;
        Ok(true)
    }

    /// True if nothing was there.
    fn kill_once(&self, places: &[PathBuf]) -> bool {
        let mut empty = true;
        for place in places {
            let _ = fs::write(place.join("cgroup.kill"), "1");
            for pid in members(place) {
                empty = false;
                process::kill_number(pid);
                if let Layout::V1 { .. } = self.layout {
                    self.let_die(place, pid);
                }
            }
        }
        empty
    }

    /// A frozen process of version 1 dies only when it is thawed. Its sandbox may have to stay
    /// frozen, so the dying one is taken out of it.
    fn let_die(&self, place: &Path, pid: i32) {
        let Some(freezer) = self.layout.of("freezer") else {
            return;
        };
        if place.starts_with(freezer) {
            let thawed = freezer.join("hostel").join(&self.instance);
            let _ = enter(&thawed, pid);
        }
    }

    /// Gives a sandbox the least share of the processor that there is, or what a new group has.
    pub fn yield_to_others(&self, id: &str, yields: bool) -> io::Result<()> {
        let group = self.layout.of("cpu").map(|mount| self.at(mount, id));
        let group = group.ok_or(io::ErrorKind::NotFound)?;
        let (file, least, usual) = match self.layout {
            Layout::V1 { .. } => ("cpu.shares", "2", "1024"),
            Layout::V2(_) => ("cpu.weight", "1", "100"),
        };
        put(&group.join(file), if yields { least } else { usual })
    }

    /// Sets how much of the processor a sandbox may have, in thousandths of one; `None` is all.
    pub fn limit_processor(&self, id: &str, millis: Option<u32>) -> io::Result<()> {
        let group = self.layout.of("cpu").map(|mount| self.at(mount, id));
        let group = group.ok_or(io::ErrorKind::NotFound)?;
        let quota = millis.map(|millis| quota_us(millis).to_string());
        match self.layout {
            Layout::V1 { .. } => {
                let quota = quota.as_deref().unwrap_or("-1");
                put(&group.join("cpu.cfs_quota_us"), quota)
            }
            Layout::V2(_) => {
                let quota = quota.as_deref().unwrap_or("max");
                put(&group.join("cpu.max"), &format!("{quota} {CPU_PERIOD_US}"))
            }
        }
    }

    /// What a sandbox takes, and each group in it.
    pub fn footprints(&self, id: &str) -> Option<(Footprint, BTreeMap<String, Footprint>)> {
        let groups = self
            .names_below(id)
            .into_iter()
            .filter(|name| name != LEAF)
            .filter_map(|name| {
                let taken = self.footprint(&format!("{id}/{name}"))?;
                Some((name, taken))
            });
        Some((self.footprint(id)?, groups.collect()))
    }

    fn footprint(&self, path: &str) -> Option<Footprint> {
        let number = |controller: &str, file: &str| -> Option<u64> {
            self.read(controller, path, file)?.trim().parse().ok()
        };
        let stat = |key: &str| {
            let text = self.read("memory", path, "memory.stat");
            text.map_or(0, |text| keyed(&text, key))
        };
        let processes = self.everyone(path).len() as u64;
        Some(match self.layout {
            Layout::V1 { .. } => {
                let memory_bytes = number("memory", "memory.usage_in_bytes")?;
                let with_swap = number("memory", "memory.memsw.usage_in_bytes");
                Footprint {
                    processor_time: Duration::from_nanos(number("cpuacct", "cpuacct.usage")?),
                    memory_bytes,
                    anonymous_bytes: stat("total_rss"),
                    processes,
                    swap_bytes: with_swap.unwrap_or(0).saturating_sub(memory_bytes),
                }
            }
            Layout::V2(_) => Footprint {
                processor_time: Duration::from_micros(keyed(
                    &self.read("cpu", path, "cpu.stat")?,
                    "usage_usec",
                )),
                memory_bytes: number("memory", "memory.current")?,
                anonymous_bytes: stat("anon"),
                processes,
                swap_bytes: number("memory", "memory.swap.current").unwrap_or(0),
            },
        })
    }

    /// Asks the kernel to write a sandbox's memory to swap.
    pub fn reclaim(&self, id: &str) -> io::Result<Reclaimed> {
        if !has_swap() {
            return Ok(Reclaimed::NoSwap);
        }
        let taken = || self.footprint(id).map(|taken| taken.memory_bytes);
        let (Some(before), Some(memory)) = (
            taken(),
            self.layout.of("memory").map(|mount| self.at(mount, id)),
        ) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        match self.layout {
            Layout::V1 { .. } => put(&memory.join("memory.force_empty"), "0")?,
            Layout::V2(_) => reclaim_second(&memory, before)?,
        }
        Ok(Reclaimed::Bytes(
            before.saturating_sub(taken().unwrap_or(0)),
        ))
    }

    fn everyone(&self, id: &str) -> Vec<i32> {
        let memory = self.layout.of("memory");
        memory.map_or_else(Vec::new, |mount| members(&self.at(mount, id)))
    }
}

/// Moves a process that was seen a moment ago; it may have ended since.
fn enter(place: &Path, pid: i32) -> io::Result<()> {
    match fs::write(place.join("cgroup.procs"), pid.to_string()) {
        Err(error) if error.raw_os_error() == Some(Errno::ESRCH as i32) => Ok(()),
        done => done,
    }
}

/// Swap is forbidden to a sandbox except for this moment; what has gone there stays until it is
/// used again.
fn reclaim_second(memory: &Path, bytes: u64) -> io::Result<()> {
    let swap = memory.join("memory.swap.max");
    put(&swap, "max")?;
    let outcome = put(&memory.join("memory.reclaim"), &bytes.to_string());
    put(&swap, "0")?;
    match outcome {
        // Less than all could be had, as was to be expected.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        outcome => outcome,
    }
}

/// Whether this host has any swap: the list begins with a line of titles.
fn has_swap() -> bool {
    fs::read_to_string("/proc/swaps").is_ok_and(|text| text.lines().count() > 1)
}
