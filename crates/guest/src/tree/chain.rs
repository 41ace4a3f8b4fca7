//! The directories from a root down to where the walk or the last entry is, each opened by its
//! parent's descriptor and without following a link. What the last path opened is kept, because
//! paths come sorted.

use rustix::{
    fd::OwnedFd,
    fs::{Mode, OFlags},
    io::Errno,
};

/// The most directories on the way to an entry. Each has a descriptor open while it is visited.
pub const DEPTH_MAX: usize = 256;

/// How directories are opened.
pub const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// A root, and the directories below it that are open.
pub struct Chain<T> {
    root: OwnedFd,
    open: Vec<Link<T>>,
}

/// An open directory.
pub struct Link<T> {
    pub name: Vec<u8>,
    pub directory: OwnedFd,
    /// What is to be remembered until it is left.
    pub note: T,
}

impl<T> Chain<T> {
    pub fn new(root: OwnedFd) -> Self {
        Self {
            root,
            open: Vec::new(),
        }
    }

    pub fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// The deepest that is open.
    pub fn last(&self) -> &OwnedFd {
        self.open.last().map_or(&self.root, |link| &link.directory)
    }

    pub fn depth(&self) -> usize {
        self.open.len()
    }

    /// Goes one deeper.
    pub fn push(&mut self, name: &[u8], directory: OwnedFd, note: T) {
        self.open.push(Link {
            name: name.to_vec(),
            directory,
            note,
        });
    }

    /// Leaves the deepest that is not on the way to a path, if there is one.
    pub fn leave(&mut self, path: &[u8]) -> Option<Link<T>> {
        let on_the_way = self
            .open
            .iter()
            .zip(names(path))
            .take_while(|(link, name)| link.name == *name)
            .count();
        (on_the_way < self.open.len())
            .then(|| self.open.pop())
            .flatten()
    }
}

/// Opens a directory in another.
pub fn open(parent: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(parent, name, DIRECTORY, Mode::empty())
}

/// The names on a path; none for an empty one.
pub fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty())
}

/// The directory that a path is in, and its name there.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}
