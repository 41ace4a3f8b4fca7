//! In whose hands the data directory lies.
//!
//! ```text
//!   data/            root, group of the server, sticky: the server makes files and removes its own
//!     hostel.db … snapshots/ files/     the server's
//!     sandboxes/ rootfs/ disks/ guest/ runtime/   root's: the keeper's
//!     cli/           root's: what sandboxes run, read by the server
//! ```
//!
//! The keeper trusts these paths, so nobody else may be able to rename or replace a part of them. The first
//! start with a user gives away what an earlier version left in root's hands; the directory's mode says
//! that this was done. Links are never followed, and a file that has a name outside of the directory is
//! never given.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, Metadata};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;
use sandbox::keeper::OWNED;

use super::user::User;
use crate::failure::Failure;

/// The directory's mode when it is given: sticky, and writable by its group.
const GIVEN: u32 = 0o1770;

/// What is made in the data directory by commands of root and not by the server.
const COMMANDS: [&str; 3] = ["cli", "canary", "canary.lock"];

/// How deep the walk goes; snapshots and results are three deep.
const DEPTH: usize = 32;

/// Gives the directory to a user as far as it is the server's, and tells its path without links.
pub fn give(path: &Path, user: &User) -> Result<PathBuf, Failure> {
    let path = made(path)?;
    refuse_open_parents(&path, user)?;
    let failed = |error: io::Error| cannot("give", &path, &error);
    let directory = File::open(&path).map_err(failed)?;
    let found = directory.metadata().map_err(failed)?;
    if ![0, user.uid.as_raw()].contains(&found.uid()) {
        return Err(foreign(&path, found.uid()).next(format!(
            "let the server be that user (server.user), or `chown root: {}`",
            path.display()
        )));
    }
    if in_use(&path) {
        // By a server that will refuse us: nothing is changed under it.
        return Ok(path);
    }
    for name in OWNED.iter().chain(&COMMANDS[..1]) {
        own(&path.join(name))?;
    }
    let is_given =
        found.uid() == 0 && found.gid() == user.gid.as_raw() && found.mode() & 0o7777 == GIVEN;
    if !is_given {
        let mut walk = Walk {
            uid: Uid::from_raw(user.uid.as_raw()),
            gid: Gid::from_raw(user.gid.as_raw()),
            former: Uid::from_raw(found.gid()),
            names: HashMap::new(),
            gives: false,
        };
        // At first the names of files are counted, then those that have none elsewhere are given.
        for gives in [false, true] {
            walk.gives = gives;
            walk.entries(directory.as_fd(), 0).map_err(failed)?;
        }
        std::os::unix::fs::fchown(&directory, Some(0), Some(user.gid.as_raw())).map_err(failed)?;
        let mode = fs::Permissions::from_mode(GIVEN);
        directory.set_permissions(mode).map_err(failed)?;
    }
    Ok(path)
}

/// Takes the directory back for a server that stays root, so that the next one that does not looks through
/// it again.
pub fn keep(path: &Path) -> Result<(), Failure> {
    let Ok(found) = fs::metadata(path) else {
        return Ok(());
    };
    if found.uid() != 0 || found.mode() & 0o7777 != GIVEN || in_use(path) {
        return Ok(());
    }
    let mode = fs::Permissions::from_mode(0o700);
    fs::set_permissions(path, mode).map_err(|error| cannot("keep", path, &error))
}

/// Gives a file that the server writes to and that a setting names; it is made when it is not there.
pub fn give_file(path: &Path, user: &User) -> Result<(), Failure> {
    let failed = |error: io::Error| cannot("give", path, &error);
    let mut options = File::options();
    options.append(true).create(true).mode(0o600);
    let no_links = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(no_links.bits()).expect("flags are small");
    let file = options.custom_flags(flags).open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if found.uid() == 0 && found.is_file() && found.nlink() == 1 {
        let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
        std::os::unix::fs::fchown(&file, Some(uid), Some(gid)).map_err(failed)?;
    }
    Ok(())
}

/// The directory, made when it is not there, without links in its path.
fn made(path: &Path) -> Result<PathBuf, Failure> {
    let failed = |error: io::Error| cannot("make", path, &error);
    if !path.exists() {
        let parent = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(parent).map_err(failed)?;
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed(error));
            }
            _ => {}
        }
    }
    path.canonicalize().map_err(failed)
}

/// The keeper goes by paths: no directory on the way may be one in which the server's user can rename.
fn refuse_open_parents(path: &Path, user: &User) -> Result<(), Failure> {
    for parent in path.ancestors().skip(1) {
        let found = fs::metadata(parent).map_err(|error| cannot("look at", parent, &error))?;
        if may_rename(&found, user) {
            return Err(Failure::new(format!(
                "the data directory is not safe: {user} can replace what lies in {}",
                parent.display()
            ))
            .next("take another place with --data, or another user with server.user"));
        }
    }
    Ok(())
}

fn may_rename(parent: &Metadata, user: &User) -> bool {
    let group = user.groups.iter().any(|gid| gid.as_raw() == parent.gid());
    let writes = parent.mode() & 0o002 != 0 || (group && parent.mode() & 0o020 != 0);
    let sticky = parent.mode() & 0o1000 != 0;
    parent.uid() == user.uid.as_raw() || (writes && !sticky)
}

/// Whether a server holds the lock of the directory.
fn in_use(path: &Path) -> bool {
    let flags = i32::try_from(OFlags::NOFOLLOW.bits()).expect("flags are small");
    let lock = File::options()
        .read(true)
        .custom_flags(flags)
        .open(path.join("lock"));
    lock.is_ok_and(|lock| Flock::lock(lock, FlockArg::LockExclusiveNonblock).is_err())
}

/// Makes sure that a directory is root's, and that nobody else can write to it.
fn own(path: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| cannot("prepare", path, &error);
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    let found = fs::symlink_metadata(path).map_err(failed)?;
    let refused = match (found.is_dir(), found.uid()) {
        (true, 0) => None,
        (true, owner) => Some(foreign(path, owner)),
        (false, _) => Some(Failure::new(format!("{} is no directory", path.display()))),
    };
    if let Some(refused) = refused {
        return Err(refused.next(
            "remove it when no server runs: all but `cli` is made anew, and that by `hostel cli install`",
        ));
    }
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(path, mode).map_err(failed)
}

/// Goes through the server's part of the directory.
struct Walk {
    uid: Uid,
    gid: Gid,
    /// Whoever the directory was given to before: where nobody has an account, group and user are the
    /// same number.
    former: Uid,
    /// Names that were found of files that have several, by device and number.
    names: HashMap<(u64, u64), u64>,
    gives: bool,
}

impl Walk {
    fn entries(&mut self, directory: BorrowedFd<'_>, depth: usize) -> io::Result<()> {
        if depth > DEPTH {
            return Err(io::Error::other("its directories are too deep"));
        }
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let kept = |kept: &str| name.to_bytes() == kept.as_bytes();
            let is_kept = depth == 0 && OWNED.iter().chain(&COMMANDS).any(|one| kept(one));
            if is_kept || [&b"."[..], b".."].contains(&name.to_bytes()) {
                continue;
            }
            self.entry(directory, name, depth)?;
        }
        Ok(())
    }

    fn entry(&mut self, at: BorrowedFd<'_>, name: &std::ffi::CStr, depth: usize) -> io::Result<()> {
        let (kind, flags) = match kind(&rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?) {
            FileType::Directory => (FileType::Directory, OFlags::DIRECTORY),
            FileType::RegularFile => (FileType::RegularFile, OFlags::NONBLOCK),
            // The server makes no others, and nobody needs them.
            _ => return Ok(()),
        };
        let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened: OwnedFd = match rustix::fs::openat(at, name, flags, Mode::empty()) {
            Ok(opened) => opened,
            // Replaced in the meantime, by whatever it may be: not given.
            Err(Errno::LOOP | Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let found = rustix::fs::fstat(&opened)?;
        if kind == FileType::Directory {
            self.entries(opened.as_fd(), depth + 1)?;
        } else if found.st_nlink > 1 && !self.has_no_name_elsewhere(&found) {
            return Ok(());
        }
        let owner = Uid::from_raw(found.st_uid);
        if self.gives && (owner.is_root() || owner == self.former) {
            rustix::fs::fchown(&opened, Some(self.uid), Some(self.gid))?;
        }
        Ok(())
    }

    /// Counts the names of a file, or says whether as many were found as it has.
    fn has_no_name_elsewhere(&mut self, found: &Stat) -> bool {
        let names = self.names.entry((found.st_dev, found.st_ino)).or_default();
        if !self.gives {
            *names += 1;
        }
        // Other machines count in shorter numbers.
        #[allow(clippy::useless_conversion)]
        let all = u64::from(found.st_nlink);
        *names == all
    }
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn foreign(path: &Path, owner: u32) -> Failure {
    Failure::new(format!("{} belongs to user {owner}", path.display()))
}

fn cannot(step: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::caused(format!("cannot {step} {}", path.display()), error)
}

#[cfg(test)]
mod tests;
