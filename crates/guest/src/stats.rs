//! How the sandbox does, seen from inside.

use std::time::{Duration, Instant};

use nix::sys::statvfs::statvfs;
use protocol::Stats;

use crate::procfs;

/// Milliseconds in a tick of /proc: the kernel shows times in 1/100 s on every machine.
const MS_PER_TICK: u64 = 10;

/// When the guest started.
#[derive(Clone, Copy)]
pub struct Clock {
    started: Instant,
    /// How long it took to confine itself before.
    confined: Duration,
}

impl Clock {
    pub fn start(confined: Duration) -> Self {
        Self {
            started: Instant::now(),
            confined,
        }
    }
}

/// Reads /proc and the workspace's file system. Blocks for some milliseconds.
pub fn gather(clock: Clock) -> Stats {
    let processes = procfs::processes();
    let page = rustix::param::page_size() as u64;
    // Where there is no workspace, everything is on the root's file system.
    let disk = statvfs("/workspace").or_else(|_| statvfs("/")).ok();
    let blocks = |count: u64| disk.as_ref().map_or(0, |disk| count * disk.fragment_size());
    let used = disk
        .as_ref()
        .map_or(0, |disk| disk.blocks().saturating_sub(disk.blocks_free()));
    // What the file system keeps for itself is nobody's room: full is when nothing is available.
    let available = disk.as_ref().map_or(0, |disk| disk.blocks_available());
    let files = disk.as_ref().map_or(0, |disk| disk.files());
    let files_free = disk.as_ref().map_or(0, |disk| disk.files_free());
    Stats {
        processes: processes.len() as u64,
        memory_bytes: processes.iter().map(|entry| entry.pages * page).sum(),
        cpu_ms: processes
            .iter()
            .map(|entry| entry.ticks * MS_PER_TICK)
            .sum(),
        disk_used_bytes: blocks(used),
        disk_total_bytes: blocks(used + available),
        files_used: files - files_free,
        files_total: files,
        uptime_ms: clock.started.elapsed().as_millis() as u64,
        confined_us: clock.confined.as_micros() as u64,
    }
}
