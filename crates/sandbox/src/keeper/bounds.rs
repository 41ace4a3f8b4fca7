//! Whether a sandbox may be made as the server asks. What the provider checks by itself (names, targets,
//! the least of everything) is not checked again.

use std::path::{Component, Path};

use super::Bounds;
use crate::provider::{ProviderError, Spec};

/// Files and directories that one sandbox is shown; a session needs one.
const MOST_MOUNTS: usize = 16;

impl Bounds {
    /// Refuses what is outside. `present` sandboxes exist.
    pub(super) fn check(&self, spec: &Spec, present: usize) -> Result<(), ProviderError> {
        let wrong = |field: &'static str, reason: &str| {
            Err(ProviderError::Spec {
                field: field.into(),
                reason: format!("{reason}, says the keeper of the sandboxes"),
            })
        };
        if present >= self.sandboxes as usize {
            return Err(ProviderError::Full {
                limit: self.sandboxes,
            });
        }
        if !self.roots.contains(&spec.rootfs) {
            return wrong("root file system", "it is none of the settings");
        }
        if spec.read_only.len() > MOST_MOUNTS {
            return wrong("read-only mounts", "there are too many");
        }
        if !spec
            .read_only
            .iter()
            .all(|mount| self.is_shown(&mount.source))
        {
            return wrong("read-only mount", "its source is not a place of the server");
        }
        let (asked, most) = (&spec.resources, &self.most);
        let fits = asked.memory_bytes <= most.memory_bytes
            && asked.cpu_millis <= most.cpu_millis
            && asked.pids <= most.pids
            && asked.disk_bytes <= most.disk_bytes;
        if !fits {
            return wrong("limits", "they are above what a sandbox may have");
        }
        Ok(())
    }

    /// Whether a path lies below one of the directories that may be shown, without a step back.
    fn is_shown(&self, path: &Path) -> bool {
        self.shown.iter().any(|place| {
            path.strip_prefix(place).is_ok_and(|rest| {
                let mut parts = rest.components().peekable();
                parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        oci::RuntimeChoice,
        provider::{Mount, Resources, Rootfs},
    };

    use super::*;

    fn bounds() -> Bounds {
        Bounds {
            data: "/data".into(),
            runtime: RuntimeChoice::Embedded,
            disk: None,
            roots: vec![Rootfs::Host],
            shown: vec!["/data/cli".into()],
            most: Resources::default(),
            sandboxes: 2,
        }
    }

    fn spec(source: &str) -> Spec {
        Spec {
            id: "one".parse().unwrap(),
            rootfs: Rootfs::Host,
            resources: Resources::default(),
            read_only: vec![Mount {
                source: source.into(),
                target: "/opt/hostel/claude".into(),
            }],
            trusted: None,
            hostname: "sandbox".into(),
            members: false,
            isolation: None,
        }
    }

    #[test]
    fn only_what_lies_below_a_shown_place_is_shown() {
        assert!(bounds().check(&spec("/data/cli/2.1.0/claude"), 0).is_ok());
        for elsewhere in [
            "/etc/shadow",
            "/data/cli",
            "/data/cli/",
            "/data/cli/.",
            "/data/cli/../hostel.db",
            "/data/cli/1/../../hostel.db",
            "/data/clip/x",
            "data/cli/1",
            "",
        ] {
            let refused = bounds().check(&spec(elsewhere), 0).unwrap_err().to_string();
            assert!(
                refused.contains("place of the server"),
                "{elsewhere}: {refused}"
            );
        }
    }

    #[test]
    fn other_roots_more_of_anything_and_more_sandboxes_are_refused() {
        let fine = spec("/data/cli/1/claude");
        let mut others = vec![fine.clone(); 6];
        others[0].rootfs = Rootfs::Directory("/".into());
        others[1].resources.memory_bytes += 1;
        others[2].resources.cpu_millis += 1;
        others[3].resources.pids += 1;
        others[4].resources.disk_bytes += 1;
        others[5].read_only = vec![fine.read_only[0].clone(); MOST_MOUNTS + 1];
        for other in others {
            assert!(bounds().check(&other, 0).is_err(), "{other:?}");
        }
        assert!(bounds().check(&fine, 1).is_ok());
        assert!(matches!(
            bounds().check(&fine, 2),
            Err(ProviderError::Full { limit: 2 })
        ));
    }
}
