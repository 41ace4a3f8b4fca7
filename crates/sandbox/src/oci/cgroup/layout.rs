//! How a host mounts its control groups: version 1, version 2, or both side by side.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{BESIDE, LIMITING};

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

    /// The controllers without which no sandbox is made.
    pub fn needed(&self) -> impl Iterator<Item = &'static str> + use<> {
        let beside: &[&str] = match self {
            Self::V1 { .. } => &BESIDE,
            Self::V2(_) => &[],
        };
        LIMITING.iter().chain(beside).copied()
    }

    /// Those that this host lacks.
    pub fn missing(&self) -> Vec<&'static str> {
        let have = self.controllers();
        self.needed()
            .filter(|name| !have.iter().any(|have| have == name))
            .collect()
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

    /// Where the hierarchy of `controller` is mounted.
    pub fn of(&self, controller: &str) -> Option<&Path> {
        match self {
            Self::V1 { mounts, .. } => mounts
                .iter()
                .find(|(_, names)| names.iter().any(|name| name == controller))
                .map(|(point, _)| point.as_path()),
            Self::V2(root) => Some(root),
        }
    }

    /// Every hierarchy, used by us or by a runtime of the host.
    pub fn all(&self) -> Vec<&Path> {
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
}
