//! Directories that the host lays out: a member's own, and those where members work together.
//!
//! Every step is taken from the parent's descriptor and follows no symbolic link, so no member
//! can lead the guest, which may do more than they may, to what belongs to another.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Component, Path},
};

use protocol::{ErrorCode, Refusal, User};
use rustix::{
    fs::{Gid, Mode, OFlags, Stat, Uid, XattrFlags},
    io::Errno,
    process::{getegid, geteuid},
};

/// Bits that may be asked for: permissions, set-group-id, sticky.
const MODE_MASK: u32 = 0o3777;

/// Set-group-id: a group works together below.
const SHARED: u32 = 0o2000;

const DIRECTORY: OFlags = OFlags::DIRECTORY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Makes a directory with those on the way. What is there already becomes as asked, unless it
/// belongs to somebody else.
pub fn make(path: &str, mode: u32, owner: Option<&User>) -> Result<(), Refusal> {
    let place = Place::new(mode, owner);
    if mode & !MODE_MASK != 0 {
        let message = format!("{mode:o} is no mode of a directory");
        return Err(Refusal::new(ErrorCode::BadRequest, message));
    }
    let mut parts = parts(Path::new(path))?;
    let Some(last) = parts.pop() else {
        return Err(Refusal::new(
            ErrorCode::BadRequest,
            "the root is there already",
        ));
    };
    let failed = |error: io::Error| refused("making", path, error);
    let mut at = rustix::fs::open("/", DIRECTORY | OFlags::PATH, Mode::empty())
        .map_err(|error| failed(error.into()))?;
    for part in parts {
        at = place.enter(&at, part).map_err(failed)?;
    }
    place.settle(&at, last).map_err(failed)
}

/// Why the host's wish for a directory is not fulfilled.
pub fn refused(doing: &str, path: &str, error: io::Error) -> Refusal {
    let code = match error.kind() {
        io::ErrorKind::PermissionDenied => ErrorCode::Denied,
        io::ErrorKind::NotADirectory => ErrorCode::BadDirectory,
        _ => ErrorCode::Failed,
    };
    Refusal::new(code, format!("{doing} the directory {path}: {error}"))
}

/// The names on the way to a directory.
pub fn parts(path: &Path) -> Result<Vec<&std::ffi::OsStr>, Refusal> {
    let bad = |message: String| Refusal::new(ErrorCode::BadRequest, message);
    let mut components = path.components();
    if components.next() != Some(Component::RootDir) {
        return Err(bad(format!("{} is not absolute", path.display())));
    }
    let name = |component| match component {
        Component::Normal(name) => Ok(name),
        _ => Err(bad(format!("{} leads upwards", path.display()))),
    };
    components.map(name).collect()
}

/// What a directory shall be.
struct Place {
    mode: u32,
    own: (Uid, Gid),
    owner: (Uid, Gid),
}

impl Place {
    fn new(mode: u32, owner: Option<&User>) -> Self {
        let own = (geteuid(), getegid());
        let owner = owner.map_or(own, |user| {
            (Uid::from_raw(user.uid), Gid::from_raw(user.gid))
        });
        Self { mode, own, owner }
    }

    /// Goes one step down, making the directory when it is missing.
    fn enter(&self, parent: &OwnedFd, name: &std::ffi::OsStr) -> io::Result<OwnedFd> {
        let flags = DIRECTORY | OFlags::PATH;
        match rustix::fs::openat(parent, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => {}
            entered => return Ok(entered?),
        }
        self.settle(parent, name)?;
        Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
    }

    /// Makes the directory when it is missing, and gives it mode and owner.
    fn settle(&self, parent: &OwnedFd, name: &std::ffi::OsStr) -> io::Result<()> {
        match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = DIRECTORY | OFlags::RDONLY;
        let made = rustix::fs::openat(parent, name, flags, Mode::empty())?;
        let found = rustix::fs::fstat(&made)?;
        if self.is_settled(&found) {
            return Ok(());
        }
        let theirs = found.st_uid;
        if theirs != self.own.0.as_raw() && theirs != self.owner.0.as_raw() {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "it belongs to somebody else",
            ));
        }
        // While it is the guest's own, so that no right over other people's files is needed and
        // the kernel does not drop set-group-id for a group that the guest is not in.
        if self.owner != self.own {
            rustix::fs::fchown(&made, Some(self.own.0), Some(self.own.1))?;
        }
        rustix::fs::fchmod(&made, Mode::from(self.mode))?;
        if self.mode & SHARED != 0 {
            let list = default_list(self.mode);
            rustix::fs::fsetxattr(
                &made,
                "system.posix_acl_default",
                &list,
                XattrFlags::empty(),
            )?;
        }
        if self.owner != self.own {
            rustix::fs::fchown(&made, Some(self.owner.0), Some(self.owner.1))?;
        }
        Ok(())
    }

    fn is_settled(&self, found: &Stat) -> bool {
        (found.st_uid, found.st_gid) == (self.owner.0.as_raw(), self.owner.1.as_raw())
            && found.st_mode & 0o7777 == self.mode
    }
}

/// The default access list of a directory: what is made below gets these permissions instead of
/// those that the maker's umask leaves. Version 2, then tag, permissions and id of each entry.
fn default_list(mode: u32) -> Vec<u8> {
    const VERSION: u32 = 2;
    const NO_ID: u32 = u32::MAX;
    let entries: [(u16, u32); 3] = [(0x01, mode >> 6), (0x04, mode >> 3), (0x20, mode)];
    let mut list = VERSION.to_le_bytes().to_vec();
    for (tag, bits) in entries {
        let permissions = u16::try_from(bits & 7).expect("three bits");
        list.extend(tag.to_le_bytes());
        list.extend(permissions.to_le_bytes());
        list.extend(NO_ID.to_le_bytes());
    }
    list
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn mode_of(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_directory_is_made_with_those_on_the_way_and_made_again() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("a/b/c");
        let text = path.to_str().unwrap();
        make(text, 0o750, None).unwrap();
        assert_eq!(mode_of(&path), 0o750);
        assert_eq!(mode_of(&base.path().join("a/b")), 0o750);
        fs::write(path.join("kept"), "x").unwrap();
        make(text, 0o700, None).unwrap();
        assert_eq!(mode_of(&path), 0o700);
        assert!(path.join("kept").exists());
    }

    #[test]
    fn no_link_is_followed_and_no_file_replaced() {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir(base.path().join("real")).unwrap();
        fs::write(base.path().join("file"), "x").unwrap();
        std::os::unix::fs::symlink("real", base.path().join("link")).unwrap();
        for name in ["link", "link/below", "file", "file/below"] {
            let path = base.path().join(name);
            let refused = make(path.to_str().unwrap(), 0o700, None);
            assert!(refused.is_err(), "{name}");
        }
        let left = fs::read_dir(base.path().join("real")).unwrap();
        assert_eq!(left.count(), 0);
    }

    #[test]
    fn nonsense_is_refused() {
        for (path, mode) in [
            ("relative", 0o700),
            ("/", 0o700),
            ("/tmp/../x", 0o700),
            ("/tmp/x", 0o4700),
            ("/tmp/x", 0o100_700),
        ] {
            assert!(make(path, mode, None).is_err(), "{path} {mode:o}");
        }
    }

    #[test]
    fn below_a_shared_directory_the_umask_does_not_count() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("shared");
        make(path.to_str().unwrap(), 0o2770, None).unwrap();
        assert_eq!(mode_of(&path), 0o2770);
        // Whatever the umask is, nothing is left of it: a list for others would be 0.
        fs::write(path.join("x"), "x").unwrap();
        assert_eq!(mode_of(&path.join("x")), 0o660);
    }
}
