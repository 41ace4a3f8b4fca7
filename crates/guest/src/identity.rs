//! Whose work the guest does: its own, or a member's where several share the sandbox.
//!
//! What is done for a member is done as that member: processes are started as the user, and
//! files are reached with the user's file identity, so the kernel itself refuses whatever the
//! user could not do. Nothing here decides about permissions.

use std::{ffi::CString, io, process::Command};

use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
use protocol::{ErrorCode, Refusal, User};
use rustix::thread::set_thread_groups;

use crate::sys;

/// Further groups of one user: the group that all members share, and room.
const GROUPS_MAX: usize = 16;

/// Checks that a process or an archive belongs to somebody: to a member where there are several,
/// to nobody in particular where there is one user.
pub fn check(members: bool, user: Option<&User>) -> Result<(), Refusal> {
    let refuse = |message: &str| Err(Refusal::new(ErrorCode::BadRequest, message));
    match user {
        None if members => refuse("this sandbox has several members and none is named"),
        Some(_) if !members => refuse("this sandbox has one user and another is named"),
        // The guest's own, and what the kernel shows for ids that are not there. Group 0 sees
        // every process.
        Some(user) if !is_member(user) => refuse("a member has ids of its own, 0 is not one"),
        _ => Ok(()),
    }
}

fn is_member(user: &User) -> bool {
    let own = |id: &u32| (1..65_534).contains(id);
    own(&user.uid)
        && own(&user.gid)
        && user.groups.iter().all(own)
        && user.groups.len() <= GROUPS_MAX
}

/// Does work on files as a user; `None` is the guest itself. The work must not wait for another
/// task, because the identity is the thread's.
pub fn as_user<T>(user: Option<&User>, work: impl FnOnce() -> T) -> io::Result<T> {
    let _borrowed = user.map(Borrowed::take).transpose()?;
    Ok(work())
}

/// A user's file identity on this thread, given back when dropped. With it the kernel takes the
/// capabilities away that reach other people's files.
struct Borrowed;

impl Borrowed {
    fn take(user: &User) -> io::Result<Self> {
        // From here on dropping gives back whatever was taken.
        let borrowed = Self;
        set_thread_groups(&groups(user))?;
        setfsgid(Gid::from_raw(user.gid));
        setfsuid(Uid::from_raw(user.uid));
        // These two calls report no failure; asking with an impossible id changes nothing.
        let taken = setfsuid(Uid::from_raw(u32::MAX)).as_raw() == user.uid
            && setfsgid(Gid::from_raw(u32::MAX)).as_raw() == user.gid;
        if taken {
            Ok(borrowed)
        } else {
            Err(io::ErrorKind::PermissionDenied.into())
        }
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        setfsuid(nix::unistd::geteuid());
        setfsgid(nix::unistd::getegid());
        set_thread_groups(&[]).expect("whoever could set groups can clear them");
    }
}

/// Makes a command start as a user, with nothing of what the guest may do, in a directory that
/// this user can enter.
pub fn start_as(command: &mut Command, user: &User, cwd: &str) -> io::Result<()> {
    let identity = sys::Identity {
        uid: rustix::process::Uid::from_raw(user.uid),
        gid: rustix::process::Gid::from_raw(user.gid),
        groups: groups(user),
        cwd: CString::new(cwd)?,
    };
    sys::take_on(command, identity);
    Ok(())
}

fn groups(user: &User) -> Vec<rustix::process::Gid> {
    let raw = user.groups.iter().copied();
    raw.map(rustix::process::Gid::from_raw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(uid: u32, gid: u32, groups: &[u32]) -> User {
        User {
            uid,
            gid,
            groups: groups.to_vec(),
        }
    }

    #[test]
    fn everything_belongs_to_a_member_where_there_are_several() {
        assert!(check(true, Some(&user(2000, 2000, &[1999]))).is_ok());
        assert!(check(true, None).is_err());
        assert!(check(false, None).is_ok());
        assert!(check(false, Some(&user(2000, 2000, &[]))).is_err());
    }

    #[test]
    fn nobody_is_the_guest_or_sees_with_its_group() {
        for user in [
            user(0, 2000, &[]),
            user(2000, 0, &[]),
            user(2000, 2000, &[1999, 0]),
            user(65_534, 2000, &[]),
            user(u32::MAX, 2000, &[]),
            user(2000, u32::MAX, &[]),
            user(2000, 2000, &[1999; 17]),
        ] {
            assert!(check(true, Some(&user)).is_err(), "{user:?}");
        }
    }
}
