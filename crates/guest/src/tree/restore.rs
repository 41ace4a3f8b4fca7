//! Making trees, exactly as they come, below the roots and nowhere else.
//!
//! Every directory on the way is opened by its parent's descriptor and without following links,
//! so no entry, and no process that races with us, can lead a write outside. What is in the way
//! of an entry is replaced; what is not in the tree stays. A directory gets its permissions and
//! times when it is left, because making something in it needs the one and changes the other.

mod file;

use std::os::unix::ffi::OsStrExt as _;

use bytes::Bytes;
use protocol::{Entry, EntryKind, ErrorCode, FrameDecoder, Refusal, TreeEnd, TreeFrame, Xattr};
use rustix::{
    fd::OwnedFd,
    fs::{AtFlags, Mode, OFlags, Timespec, Timestamps, XattrFlags},
    io::Errno,
};
use tokio::sync::{mpsc, oneshot};

use super::{
    chain::{self, Chain, DEPTH_MAX, DIRECTORY},
    is_below,
    known::Moment,
    step,
};
use file::Writing;

/// Permission bits that survive on directories: never set-user-id.
const DIRECTORY_BITS: u32 = 0o3777;
/// And on files: neither that nor set-group-id, nor sticky.
const FILE_BITS: u32 = 0o777;
/// What a file has while it is made.
const OWNERS: Mode = Mode::RUSR.union(Mode::WUSR);

/// Makes what comes out of the queue, up to the end of the tree; tells when it is at the mark.
pub fn restore(
    moment: Moment,
    mut queue: mpsc::Receiver<Bytes>,
    marked: oneshot::Sender<()>,
) -> Result<(TreeEnd, Moment), Refusal> {
    let mut marked = Some(marked);
    let mut making = Making {
        moment,
        umask: umask(),
        place: None,
        file: None,
        end: TreeEnd::default(),
    };
    for root in making.moment.roots() {
        let path = [b"/", &root[..]].concat();
        let path = std::ffi::OsStr::from_bytes(&path);
        std::fs::create_dir_all(path).map_err(|error| step("making", &root, error))?;
    }
    let mut decoder = FrameDecoder::<TreeFrame>::default();
    loop {
        let malformed = |error| bad(&format!("the tree: {error}"));
        match decoder.next_frame().map_err(malformed)? {
            Some(TreeFrame::End(_)) if making.file.is_none() => break,
            Some(TreeFrame::Mark) if making.file.is_none() => match marked.take() {
                // Whoever does not listen any more has given up the tree.
                Some(marked) => drop(marked.send(())),
                None => return Err(bad("the tree has two marks")),
            },
            Some(frame) => making.frame(frame)?,
            None => match queue.blocking_recv() {
                Some(piece) => decoder.push(&piece),
                None => return Err(bad("the tree is cut off")),
            },
        }
    }
    making.leave_root();
    Ok((making.end, making.moment))
}

struct Making {
    moment: Moment,
    /// What this process does not give to what it makes.
    umask: Option<u32>,
    place: Option<Place>,
    /// The file that is being written.
    file: Option<Writing>,
    end: TreeEnd,
}

/// Where the last entry is.
struct Place {
    root: Bytes,
    /// What the root becomes when it is left.
    note: Option<Entry>,
    /// The directories down to the last entry's, each with what it becomes when it is left.
    chain: Chain<Option<Entry>>,
}

impl Making {
    fn frame(&mut self, frame: TreeFrame) -> Result<(), Refusal> {
        match (frame, self.file.as_mut()) {
            (TreeFrame::Data(bytes), Some(file)) => file.write(&bytes),
            (TreeFrame::Hole(len), Some(file)) => file.hole(len),
            (TreeFrame::FileEnd { .. }, Some(_)) => self.end_of_file(),
            (TreeFrame::Entry(entry), None) => self.entry(entry),
            _ => Err(bad("the tree is not in order")),
        }
    }

    fn entry(&mut self, entry: Entry) -> Result<(), Refusal> {
        let within = self.enter_root(&entry.path)?;
        if within.is_empty() {
            return self.note_root(entry);
        }
        let (above, name) = chain::split(&within);
        let place = self.enter(above, &entry.path)?;
        let parent = place.chain.last();
        let fail = |error: Errno| step("making", &entry.path, error);
        match &entry.kind {
            EntryKind::Dir => {
                let made = directory(parent, name).map_err(fail)?;
                place.chain.push(name, made, Some(entry));
            }
            EntryKind::File { size } => {
                // Attributes need a file that its owner may write to.
                let mode = Mode::from(entry.mode & FILE_BITS) | OWNERS;
                let made = file::create(parent, name, mode).map_err(fail)?;
                self.file = Some(Writing::new(made, *size, entry));
            }
            EntryKind::Symlink { target } => {
                let make = || rustix::fs::symlinkat(&target[..], parent, name);
                replace(parent, name, make).map_err(fail)?;
                let (times, flags) = (times(entry.mtime_ns), AtFlags::SYMLINK_NOFOLLOW);
                let dated = rustix::fs::utimensat(parent, name, &times, flags);
                self.note(&entry.path, dated);
            }
            EntryKind::Hardlink { target } => {
                let (from, first) = find(&place.root, place.chain.root(), target)?;
                let flags = AtFlags::empty();
                let make = || rustix::fs::linkat(&from, &first[..], parent, name, flags);
                replace(parent, name, make).map_err(fail)?;
            }
        }
        Ok(())
    }

    /// Opens the root that a path is in, and gives the rest of the path.
    fn enter_root(&mut self, path: &Bytes) -> Result<Bytes, Refusal> {
        let here = |place: &Place| is_below(path, &place.root);
        if !self.place.as_ref().is_some_and(here) {
            self.leave_root();
            let roots = self.moment.roots();
            let root = roots.into_iter().find(|root| is_below(path, root));
            let root = root.ok_or_else(|| confined(path, "is in no root"))?;
            let name = [b"/", &root[..]].concat();
            // The root itself is the host's choice and may be reached by a link.
            let flags = DIRECTORY.difference(OFlags::NOFOLLOW);
            let opened = rustix::fs::open(&name[..], flags, Mode::empty());
            let opened = opened.map_err(|error| step("opening", &root, error))?;
            self.place = Some(Place {
                root,
                note: None,
                chain: Chain::new(opened),
            });
        }
        let root = self.place.as_ref().map_or(0, |place| place.root.len());
        Ok(path.slice((root + 1).min(path.len())..))
    }

    /// Opens a directory below the root, making what is missing and leaving what is not on the way.
    fn enter(&mut self, above: &[u8], path: &[u8]) -> Result<&mut Place, Refusal> {
        while let Some(link) = self
            .place
            .as_mut()
            .and_then(|place| place.chain.leave(above))
        {
            if let Some(entry) = link.note {
                self.finish_directory(&link.directory, &entry);
            }
        }
        let place = self.place.as_mut().expect("a root was entered");
        for name in chain::names(above).skip(place.chain.depth()) {
            if place.chain.depth() >= DEPTH_MAX {
                return Err(confined(path, "is nested too deep"));
            }
            let opened = match chain::open(place.chain.last(), name) {
                Err(Errno::NOENT) => directory(place.chain.last(), name),
                opened => opened,
            };
            let opened = opened.map_err(|error| match error {
                Errno::NOTDIR | Errno::LOOP => {
                    confined(path, "passes through what is no directory")
                }
                error => step("opening the directory of", path, error),
            })?;
            place.chain.push(name, opened, None);
        }
        Ok(place)
    }

    fn note_root(&mut self, entry: Entry) -> Result<(), Refusal> {
        if !entry.is_dir() {
            return Err(confined(&entry.path, "is to be a directory"));
        }
        if let Some(place) = &mut self.place {
            place.note = Some(entry);
        }
        Ok(())
    }

    fn leave_root(&mut self) {
        let Some(mut place) = self.place.take() else {
            return;
        };
        while let Some(link) = place.chain.leave(b"") {
            if let Some(entry) = link.note {
                self.finish_directory(&link.directory, &entry);
            }
        }
        if let Some(entry) = place.note {
            self.finish_directory(place.chain.root(), &entry);
        }
    }

    /// Gives a directory what it shall have, now that nothing is made in it any more.
    fn finish_directory(&mut self, directory: &OwnedFd, entry: &Entry) {
        if let Ok(stat) = rustix::fs::fstat(directory) {
            self.moment.learn(&entry.path, stat.st_ino);
        }
        self.finish(directory, entry, DIRECTORY_BITS, true);
    }

    fn end_of_file(&mut self) -> Result<(), Refusal> {
        if let Some(file) = self.file.take() {
            let (file, entry) = file.end()?;
            // Most files were made with what they shall have, and a call less for each counts.
            let kept = Mode::from(entry.mode).contains(OWNERS);
            let made = self
                .umask
                .is_some_and(|umask| kept && entry.mode & umask == 0);
            self.finish(&file, &entry, FILE_BITS, !made);
        }
        Ok(())
    }

    /// Attributes, permissions and times, in an order in which none undoes another.
    fn finish(&mut self, made: &OwnedFd, entry: &Entry, bits: u32, mode: bool) {
        for Xattr { name, value } in &entry.xattrs {
            let set = rustix::fs::fsetxattr(made, &name[..], value, XattrFlags::empty());
            self.note(&entry.path, set);
        }
        if mode {
            let set = rustix::fs::fchmod(made, Mode::from(entry.mode & bits));
            self.note(&entry.path, set);
        }
        self.note(
            &entry.path,
            rustix::fs::futimens(made, &times(entry.mtime_ns)),
        );
    }

    /// An attribute that cannot be set here is no reason to lose the rest.
    fn note(&mut self, path: &[u8], set: Result<(), Errno>) {
        if let Err(error) = set {
            self.end.skipped += 1;
            let example = || format!("/{}: {error}", path.escape_ascii());
            self.end.example.get_or_insert_with(example);
        }
    }
}

/// Opens the directory of a file that came before, apart from the way to the entry that is made.
fn find(root: &Bytes, directory: &OwnedFd, target: &Bytes) -> Result<(OwnedFd, Bytes), Refusal> {
    if !is_below(target, root) || target.len() <= root.len() + 1 {
        return Err(confined(target, "is in another root than its further name"));
    }
    let within = target.slice(root.len() + 1..);
    let (above, name) = chain::split(&within);
    let fail = |error: Errno| step("opening the directory of", target, error);
    let mut directory = directory
        .try_clone()
        .map_err(|error| step("opening", root, error))?;
    for name in chain::names(above) {
        directory = chain::open(&directory, name).map_err(fail)?;
    }
    Ok((directory, within.slice_ref(name)))
}

/// Makes a directory that can be written in, or takes the one that is there.
fn directory(parent: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            // A link to a directory is replaced, not followed.
            if let Ok(there) = chain::open(parent, name) {
                let stat = rustix::fs::fstat(&there)?;
                let mode = Mode::from(stat.st_mode & DIRECTORY_BITS);
                if !mode.contains(Mode::RWXU) {
                    rustix::fs::fchmod(&there, mode | Mode::RWXU)?;
                }
                return Ok(there);
            }
            rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
            rustix::fs::mkdirat(parent, name, Mode::RWXU)?;
        }
        Err(error) => return Err(error),
    }
    chain::open(parent, name)
}

/// Makes something in place of what is there, which is removed and never followed. A directory
/// that is in the way must be empty.
fn replace<T>(
    parent: &OwnedFd,
    name: &[u8],
    mut make: impl FnMut() -> Result<T, Errno>,
) -> Result<T, Errno> {
    match make() {
        Err(Errno::EXIST) => {
            match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
                Err(Errno::ISDIR) => rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?,
                removed => removed?,
            }
            make()
        }
        made => made,
    }
}

/// Asking by a system call would change it for all threads.
fn umask() -> Option<u32> {
    let status = std::fs::read_to_string("/proc/thread-self/status").ok()?;
    let umask = status
        .lines()
        .find_map(|line| line.strip_prefix("Umask:"))?;
    u32::from_str_radix(umask.trim(), 8).ok()
}

fn times(mtime_ns: i64) -> Timestamps {
    let time = Timespec {
        tv_sec: mtime_ns.div_euclid(1_000_000_000),
        tv_nsec: mtime_ns.rem_euclid(1_000_000_000),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

fn confined(path: &[u8], why: &str) -> Refusal {
    let message = format!("/{} {why}", path.escape_ascii());
    Refusal::new(ErrorCode::Confined, message)
}

fn bad(message: &str) -> Refusal {
    Refusal::new(ErrorCode::BadRequest, message)
}
