//! Directories that the host clears away, with whatever a member has made of them.
//!
//! A tree can be deeper than descriptors and stack reach, on purpose. So nothing descends: a
//! directory that is not empty moves up beside its parent and is emptied there. Every step is
//! taken from a descriptor and follows no symbolic link.

use std::{
    ffi::{CString, OsStr},
    io,
    os::fd::OwnedFd,
    path::Path,
};

use protocol::{ErrorCode, Refusal};
use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, RenameFlags},
    io::Errno,
    process::geteuid,
};

use crate::make_dir::{parts, refused};

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// How often what is found empty may have been filled again meanwhile.
const ROUNDS: usize = 100;

/// Removes a directory with everything below. One that is not there is removed already.
pub fn remove(path: &str) -> Result<(), Refusal> {
    let mut parts = parts(Path::new(path))?;
    let Some(last) = parts.pop() else {
        return Err(Refusal::new(ErrorCode::BadRequest, "the root stays"));
    };
    match take_away(&parts, last) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(refused("removing", path, io::Error::from(error))),
    }
}

fn take_away(above: &[&OsStr], name: &OsStr) -> Result<(), Errno> {
    let mut parent = rustix::fs::open("/", DIRECTORY, Mode::empty())?;
    for part in above {
        parent = rustix::fs::openat(&parent, *part, DIRECTORY, Mode::empty())?;
    }
    let top = rustix::fs::openat(&parent, name, DIRECTORY, Mode::empty())?;
    let mut moved = 0;
    for _ in 0..ROUNDS {
        while let Some(inner) = clear(&top, |_| Ok(false))? {
            let directory = rustix::fs::openat(&top, &inner, DIRECTORY, Mode::empty())?;
            clear(&directory, |below| {
                move_up(&directory, below, &top, &mut moved)
            })?;
        }
        match rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY) => {}
            removed => return removed,
        }
    }
    Err(Errno::NOTEMPTY)
}

/// Removes what is in a directory. What is a directory and not empty is offered to `away`; the
/// first that stays is returned.
fn clear(
    directory: &OwnedFd,
    mut away: impl FnMut(&CString) -> Result<bool, Errno>,
) -> Result<Option<CString>, Errno> {
    // A member may have made it sticky, or closed it to itself.
    rustix::fs::fchown(directory, Some(geteuid()), None)?;
    rustix::fs::fchmod(directory, Mode::RWXU)?;
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_owned();
        if [c".", c".."].contains(&name.as_c_str()) {
            continue;
        }
        let removed = match entry.file_type() {
            FileType::Directory => Err(Errno::ISDIR),
            _ => rustix::fs::unlinkat(directory, &name, AtFlags::empty()),
        };
        let removed = match removed {
            Err(Errno::ISDIR) => rustix::fs::unlinkat(directory, &name, AtFlags::REMOVEDIR),
            removed => removed,
        };
        match removed {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::NOTEMPTY) if away(&name)? => {}
            Err(Errno::NOTEMPTY) => return Ok(Some(name)),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Moves a directory up, under a name that is free.
fn move_up(from: &OwnedFd, name: &CString, top: &OwnedFd, moved: &mut u64) -> Result<bool, Errno> {
    loop {
        *moved += 1;
        let free = format!(".removed-{moved}");
        match rustix::fs::renameat_with(from, name, top, &free, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => {}
            Ok(()) => return Ok(true),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_tree_goes_whatever_is_in_it_and_only_the_tree() {
        let base = tempfile::tempdir().unwrap();
        let (tree, other) = (base.path().join("tree"), base.path().join("other"));
        fs::create_dir_all(tree.join("a/b/c")).unwrap();
        fs::create_dir(tree.join(".removed-1")).unwrap();
        fs::write(tree.join(".removed-1/x"), "x").unwrap();
        fs::create_dir(&other).unwrap();
        fs::write(other.join("kept"), "x").unwrap();
        std::os::unix::fs::symlink(&other, tree.join("a/link")).unwrap();
        fs::write(tree.join("a/b/c/file"), "x").unwrap();
        for _ in 0..2 {
            remove(tree.to_str().unwrap()).unwrap();
            assert!(!tree.exists());
        }
        assert!(other.join("kept").exists());
    }

    #[test]
    fn a_link_or_a_file_is_not_a_directory() {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir(base.path().join("real")).unwrap();
        fs::write(base.path().join("file"), "x").unwrap();
        std::os::unix::fs::symlink("real", base.path().join("link")).unwrap();
        for name in ["link", "link/below", "file"] {
            let path = base.path().join(name);
            let removed = remove(path.to_str().unwrap());
            // What is not there below a link need not be removed.
            assert!(removed.is_err(), "{name}");
        }
        assert!(remove("/").is_err() && remove("relative").is_err());
        assert!(base.path().join("real").exists());
    }

    #[test]
    fn a_tree_deeper_than_any_bound_goes() {
        let base = tempfile::tempdir().unwrap();
        let top = base.path().join("tree");
        fs::create_dir(&top).unwrap();
        let mut at = rustix::fs::open(&top, DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..5000 {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
            at = rustix::fs::openat(&at, "d", DIRECTORY, Mode::empty()).unwrap();
        }
        drop(at);
        remove(top.to_str().unwrap()).unwrap();
        assert!(!top.exists());
    }
}
