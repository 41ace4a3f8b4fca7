//! Sandboxes that several members share: where they can be had, and the members' names.
//!
//! What else is different stands where it belongs: `bundle.rs` (the first process, what is hidden)
//! and `request.rs` (the places that are written to).

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::{
    request::Bind,
    rootfs::{GENERATION, WRITTEN, open_up, settle},
    shared::{Identity, Shared},
    sys::landlock_version,
    way::Way,
};
use crate::provider::{Isolation, MEMBER_IDS, MEMBERS_GROUP, ProviderError, Spec};

/// Members are kept apart by the kernel's rules about users, so there must be users.
pub(super) fn check(shared: &Shared, way: &Way, spec: &Spec) -> Result<(), ProviderError> {
    let reason = match (shared.identity, way.isolation) {
        _ if !spec.members => return Ok(()),
        (Identity::Own, _) => "the server is not root, so there is one user id for all of them",
        (Identity::Shared, _) => "this kernel gives no user namespaces",
        (_, Isolation::Gvisor) => "this runtime is not known to hide their processes",
        (Identity::Ranges(_), _) => return Ok(()),
    };
    Err(ProviderError::Spec {
        field: "place for several members".into(),
        reason: reason.to_owned(),
    })
}

/// What this host does not give them, one sentence each.
pub(super) fn lost() -> Option<String> {
    // Version 6 of Landlock came with Linux 6.12.
    (landlock_version() < 6).then(|| {
        "members can connect to each other's abstract unix sockets: this kernel has no Landlock \
         that keeps them apart"
            .to_owned()
    })
}

/// What is shown over `/etc/passwd` and `/etc/group`: many programs refuse to run as somebody
/// without a name. Written once for all sandboxes.
pub(super) fn names(directory: &Path) -> io::Result<[Bind; 2]> {
    let place = directory.join(format!("members-{GENERATION}"));
    if !place.exists() {
        let work = directory.join(format!("new-members-{}", std::process::id()));
        let _ = fs::remove_dir_all(&work);
        write(&work)?;
        settle(&work, &place)?;
    }
    Ok(["passwd", "group"].map(|name| Bind {
        source: place.join(name),
        target: PathBuf::from("/etc").join(name),
    }))
}

fn write(work: &Path) -> io::Result<()> {
    let (mut users, mut groups) = (known("passwd"), known("group"));
    groups.push_str(&format!("members:x:{MEMBERS_GROUP}:\n"));
    for id in MEMBER_IDS {
        // Where a member is at home is known to its session alone, and in its HOME.
        users.push_str(&format!("member{id}:x:{id}:{id}::/:/bin/bash\n"));
        groups.push_str(&format!("member{id}:x:{id}:\n"));
    }
    fs::create_dir_all(work)?;
    for (name, text) in [("passwd", users), ("group", groups)] {
        let path = work.join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
    }
    open_up(work)
}

/// What a sandbox of one says.
fn known(file: &str) -> String {
    let found = WRITTEN.iter().find(|(name, _)| *name == file);
    found.map_or_else(String::new, |(_, text)| (*text).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_has_a_name_and_nobody_two() {
        let directory = tempfile::tempdir().unwrap();
        let [users, groups] = names(directory.path()).unwrap();
        for (bind, first) in [(users, "root"), (groups, "root")] {
            let text = fs::read_to_string(bind.source).unwrap();
            assert!(text.starts_with(first));
            let ids: Vec<&str> = text.lines().filter_map(|l| l.split(':').nth(2)).collect();
            let mut once = ids.clone();
            once.sort_unstable();
            once.dedup();
            assert_eq!(once.len(), ids.len());
            let mut members = MEMBER_IDS;
            assert!(members.all(|id| ids.contains(&id.to_string().as_str())));
        }
        // Written once.
        assert_eq!(names(directory.path()).unwrap().len(), 2);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
