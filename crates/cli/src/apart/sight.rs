//! The way to the data directory for a user who may not walk it.
//!
//! Root's own directories are often closed to everybody else (`/root`), and the data directory lies in one
//! of them when nobody chose its place. Then the server gets a mount namespace of its own, in which the
//! first closed directory is an empty one that leads to the data directory and to nothing else. Its path
//! stays the same. The host, and the keeper, see nothing of it.

use std::fs::{self, File, Metadata};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::user::User;
use crate::failure::Failure;

/// The empty directory: room for some levels of the path.
const EMPTY: &str = "mode=0711,size=64k,nr_inodes=64";

/// Opens the way to `data`, which has no links in its path, if it is not open.
pub fn open(data: &Path, user: &User) -> Result<(), Failure> {
    let mut parents: Vec<&Path> = data.ancestors().skip(1).collect();
    parents.reverse();
    let closed = parents
        .into_iter()
        .find(|parent| !fs::metadata(parent).is_ok_and(|found| may_pass(&found, user)));
    let Some(closed) = closed else {
        return Ok(());
    };
    let failed = |error: &dyn std::error::Error| {
        let step = format!("cannot open the way to {} for {user}", data.display());
        Failure::caused(step, error).next(format!(
            "take a data directory that {user} can reach, as --data /var/lib/hostel"
        ))
    };
    let nothing = None::<&str>;
    let mounted = unshare(CloneFlags::CLONE_NEWNS).and_then(|()| {
        // What the host mounts later is seen; what we mount is not.
        let all = MsFlags::MS_REC | MsFlags::MS_SLAVE;
        mount(nothing, "/", nothing, all, nothing)
    });
    mounted.map_err(|error| failed(&error))?;
    // In the new namespace, since nothing can be taken over from the other.
    let held = File::open(data).map_err(|error| failed(&error))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("hostel"), closed, Some("tmpfs"), flags, Some(EMPTY))
        .map_err(|error| failed(&error))?;
    fs::create_dir_all(data).map_err(|error| failed(&error))?;
    let source = format!("/proc/self/fd/{}", held.as_raw_fd());
    let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(source.as_str()), data, nothing, bind, nothing).map_err(|error| failed(&error))?;
    let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | flags;
    mount(nothing, closed, nothing, read_only, Some(EMPTY)).map_err(|error| failed(&error))
}

fn may_pass(directory: &Metadata, user: &User) -> bool {
    let mode = directory.mode();
    let group = user
        .groups
        .iter()
        .any(|gid| gid.as_raw() == directory.gid());
    match () {
        () if directory.uid() == user.uid.as_raw() => mode & 0o100 != 0,
        () if group => mode & 0o010 != 0,
        () => mode & 0o001 != 0,
    }
}
