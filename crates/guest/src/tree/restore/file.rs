//! One file that is being made.

use std::{
    fs::File,
    io::{Seek as _, SeekFrom, Write as _},
};

use protocol::{Entry, Refusal};
use rustix::{
    fd::OwnedFd,
    fs::{Mode, OFlags},
    io::Errno,
};

use super::{bad, replace};
use crate::tree::step;

/// A file, as far as it came.
pub struct Writing {
    file: File,
    entry: Entry,
    size: u64,
    at: u64,
    /// The last that came was a hole, which writing does not end.
    hole: bool,
}

/// Makes an empty file in place of what is there. Its permissions are these, less the umask.
pub fn create(parent: &OwnedFd, name: &[u8], mode: Mode) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    replace(parent, name, || {
        rustix::fs::openat(parent, name, flags, mode)
    })
}

impl Writing {
    pub fn new(file: OwnedFd, size: u64, entry: Entry) -> Self {
        Self {
            file: file.into(),
            entry,
            size,
            at: 0,
            hole: false,
        }
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.advance(bytes.len() as u64)?;
        self.hole = false;
        let written = self.file.write_all(bytes);
        written.map_err(|error| step("writing", &self.entry.path, error))
    }

    pub fn hole(&mut self, len: u64) -> Result<(), Refusal> {
        self.advance(len)?;
        self.hole = true;
        let moved = self.file.seek(SeekFrom::Start(self.at));
        moved
            .map(drop)
            .map_err(|error| step("writing", &self.entry.path, error))
    }

    /// The file, whole, and what else it shall have.
    pub fn end(self) -> Result<(OwnedFd, Entry), Refusal> {
        if self.at != self.size {
            return Err(bad("a file in the tree is not as long as it says"));
        }
        if self.hole {
            let ended = self.file.set_len(self.size);
            ended.map_err(|error| step("writing", &self.entry.path, error))?;
        }
        Ok((self.file.into(), self.entry))
    }

    fn advance(&mut self, len: u64) -> Result<(), Refusal> {
        let at = self.at.checked_add(len).filter(|at| *at <= self.size);
        self.at = at.ok_or_else(|| bad("a file in the tree is longer than it says"))?;
        Ok(())
    }
}
