//! Freezing: every process of a group stops where it is and uses no processor until it is thawed.
//!
//! Freezing is asked for and then happens. Version 1 may have to be asked again while processes
//! are being made, and answers with the state of the whole tree; version 2 keeps what it was
//! asked and tells when it is done.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::{
    Cgroups, Layout,
    files::{keyed, put, subgroups},
};

/// How long freezing may take: a millisecond, unless a process hangs in the kernel.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often we look in the meantime.
const LOOK: Duration = Duration::from_millis(1);

impl Cgroups {
    /// Freezes a sandbox, or a group in it, and waits for it. False if it did not come to pass in
    /// time; it is thawed again then.
    pub fn freeze(&self, path: &str) -> io::Result<bool> {
        let group = self.freezer(path)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.ask(&group, true)?;
            if self.is_frozen(&group)? {
                return Ok(true);
            }
            if Instant::now() > deadline {
                self.ask(&group, false)?;
                return Ok(false);
            }
            thread::sleep(LOOK);
        }
    }

    /// Thaws what [`Cgroups::freeze`] froze. A group in a frozen sandbox goes on when that is
    /// thawed, and not before.
    pub fn thaw(&self, path: &str) -> io::Result<()> {
        self.ask(&self.freezer(path)?, false)
    }

    fn freezer(&self, path: &str) -> io::Result<PathBuf> {
        let controller = match self.layout {
            Layout::V1 { .. } => "freezer",
            Layout::V2(_) => "memory",
        };
        let mount = self.layout.of(controller);
        let group = mount.map(|mount| self.at(mount, path));
        group.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn ask(&self, group: &Path, frozen: bool) -> io::Result<()> {
        match (&self.layout, frozen) {
            (Layout::V1 { .. }, true) => put(&group.join("freezer.state"), "FROZEN"),
            (Layout::V1 { .. }, false) => put(&group.join("freezer.state"), "THAWED"),
            (Layout::V2(_), true) => put(&group.join("cgroup.freeze"), "1"),
            (Layout::V2(_), false) => put(&group.join("cgroup.freeze"), "0"),
        }
    }

    fn is_frozen(&self, group: &Path) -> io::Result<bool> {
        Ok(match self.layout {
            Layout::V1 { .. } => {
                fs::read_to_string(group.join("freezer.state"))?.trim() == "FROZEN"
            }
            Layout::V2(_) => {
                keyed(&fs::read_to_string(group.join("cgroup.events"))?, "frozen") == 1
            }
        })
    }
}

/// Thaws a group of version 1 with all below it, if it is one of the freezer's.
pub(super) fn thaw_below(group: &Path) {
    let state = group.join("freezer.state");
    if state.exists() {
        let _ = put(&state, "THAWED");
        subgroups(group).iter().for_each(|group| thaw_below(group));
    }
}
