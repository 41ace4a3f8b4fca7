//! Reading trees: one pass, directory by directory, in the order of [`protocol::order`].
//!
//! What has a change time before the last save's moment did not change and is only named. Links
//! are kept as links; sockets, pipes, devices and what vanishes meanwhile are left out; what
//! cannot be read is counted. A file that changes while it is read is read once more, and then
//! taken as it is and marked. Never follows a link, never reads a device.

mod content;
mod out;

use std::collections::HashMap;

use bytes::Bytes;
use protocol::{
    Entry, EntryKind, Refusal, TREE_PATH_MAX, TREE_XATTRS_MAX, TreeEnd, TreeFrame, Unchanged, Xattr,
};
use rustix::{
    fd::OwnedFd,
    fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat},
    io::Errno,
};
use tokio::sync::mpsc;

use super::{
    chain::{self, Chain, DEPTH_MAX, DIRECTORY},
    known::Moment,
    mapped, step,
};
use out::Out;

/// Files with several names whose first one is remembered, some megabytes. The further names of
/// files beyond are saved as files of their own.
const LINKS_MAX: usize = 32 * 1024;

/// The longest list of attribute names and the longest value, as the kernel has them.
const XATTR_MAX: usize = 64 * 1024;

/// Sends the trees of a moment's roots: whole ones, or what changed since an older moment.
pub fn save(
    mut next: Moment,
    last: Option<&Moment>,
    pieces: mpsc::Sender<Bytes>,
) -> Result<(TreeEnd, Moment), Refusal> {
    next.mapped = mapped::writable();
    let mut walk = Walk {
        out: Out::new(pieces),
        since: last.map(|last| next.changed_since(last)),
        roots: next.roots(),
        next,
        last,
        links: HashMap::new(),
        names: vec![0; XATTR_MAX],
        value: vec![0; XATTR_MAX],
        end: TreeEnd::default(),
    };
    for root in walk.roots.clone() {
        walk.root(&root)?;
    }
    walk.out
        .flush()
        .map_err(|error| step("sending", b"", error))?;
    Ok((walk.end, walk.next))
}

struct Walk<'a> {
    out: Out,
    /// The change time from which on something counts as changed; `None` when everything does.
    since: Option<i64>,
    roots: Vec<Bytes>,
    next: Moment,
    last: Option<&'a Moment>,
    /// By device and number: the first name of files that have several.
    links: HashMap<(u64, u64), Bytes>,
    /// Where the kernel puts the names and a value of attributes.
    names: Vec<u8>,
    value: Vec<u8>,
    end: TreeEnd,
}

/// A directory that is still to be visited.
struct Pending {
    /// Relative to the root of the walk; empty for the root itself.
    within: Vec<u8>,
    /// Nobody knows that it was here before, so that everything below counts as changed.
    fresh: bool,
}

impl Walk<'_> {
    fn root(&mut self, root: &Bytes) -> Result<(), Refusal> {
        let path = [b"/", &root[..]].concat();
        // The root itself is the host's choice and may be reached by a link.
        let flags = DIRECTORY.difference(OFlags::NOFOLLOW);
        let directory = match rustix::fs::open(&path[..], flags, Mode::empty()) {
            Ok(directory) => directory,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            Err(error) => return Err(step("opening", root, error)),
        };
        let mut chain = Chain::new(directory);
        let mut pending = vec![Pending {
            within: Vec::new(),
            fresh: false,
        }];
        while let Some(next) = pending.pop() {
            self.enter(root, &mut chain, next, &mut pending)?;
        }
        Ok(())
    }

    /// Sends a directory and what is in it, and puts its directories aside for later.
    fn enter(
        &mut self,
        root: &Bytes,
        chain: &mut Chain<()>,
        pending: Pending,
        later: &mut Vec<Pending>,
    ) -> Result<(), Refusal> {
        let path = join(root, &pending.within);
        if !pending.within.is_empty() {
            let (parent, name) = chain::split(&pending.within);
            while chain.leave(parent).is_some() {}
            match open(chain.last(), name, DIRECTORY) {
                Ok(directory) => chain.push(name, directory, ()),
                Err(error) => {
                    self.skip(&path, error);
                    return Ok(());
                }
            }
        }
        let directory = chain.last();
        let stat = rustix::fs::fstat(directory).map_err(|error| step("reading", &path, error))?;
        let here = self.here(&path, &stat, pending.fresh);
        self.next.learn(&path, stat.st_ino);
        if here && !self.changed(&stat) {
            self.unchanged(&path, true, &stat)?;
        } else {
            let xattrs = self.xattrs(directory, &path);
            self.send(&path, EntryKind::Dir, &stat, xattrs)?;
        }
        let names = match list(directory) {
            Ok(names) => names,
            Err(error) => {
                self.skip(&path, error);
                return Ok(());
            }
        };
        let before = later.len();
        for name in names {
            if path.len() + 1 + name.len() > TREE_PATH_MAX {
                self.count(&path, "a path below is too long");
            } else if !self.leaf(directory, &path, &name, !here)? {
                // A file, or nothing that is kept.
            } else if chain.depth() >= DEPTH_MAX {
                self.count(&path, "it is nested too deep");
            } else {
                let within = join(&pending.within, &name);
                later.push(Pending {
                    within,
                    fresh: !here,
                });
            }
        }
        // The last is taken first.
        later[before..].reverse();
        Ok(())
    }

    /// Whether a directory was at this path at the last moment, it and all above it.
    fn here(&self, path: &[u8], stat: &Stat, fresh: bool) -> bool {
        let known = |last: &Moment| !self.changed(stat) || last.knows(path, stat.st_ino);
        !fresh && self.last.is_some_and(known)
    }

    fn changed(&self, stat: &Stat) -> bool {
        let mapped = |moment: &Moment| moment.mapped.contains(&stat.st_ino);
        self.since.is_none_or(|since| changed_at(stat) >= since)
            || mapped(&self.next)
            || self.last.is_some_and(mapped)
    }

    /// Sends what is at a name. Says whether it is a directory, of which nothing is sent yet.
    fn leaf(
        &mut self,
        parent: &OwnedFd,
        within: &[u8],
        name: &[u8],
        fresh: bool,
    ) -> Result<bool, Refusal> {
        let path = join(within, name);
        let stat = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(error) => {
                self.skip(&path, error);
                return Ok(false);
            }
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            return Ok(true);
        }
        if !matches!(kind, FileType::RegularFile | FileType::Symlink) {
            return Ok(false);
        }
        if let Some(target) = self.first_name(&path, &stat) {
            self.send(&path, EntryKind::Hardlink { target }, &stat, Vec::new())?;
        } else if !fresh && !self.changed(&stat) {
            self.unchanged(&path, false, &stat)?;
        } else if kind == FileType::Symlink {
            match rustix::fs::readlinkat(parent, name, Vec::new()) {
                Ok(target) => {
                    let target = Bytes::from(target.into_bytes());
                    self.send(&path, EntryKind::Symlink { target }, &stat, Vec::new())?;
                }
                Err(error) => self.skip(&path, error),
            }
        } else {
            self.file(parent, name, &path)?;
        }
        Ok(false)
    }

    /// The name under which this very file was sent already.
    fn first_name(&mut self, path: &[u8], stat: &Stat) -> Option<Bytes> {
        if stat.st_nlink < 2 {
            return None;
        }
        let file = (stat.st_dev, stat.st_ino);
        let first = self.links.get(&file).cloned();
        if first.is_none() && self.links.len() < LINKS_MAX {
            self.links.insert(file, Bytes::copy_from_slice(path));
        }
        first
    }

    fn unchanged(&mut self, path: &[u8], dir: bool, stat: &Stat) -> Result<(), Refusal> {
        let unchanged = Unchanged {
            path: Bytes::copy_from_slice(path),
            dir,
            size: content::size(stat),
            mtime_ns: modified_at(stat),
        };
        self.frame(path, TreeFrame::Unchanged(unchanged))
    }

    fn send(
        &mut self,
        path: &[u8],
        kind: EntryKind,
        stat: &Stat,
        xattrs: Vec<Xattr>,
    ) -> Result<(), Refusal> {
        let entry = Entry {
            path: Bytes::copy_from_slice(path),
            kind,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime_ns: modified_at(stat),
            xattrs,
        };
        self.frame(path, TreeFrame::Entry(entry))
    }

    fn frame(&mut self, path: &[u8], frame: TreeFrame) -> Result<(), Refusal> {
        self.out
            .frame(&frame)
            .map_err(|error| step("sending", path, error))
    }

    /// The attributes that a restore can set: the user's own, and access lists.
    fn xattrs(&mut self, of: &OwnedFd, path: &[u8]) -> Vec<Xattr> {
        let len = rustix::fs::flistxattr(of, &mut self.names[..]).unwrap_or(0);
        if len == 0 {
            return Vec::new();
        }
        let names = self.names[..len].to_vec();
        let kept =
            |name: &&[u8]| name.starts_with(b"user.") || name.starts_with(b"system.posix_acl_");
        let (mut found, mut total) = (Vec::new(), 0);
        for name in names.split(|byte| *byte == 0).filter(kept) {
            let value = rustix::fs::fgetxattr(of, name, &mut self.value[..]);
            let value = value.map(|len| Bytes::copy_from_slice(&self.value[..len]));
            match value {
                Ok(value) if total + name.len() + value.len() <= TREE_XATTRS_MAX => {
                    total += name.len() + value.len();
                    let name = Bytes::copy_from_slice(name);
                    found.push(Xattr { name, value });
                }
                Ok(_) => self.count(path, "it has more attributes than can be carried"),
                Err(Errno::NODATA) => {}
                Err(error) => self.count(path, &format!("an attribute: {error}")),
            }
        }
        found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        found
    }

    /// Leaves out what cannot be read; what vanished is no longer there to be missed.
    fn skip(&mut self, path: &[u8], error: Errno) {
        if error != Errno::NOENT {
            self.count(path, &error.to_string());
        }
    }

    fn count(&mut self, path: &[u8], reason: &str) {
        self.end.skipped += 1;
        let example = || format!("/{}: {reason}", path.escape_ascii());
        self.end.example.get_or_insert_with(example);
    }
}

/// The names in a directory, sorted, so that equal trees give equal streams.
fn list(directory: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(name.to_vec());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Opens something for reading. What its owner took the permission away from gets it for the
/// moment that this takes.
fn open(parent: &OwnedFd, name: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {}
        opened => return opened,
    }
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let was = Mode::from(stat.st_mode & 0o7777);
    // Only the owner may do this; for anybody else it stays as it was.
    rustix::fs::chmodat(
        parent,
        name,
        was | Mode::RUSR | Mode::XUSR,
        AtFlags::empty(),
    )?;
    let opened = rustix::fs::openat(parent, name, flags, Mode::empty());
    rustix::fs::chmodat(parent, name, was, AtFlags::empty())?;
    opened
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    match (path.is_empty(), name.is_empty()) {
        (true, _) => name.to_vec(),
        (_, true) => path.to_vec(),
        _ => [path, b"/", name].concat(),
    }
}

fn changed_at(stat: &Stat) -> i64 {
    nanoseconds(stat.st_ctime, stat.st_ctime_nsec)
}

fn modified_at(stat: &Stat) -> i64 {
    nanoseconds(stat.st_mtime, stat.st_mtime_nsec)
}

/// Times beyond the years that 64 bits of nanoseconds can say become the nearest that they can.
fn nanoseconds(seconds: i64, rest: u64) -> i64 {
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add_unsigned(rest)
}

#[cfg(test)]
mod tests;
