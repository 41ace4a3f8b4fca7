//! What is in a file, with its holes, while others may be writing to it.

use protocol::{EntryKind, Refusal, TreeFrame};
use rustix::{
    fd::OwnedFd,
    fs::{FileType, OFlags, SeekFrom, Stat},
    io::Errno,
};

use super::{Walk, changed_at, open, out::Out};
use crate::tree::{PIECE, step};

/// Not waiting matters for what became a pipe since it was looked at.
const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// Bytes of a block as the kernel counts them, whatever the file system's are.
const BLOCK: u64 = 512;

impl Walk<'_> {
    /// Sends a file, once more when it changed meanwhile.
    pub(super) fn file(
        &mut self,
        parent: &OwnedFd,
        name: &[u8],
        path: &[u8],
    ) -> Result<(), Refusal> {
        for last_try in [false, true] {
            let file = match open(parent, name, FILE) {
                Ok(file) => file,
                Err(error) => {
                    self.skip(path, error);
                    return Ok(());
                }
            };
            let reading = |error: Errno| step("reading", path, error);
            let before = rustix::fs::fstat(&file).map_err(reading)?;
            if FileType::from_raw_mode(before.st_mode) != FileType::RegularFile {
                return Ok(());
            }
            let size = size(&before);
            let xattrs = self.xattrs(&file, path);
            self.send(path, EntryKind::File { size }, &before, xattrs)?;
            // A disk that cannot be read is an error of the whole, not a file with holes in it.
            let read = content(&mut self.out, &file, &before)
                .map_err(|error| step("carrying", path, error))?;
            let after = rustix::fs::fstat(&file).map_err(reading)?;
            let torn = read < size || changed_at(&after) != changed_at(&before);
            if torn && !last_try {
                self.frame(path, TreeFrame::Void)?;
                continue;
            }
            if read < size {
                self.frame(path, TreeFrame::Hole(size - read))?;
            }
            self.frame(path, TreeFrame::FileEnd { torn })?;
            break;
        }
        Ok(())
    }
}

/// The bytes of a file; 0 of anything else.
pub fn size(stat: &Stat) -> u64 {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => u64::try_from(stat.st_size).unwrap_or(0),
        _ => 0,
    }
}

/// Sends as many bytes as a file had, and says how many there were.
fn content(out: &mut Out, file: &OwnedFd, stat: &Stat) -> std::io::Result<u64> {
    let size = size(stat);
    let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
    let holes = blocks.saturating_mul(BLOCK) < size;
    let mut at = 0;
    while at < size {
        let (data, end) = if holes {
            next_data(file, at, size)?
        } else {
            (at, size)
        };
        if data > at {
            out.frame(&TreeFrame::Hole(data - at))?;
        }
        at = data;
        while at < end {
            let most = usize::try_from(end - at).map_or(PIECE, |left| left.min(PIECE));
            match out.data(file, at, most)? {
                0 => return Ok(at),
                len => at += len as u64,
            }
        }
    }
    Ok(at)
}

/// Where the next bytes that are not a hole begin, and where they end.
fn next_data(file: &OwnedFd, at: u64, size: u64) -> rustix::io::Result<(u64, u64)> {
    let data = match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Err(Errno::NXIO) => return Ok((size, size)),
        data => data?.clamp(at, size),
    };
    let end = rustix::fs::seek(file, SeekFrom::Hole(data))?;
    // A file that shrinks at this moment has its hole before; reading will find out.
    Ok((data, if end > data { end.min(size) } else { size }))
}

/// So that the frame of a piece never exceeds what the protocol takes.
const _: () = assert!(PIECE <= protocol::TREE_CHUNK_MAX);
