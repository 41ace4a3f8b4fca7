//! The results of a task: an archive that comes out of a sandbox becomes files of the server's own.
//!
//! The archive is the word of a stranger. Names, their lengths, the number of results and their bytes
//! are bounded before anything is held or written; what is no plain file is left out. A name is a text
//! for people and never a path here.

use std::io::{self, Read, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use api::id::Prefix;
use sha2::{Digest as _, Sha256};
use tar::{Archive, Entry, EntryType};

use crate::blobs::Blobs;
use crate::ids::Ids;
use crate::session::runner::with_causes;

/// Results of one task. What lies there beyond that is not kept, and the session is told.
const OUTPUTS: usize = 1000;
/// Bytes of one result, as the public contract limits files.
const OUTPUT_BYTES: u64 = 500 * 1024 * 1024;
/// Bytes of a name: what Linux takes as a path.
const NAME_BYTES: u64 = 4096;

/// A result that is durable.
#[derive(Debug, Clone)]
pub struct Output {
    /// The file's id.
    pub(in crate::session) id: String,
    /// Its path below the directory of results.
    pub(super) filename: String,
    /// Its length.
    pub(in crate::session) size_bytes: u64,
    /// The hash of its content.
    pub(super) sha256: [u8; 32],
}

/// Writes each plain file of an archive to a file of its own, `most` bytes of all of them together: a
/// file of holes takes no room on the sandbox's disk, and all of its length on ours.
///
/// # Errors
/// In one sentence; what was written until then is nobody's, and is removed with all that is.
pub(in crate::session) fn unpack(
    tar: impl Read,
    blobs: &Blobs,
    ids: &Ids,
    most: u64,
) -> Result<Vec<Output>, String> {
    let failed = |error: io::Error| with_causes(&error);
    let mut make = std::fs::DirBuilder::new();
    make.recursive(true).mode(0o700);
    make.create(blobs.dir()).map_err(failed)?;
    let (mut outputs, mut left, mut long) = (Vec::new(), most, None);
    let mut archive = Archive::new(tar);
    // Raw, because the library holds a long name in memory, however long it is.
    for entry in archive.entries().map_err(failed)?.raw(true) {
        let mut entry = entry.map_err(failed)?;
        let kind = entry.header().entry_type();
        if kind == EntryType::GNULongName {
            long = Some(long_name(&mut entry)?);
            continue;
        }
        let name = long
            .take()
            .unwrap_or_else(|| entry.path_bytes().into_owned());
        if kind != EntryType::Regular {
            continue;
        }
        let filename = String::from_utf8_lossy(name.strip_prefix(b"./").unwrap_or(&name));
        let size = entry.size();
        if outputs.len() == OUTPUTS {
            return Err(format!("there are more than {OUTPUTS} of them"));
        }
        if size > OUTPUT_BYTES {
            return Err(format!(
                "{filename} has {size} bytes, more than {OUTPUT_BYTES}"
            ));
        }
        left = left
            .checked_sub(size)
            .ok_or_else(|| format!("they have more than {most} bytes together"))?;
        let id = ids.mint(Prefix::File);
        let (written, sha256) = write(entry.take(size), &blobs.path(&id)).map_err(failed)?;
        if written < size {
            return Err(format!("{filename} is cut off"));
        }
        outputs.push(Output {
            id,
            filename: filename.into_owned(),
            size_bytes: size,
            sha256,
        });
    }
    // The names, too, are to survive a power cut.
    let directory = std::fs::File::open(blobs.dir()).map_err(failed)?;
    directory.sync_all().map_err(failed)?;
    Ok(outputs)
}

/// The name of the next entry, where it does not fit into its header.
fn long_name(entry: &mut Entry<'_, impl Read>) -> Result<Vec<u8>, String> {
    if entry.size() > NAME_BYTES {
        return Err(format!("a name has more than {NAME_BYTES} bytes"));
    }
    let mut name = Vec::new();
    let read = entry.read_to_end(&mut name);
    read.map_err(|error| with_causes(&error))?;
    if name.last() == Some(&0) {
        name.pop();
    }
    Ok(name)
}

/// Writes a file durably; how many bytes were written, and their hash.
fn write(mut content: impl Read, path: &Path) -> io::Result<(u64, [u8; 32])> {
    let mut file = std::fs::File::create_new(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 128 * 1024];
    let mut written = 0;
    loop {
        let read = content.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        file.write_all(&buffer[..read])?;
        written += read as u64;
    }
    file.sync_all()?;
    Ok((written, hash.finalize().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The results of an archive, by name and length, and a store that goes with them.
    fn unpacked(archive: &[u8], most: u64) -> Result<Vec<(String, u64)>, String> {
        let dir = tempfile::tempdir().unwrap();
        let outputs = unpack(archive, &Blobs::new(dir.path()), &Ids::counted(), most)?;
        let named = |output: Output| (output.filename, output.size_bytes);
        Ok(outputs.into_iter().map(named).collect())
    }

    fn archive(names: &[&str], content: &[u8]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for name in names {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn names_are_kept_however_long_they_are() {
        let long = ["long"; 50].join("/");
        let found = unpacked(&archive(&["./a", &long, "b"], b"12"), 6).unwrap();
        assert_eq!(found, [("a".to_owned(), 2), (long, 2), ("b".to_owned(), 2)]);
    }

    #[test]
    fn results_are_bounded_together_and_names_before_they_are_held() {
        let refused = unpacked(&archive(&["a", "b"], b"123"), 5).unwrap_err();
        assert!(refused.contains("more than 5 bytes together"), "{refused}");
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(EntryType::GNULongName);
        header.set_size(1 << 40);
        header.set_cksum();
        let refused = unpacked(header.as_bytes(), u64::MAX).unwrap_err();
        assert!(refused.contains("a name has more"), "{refused}");
    }
}
