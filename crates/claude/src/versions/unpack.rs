//! Turns a package as it arrives into the one file that is wanted, hashing what passes.
//!
//! Runs on a thread of its own, fed through a bounded channel: when the disk is slower than the
//! network, the download waits. Of the archive only `package/claude` is read, and only as a
//! regular file; names in the archive are compared, never used as paths.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use bytes::{Buf, Bytes};
use flate2::read::GzDecoder;
use sha2::{Digest, Sha512};
use tokio::sync::mpsc;

use super::install::InstallError;

/// The wanted file's name in the archive.
const WANTED: &[u8] = b"package/claude";

/// Bytes that the file may have. Today's is a third of it; the bound keeps a crafted archive from
/// filling the disk.
const MAX_SIZE: u64 = 2 * 1024 * 1024 * 1024;

/// Writes the wanted file to `target` and hashes the whole archive, also what follows the file and
/// what follows a fault. Only a disk that fails ends it at once. Nothing here says who made the
/// archive: compare the hash.
pub(super) fn unpack(
    chunks: mpsc::Receiver<Bytes>,
    target: &Path,
) -> (Result<(), InstallError>, Sha512) {
    let mut source = Source {
        chunks,
        chunk: Bytes::new(),
        hash: Sha512::new(),
    };
    let extracted = extract(&mut source, target);
    if !matches!(extracted, Err(InstallError::Write { .. })) {
        source.drain();
    }
    (extracted, source.hash)
}

fn extract(source: &mut Source, target: &Path) -> Result<(), InstallError> {
    let mut archive = tar::Archive::new(GzDecoder::new(source));
    for entry in archive.entries().map_err(InstallError::Unpack)? {
        let mut entry = entry.map_err(InstallError::Unpack)?;
        if entry.path_bytes().as_ref() != WANTED {
            continue;
        }
        let header = entry.header();
        if header.entry_type() != tar::EntryType::Regular || entry.size() > MAX_SIZE {
            return Err(InstallError::NotAFile);
        }
        let size = entry.size();
        return write(&mut entry, target, size);
    }
    Err(InstallError::NoExecutable)
}

fn write(entry: &mut impl Read, target: &Path, size: u64) -> Result<(), InstallError> {
    let failed = |source| InstallError::Write {
        path: target.to_owned(),
        source,
    };
    let mut file = File::create_new(target).map_err(failed)?;
    let mut buffer = vec![0; 256 * 1024];
    let mut written = 0;
    loop {
        let length = entry.read(&mut buffer).map_err(InstallError::Unpack)?;
        if length == 0 {
            break;
        }
        file.write_all(&buffer[..length]).map_err(failed)?;
        written += length as u64;
    }
    if written != size {
        return Err(InstallError::Unpack(io::ErrorKind::UnexpectedEof.into()));
    }
    file.sync_all().map_err(failed)
}

/// The archive as it arrives.
struct Source {
    chunks: mpsc::Receiver<Bytes>,
    chunk: Bytes,
    hash: Sha512,
}

impl Source {
    fn drain(&mut self) {
        while let Some(chunk) = self.chunks.blocking_recv() {
            self.hash.update(&chunk);
        }
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => {
                    self.hash.update(&chunk);
                    self.chunk = chunk;
                }
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}
