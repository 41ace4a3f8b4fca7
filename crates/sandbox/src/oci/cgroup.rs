//! Control groups: the limits of a sandbox, what it ran into, and who is in it.
//!
//! Every sandbox has the group `hostel/<instance>/<id>`, in one hierarchy (version 2) or in
//! one per controller (version 1). The instance tells servers of one host apart.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::process;
use crate::provider::{LimitHits, Resources};

/// Controllers without which limits would be only written down.
const NEEDED: [&str; 3] = ["memory", "pids", "cpu"];

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

/// How long a removed group may stay busy with processes that are already dead.
const RETRIES: u32 = 200;

/// The control groups of this host and our place in them.
///
/// Dropping it removes our place if no sandbox is left in it, also when a server does not get to
/// its end of starting.
#[derive(Debug)]
pub(super) struct Cgroups {
    layout: Layout,
    instance: String,
}

/// How the host mounts its control groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// One mount for each controller or bundle of them, and perhaps version 2 beside.
    V1 {
        /// Mount points with their controllers; named hierarchies have none.
        mounts: Vec<(PathBuf, Vec<String>)>,
        /// The mount point of version 2 in a hybrid layout.
        unified: Option<PathBuf>,
    },
    /// One mount for all.
    V2(PathBuf),
}

impl Layout {
    /// Reads the layout from the text of `mountinfo`; `None` without control groups.
    pub fn parse(mountinfo: &str) -> Option<Self> {
        let (mut mounts, mut second) = (Vec::new(), None);
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else {
                continue;
            };
            let Some(point) = left.split(' ').nth(4).map(PathBuf::from) else {
                continue;
            };
            let mut right = right.split(' ');
            match right.next() {
                Some("cgroup") => {
                    let options = right.nth(1).unwrap_or_default();
                    let known = |name: &&str| *name != "rw" && *name != "ro" && !name.contains('=');
                    mounts.push((
                        point,
                        options
                            .split(',')
                            .filter(known)
                            .map(str::to_owned)
                            .collect(),
                    ));
                }
                Some("cgroup2") => second = second.or(Some(point)),
                _ => {}
            }
        }
        match (mounts.is_empty(), second) {
            (true, None) => None,
            (true, Some(point)) => Some(Self::V2(point)),
            (false, unified) => Some(Self::V1 { mounts, unified }),
        }
    }

    /// The layout of this host.
    pub fn detect() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/self/mountinfo").ok()?)
    }

    /// The controllers that can be used.
    pub fn controllers(&self) -> Vec<String> {
        match self {
            Self::V1 { mounts, .. } => mounts.iter().flat_map(|(_, names)| names.clone()).collect(),
            Self::V2(root) => fs::read_to_string(root.join("cgroup.controllers"))
                .map(|text| text.split_whitespace().map(str::to_owned).collect())
                .unwrap_or_default(),
        }
    }

    /// Whether version 1 and 2 are mounted side by side.
    pub fn is_hybrid(&self) -> bool {
        matches!(
            self,
            Self::V1 {
                unified: Some(_),
                ..
            }
        )
    }

    fn of(&self, controller: &str) -> Option<&Path> {
        match self {
            Self::V1 { mounts, .. } => mounts
                .iter()
                .find(|(_, names)| names.iter().any(|name| name == controller))
                .map(|(point, _)| point.as_path()),
            Self::V2(root) => Some(root),
        }
    }

    /// Every hierarchy, used by us or by a runtime of the host.
    fn all(&self) -> Vec<&Path> {
        match self {
            Self::V1 { mounts, unified } => mounts
                .iter()
                .map(|(point, _)| point)
                .chain(unified)
                .map(PathBuf::as_path)
                .collect(),
            Self::V2(root) => vec![root],
        }
    }
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
        let controllers = layout.controllers();
        let missing: Vec<_> = NEEDED
            .into_iter()
            .filter(|name| !controllers.iter().any(|have| have == name))
            .collect();
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
        format!("/hostel/{}/{id}", self.instance)
    }

    /// Makes the groups of `id` with its limits and tells which ones a process has to enter.
    pub fn make(&self, id: &str, resources: &Resources) -> io::Result<Vec<PathBuf>> {
        let limits: Vec<_> = NEEDED
            .into_iter()
            .map(|name| (name, self.limits(name, resources)))
            .collect();
        let mut made = Vec::new();
        for (controller, values) in limits {
            let Some(mount) = self.layout.of(controller) else {
                continue;
            };
            let group = self.at(mount, id);
            if !made.contains(&group) {
                fs::create_dir_all(&group)?;
                made.push(group.clone());
            }
            for (file, value) in values {
                put(&group.join(file), &value)?;
            }
        }
        if let (Layout::V1 { .. }, Some(mount)) = (&self.layout, self.layout.of("devices")) {
            made.push(self.devices(mount));
        }
        Ok(made)
    }

    /// What the sandbox ran into; `None` if its groups are gone.
    pub fn hits(&self, id: &str) -> Option<LimitHits> {
        let read = |controller: &str, file: &str| {
            fs::read_to_string(self.at(self.layout.of(controller)?, id).join(file)).ok()
        };
        let memory = match self.layout {
            Layout::V1 { .. } => read("memory", "memory.oom_control")?,
            Layout::V2(_) => read("memory", "memory.events")?,
        };
        let pids = read("pids", "pids.events")?;
        Some(LimitHits {
            oom_kills: keyed(&memory, "oom_kill"),
            pids_refused: keyed(&pids, "max"),
        })
    }

    /// Kills everything in the groups of `id`. True if nothing was there.
    pub fn kill(&self, id: &str) -> bool {
        let mut empty = true;
        for group in self.existing(id) {
            // A frozen process of version 1 dies only when it is thawed.
            let _ = fs::write(group.join("freezer.state"), "THAWED");
            let _ = fs::write(group.join("cgroup.kill"), "1");
            for pid in members(&group) {
                empty = false;
                process::kill_number(pid);
            }
        }
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
        for controller in NEEDED {
            if let Some(mount) = self.layout.of(controller) {
                fs::create_dir_all(ours(mount))?;
            }
        }
        match &self.layout {
            Layout::V2(root) => {
                let enable: Vec<_> = NEEDED.iter().map(|name| format!("+{name}")).collect();
                for group in [root.clone(), root.join("hostel"), ours(root)] {
                    put(&group.join("cgroup.subtree_control"), &enable.join(" "))?;
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
        let quota = quota_us(resources).to_string();
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
pub(super) fn quota_us(resources: &Resources) -> u64 {
    (u64::from(resources.cpu_millis) * CPU_PERIOD_US / 1000).max(1000)
}

fn put(file: &Path, value: &str) -> io::Result<()> {
    fs::write(file, value)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))
}

fn members(group: &Path) -> Vec<i32> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let below = subgroups(group)
        .into_iter()
        .flat_map(|group| members(&group));
    text.lines()
        .filter_map(|line| line.parse().ok())
        .chain(below)
        .collect()
}

fn subgroups(group: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// A group stays busy for an instant after its last process has ended.
fn remove(group: &Path) -> io::Result<()> {
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
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// The number behind `key` in lines of `key number`.
fn keyed(text: &str, key: &str) -> u64 {
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

    const HYBRID: &str = "\
30 20 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
33 30 0:29 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw";

    #[test]
    fn hybrid_layout_is_read() {
        let layout = Layout::parse(HYBRID).unwrap();
        assert!(layout.is_hybrid());
        assert_eq!(layout.controllers(), ["cpu", "cpuacct"]);
        assert_eq!(layout.of("cpuacct"), Some(Path::new("/sys/fs/cgroup/cpu")));
        assert_eq!(layout.of("memory"), None);
        assert_eq!(layout.all().len(), 3);
    }

    #[test]
    fn second_version_is_read() {
        let text = "30 20 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate";
        assert_eq!(
            Layout::parse(text),
            Some(Layout::V2("/sys/fs/cgroup".into()))
        );
        assert_eq!(Layout::parse("22 1 8:1 / / rw - ext4 /dev/sda1 rw"), None);
    }

    #[test]
    fn counters_are_found_by_their_whole_name() {
        let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        assert_eq!(keyed(text, "oom_kill"), 3);
        assert_eq!(keyed(text, "max"), 0);
    }
}
