//! Control groups: the limits of a sandbox, what it ran into, and who is in it.
//!
//! Every sandbox has the group `hostel/<instance>/<id>`, in one hierarchy (version 2) or in
//! one per controller (version 1). The instance tells servers of one host apart.
//!
//! ```text
//! hostel/<instance>/<id>/          the sandbox: its limits; on version 1 the processes, too
//! hostel/<instance>/<id>/_guest/   version 2 alone: the processes that are in no group
//! hostel/<instance>/<id>/<name>/   a group in the sandbox: see `group.rs`
//! ```
//!
//! On version 2 a group that hands controllers down may hold no process itself, so there the
//! guest has a leaf of its own. No group in a sandbox can have its name.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::process;
use crate::provider::{LimitHits, Resources};

mod files;
mod freezer;
mod group;
mod layout;

use files::{keyed, members, put, remove, subgroups};
pub(super) use group::JoinError;
pub(crate) use layout::Layout;

/// Controllers without which limits would be only written down.
const LIMITING: [&str; 3] = ["memory", "pids", "cpu"];

/// What version 1 needs a hierarchy of its own for: statistics and freezing. Version 2 has both
/// built in.
const BESIDE: [&str; 2] = ["cpuacct", "freezer"];

/// Where the processes are that are in no group of a version 2 sandbox.
const LEAF: &str = "_guest";

/// The processor time of a sandbox is handed out in slices of this length, in microseconds.
///
/// claude burns 0.4 to 0.7 seconds of processor time until it has answered for the first time. With
/// the usual 100 ms a sandbox of one processor is stopped several times in that span, with 500 ms it
/// can be stopped once (the group's own statistics showed up to 11 ms); with a second, the most that
/// the kernel allows, the whole start fits into the first slice. The price: one that spins on two
/// processors rests for up to half a second at a time.
pub(super) const CPU_PERIOD_US: u64 = 1_000_000;

/// What devices may be used where version 1 asks: null, zero, full, random, urandom, tty, ptmx
/// and terminals.
const DEVICES: [&str; 8] = [
    "c 1:3 rw",
    "c 1:5 rw",
    "c 1:7 rw",
    "c 1:8 rw",
    "c 1:9 rw",
    "c 5:0 rw",
    "c 5:2 rw",
    "c 136:* rw",
];

/// The control groups of this host and our place in them.
///
/// Dropping it removes our place if no sandbox is left in it, also when a server does not get to
/// its end of starting.
#[derive(Debug)]
pub(super) struct Cgroups {
    layout: Layout,
    instance: String,
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        for mount in self.layout.all() {
            // Fails, as it should, while anything is inside.
            let _ = fs::remove_dir(mount.join("hostel").join(&self.instance));
            let _ = fs::remove_dir(self.devices(mount));
            let _ = fs::remove_dir(mount.join("hostel"));
        }
    }
}

impl Cgroups {
    /// Prepares our place, and tries whether groups can be made in it. The error is a sentence.
    pub fn open(instance: &str) -> Result<Self, String> {
        let layout = Layout::detect().ok_or("no control groups are mounted")?;
        let missing = layout.missing();
        if !missing.is_empty() {
            return Err(format!("the control groups lack {}", missing.join(", ")));
        }
        let groups = Self {
            layout,
            instance: instance.to_owned(),
        };
        groups
            .prepare()
            .map_err(|error| format!("control groups cannot be made: {error}"))?;
        Ok(groups)
    }

    /// How the host mounts them.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The path for the `cgroupsPath` of an OCI configuration.
    pub fn path(&self, id: &str) -> String {
        match self.layout {
            Layout::V1 { .. } => format!("/hostel/{}/{id}", self.instance),
            Layout::V2(_) => format!("/hostel/{}/{id}/{LEAF}", self.instance),
        }
    }

    /// Makes the groups of `id` with its limits and tells which ones a process has to enter.
    pub fn make(&self, id: &str, resources: &Resources) -> io::Result<Vec<PathBuf>> {
        let mut entered = self.places(id);
        entered.iter().try_for_each(fs::create_dir_all)?;
        for controller in LIMITING {
            let Some(mount) = self.layout.of(controller) else {
                continue;
            };
            let group = self.at(mount, id);
            self.limits(controller, resources)
                .into_iter()
                .try_for_each(|(file, value)| put(&group.join(file), &value))?;
        }
        match &self.layout {
            Layout::V1 { .. } => {
                let devices = self.layout.of("devices");
                entered.extend(devices.map(|mount| self.devices(mount)));
            }
            Layout::V2(root) => {
                let group = self.at(root, id);
                hand_down(&group)?;
                entered = vec![group.join(LEAF)];
                fs::create_dir_all(group.join(LEAF))?;
            }
        }
        Ok(entered)
    }

    /// What the sandbox ran into, its groups included; `None` if it has no control groups.
    pub fn hits(&self, id: &str) -> Option<LimitHits> {
        let own = self.hits_at(id)?;
        let below = self.names_below(id).into_iter();
        let below = below.filter_map(|name| self.hits_at(&format!("{id}/{name}")));
        let (mut oom_kills, mut pids_refused) = (0, 0);
        for hits in below {
            oom_kills += hits.oom_kills;
            pids_refused += hits.pids_refused;
        }
        Some(match self.layout {
            // Counted where the process was.
            Layout::V1 { .. } => LimitHits {
                oom_kills: own.oom_kills + oom_kills,
                pids_refused: own.pids_refused + pids_refused,
            },
            // Counted there and in all above, except refused processes before Linux 6.11.
            Layout::V2(_) => LimitHits {
                oom_kills: own.oom_kills,
                pids_refused: own.pids_refused.max(pids_refused),
            },
        })
    }

    /// Kills everything in the groups of `id`. True if nothing was there.
    pub fn kill(&self, id: &str) -> bool {
        let groups = self.existing(id);
        for group in &groups {
            let _ = fs::write(group.join("cgroup.kill"), "1");
        }
        let mut empty = true;
        for pid in groups.iter().flat_map(|group| members(group)) {
            empty = false;
            process::kill_number(pid);
        }
        // A frozen process of version 1 dies only when it is thawed. Killed first, it runs not
        // one instruction more.
        groups.iter().for_each(|group| freezer::thaw_below(group));
        empty
    }

    /// Removes the groups of `id`, which must be empty of living processes.
    pub fn remove(&self, id: &str) -> io::Result<()> {
        self.existing(id).iter().try_for_each(|group| remove(group))
    }

    /// The ids that have groups.
    pub fn ids(&self) -> Vec<String> {
        let names = |mount: &Path| {
            let directory = mount.join("hostel").join(&self.instance);
            fs::read_dir(directory)
                .into_iter()
                .flatten()
                .flatten()
                .filter_map(|entry| {
                    let is_group = entry.file_type().is_ok_and(|kind| kind.is_dir());
                    is_group
                        .then(|| entry.file_name().into_string().ok())
                        .flatten()
                })
        };
        let mut ids: Vec<_> = self.layout.all().into_iter().flat_map(names).collect();
        ids.sort();
        ids.dedup();
        ids
    }

    fn at(&self, mount: &Path, id: &str) -> PathBuf {
        mount.join("hostel").join(&self.instance).join(id)
    }

    /// The rules for devices are the same for all sandboxes of an instance, so they share a
    /// group. It lies beside the others: a runtime of the host makes groups of its own below
    /// `hostel/<instance>`, with rules that ours would not allow.
    fn devices(&self, mount: &Path) -> PathBuf {
        mount
            .join("hostel")
            .join(format!("{}-devices", self.instance))
    }

    /// The directories of a group in all hierarchies that a process has to be in; `path` is a
    /// sandbox, or a sandbox and a group in it.
    fn places(&self, path: &str) -> Vec<PathBuf> {
        let mut places = Vec::new();
        for mount in self.layout.needed().filter_map(|name| self.layout.of(name)) {
            let place = self.at(mount, path);
            if !places.contains(&place) {
                places.push(place);
            }
        }
        places
    }

    /// One file of a group.
    fn file(&self, controller: &str, path: &str, file: &str) -> Option<PathBuf> {
        Some(self.at(self.layout.of(controller)?, path).join(file))
    }

    fn read(&self, controller: &str, path: &str, file: &str) -> Option<String> {
        fs::read_to_string(self.file(controller, path, file)?).ok()
    }

    /// The counters of one group.
    fn hits_at(&self, path: &str) -> Option<LimitHits> {
        let memory = match self.layout {
            Layout::V1 { .. } => self.read("memory", path, "memory.oom_control")?,
            Layout::V2(_) => self.read("memory", path, "memory.events")?,
        };
        let pids = self.read("pids", path, "pids.events")?;
        Some(LimitHits {
            oom_kills: keyed(&memory, "oom_kill"),
            pids_refused: keyed(&pids, "max"),
        })
    }

    /// The groups in a sandbox by name, the guest's own leaf among them.
    fn names_below(&self, id: &str) -> Vec<String> {
        let sandbox = self.layout.of("memory").map(|mount| self.at(mount, id));
        let below = sandbox.iter().flat_map(|sandbox| subgroups(sandbox));
        below
            .filter_map(|group| Some(group.file_name()?.to_str()?.to_owned()))
            .collect()
    }

    fn existing(&self, id: &str) -> Vec<PathBuf> {
        let groups = self
            .layout
            .all()
            .into_iter()
            .map(|mount| self.at(mount, id));
        groups.filter(|group| group.is_dir()).collect()
    }

    fn prepare(&self) -> io::Result<()> {
        let ours = |mount: &Path| mount.join("hostel").join(&self.instance);
        for mount in self.layout.needed().filter_map(|name| self.layout.of(name)) {
            fs::create_dir_all(mount.join("hostel"))?;
            count_below(&mount.join("hostel"))?;
            fs::create_dir_all(ours(mount))?;
        }
        match &self.layout {
            Layout::V2(root) => {
                for group in [root.clone(), root.join("hostel"), ours(root)] {
                    hand_down(&group)?;
                }
                for group in [root.join("hostel"), ours(root)] {
                    weigh(&group.join("cpu.weight"), 100, 10_000);
                }
            }
            Layout::V1 { .. } => {
                if let Some(mount) = self.layout.of("cpu") {
                    for group in [mount.join("hostel"), ours(mount)] {
                        weigh(&group.join("cpu.shares"), 1024, 262_144);
                    }
                }
                if let Some(mount) = self.layout.of("devices") {
                    let group = self.devices(mount);
                    fs::create_dir_all(&group)?;
                    put(&group.join("devices.deny"), "a")?;
                    DEVICES
                        .iter()
                        .try_for_each(|rule| put(&group.join("devices.allow"), rule))?;
                }
            }
        }
        Ok(())
    }

    fn limits(&self, controller: &str, resources: &Resources) -> Vec<(&'static str, String)> {
        let memory = resources.memory_bytes.to_string();
        let pids = resources.pids.to_string();
        let quota = quota_us(resources.cpu_millis).to_string();
        let period = CPU_PERIOD_US.to_string();
        match (&self.layout, controller) {
            (Layout::V1 { .. }, "memory") => {
                let mut values = vec![("memory.limit_in_bytes", memory.clone())];
                let swap = "memory.memsw.limit_in_bytes";
                // Absent when the kernel does not account swap.
                if self
                    .layout
                    .of("memory")
                    .is_some_and(|mount| mount.join(swap).exists())
                {
                    values.push((swap, memory));
                }
                values
            }
            (Layout::V2(root), "memory") => {
                let mut values = vec![("memory.max", memory)];
                // Without swap the file is missing; the root group never has it.
                if root.join("hostel").join("memory.swap.max").exists() {
                    values.push(("memory.swap.max", "0".to_owned()));
                }
                values.push(("memory.oom.group", "0".to_owned()));
                values
            }
            (_, "pids") => vec![("pids.max", pids)],
            (Layout::V1 { .. }, _) => {
                vec![("cpu.cfs_period_us", period), ("cpu.cfs_quota_us", quota)]
            }
            (Layout::V2(_), _) => vec![("cpu.max", format!("{quota} {period}"))],
        }
    }
}

/// Lets all sandboxes together weigh as many plain processes as there are processors. A group weighs
/// as much as one process by default, and a busy neighbour would leave the sandboxes next to nothing.
/// A host that does not allow it keeps the default.
fn weigh(file: &Path, one: u64, most: u64) {
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    if let Err(error) = put(file, &(one * processors).min(most).to_string()) {
        tracing::debug!("cannot set {}: {error}", file.display());
    }
}

/// The processor time of one period, in microseconds. The kernel takes no less than a
/// millisecond.
pub(super) fn quota_us(millis: u32) -> u64 {
    (u64::from(millis) * CPU_PERIOD_US / 1000).max(1000)
}

/// Lets the groups below one of version 2 have limits of their own.
fn hand_down(group: &Path) -> io::Result<()> {
    let enable = LIMITING.map(|name| format!("+{name}")).join(" ");
    put(&group.join("cgroup.subtree_control"), &enable)
}

/// Makes a memory group of version 1 count what is below it, as all do since Linux 5.11.
/// Elsewhere there is no such file, and nothing to do.
fn count_below(group: &Path) -> io::Result<()> {
    let file = group.join("memory.use_hierarchy");
    match fs::read_to_string(&file) {
        Ok(text) if text.trim() == "0" => put(&file, "1"),
        _ => Ok(()),
    }
}
