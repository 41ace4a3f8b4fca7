//! Reading packs. Nothing is believed before it is verified, and nothing is as long as a damaged
//! length says: every length is bounded by the file or by [`CHUNK_MAX`].

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use zstd::bulk::Decompressor;

use super::{
    CHECK_LEN, CHUNK_MAX, CHUNKS_MAX, Chunk, END_MAGIC, FOOTER_LEN, HEADER_LEN, INDEX_ENTRY_LEN,
    MAGIC, SALT_LEN, SEALED, VERSION,
    seal::{self, Seal},
    write::digest,
};
use crate::{Key, StoreError, id::Hash};

/// A pack that is open for reading.
pub struct Pack {
    path: PathBuf,
    file: File,
    seal: Option<Seal>,
    bytes: u64,
}

/// What reading chunks needs again and again.
#[derive(Default)]
pub struct Tools {
    stored: Vec<u8>,
    decompressor: Option<Decompressor<'static>>,
}

/// A pack and what is in it.
pub struct Opened {
    pub pack: Pack,
    pub chunks: Vec<Chunk>,
}

impl Pack {
    /// Opens a pack and reads its index.
    pub fn open(path: &Path, key: Option<&Key>) -> Result<Opened, StoreError> {
        let failed = |error| StoreError::io("reading", path, error);
        let corrupt = |what| StoreError::corrupt(path, what);
        let file = File::open(path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        let read = |at: u64, len: usize| {
            let mut buffer = vec![0; len];
            file.read_exact_at(&mut buffer, at).map(|()| buffer)
        };
        if bytes < (HEADER_LEN + FOOTER_LEN) as u64 {
            return Err(corrupt("it is too short"));
        }
        let mut header = read(0, HEADER_LEN).map_err(failed)?;
        if &header[..8] != MAGIC || header[8] != VERSION || header[9] > SEALED {
            return Err(corrupt("its header"));
        }
        let sealed = header[9] == SEALED;
        if sealed {
            header.extend(read(HEADER_LEN as u64, SALT_LEN).map_err(|_| corrupt("its header"))?);
        }
        let end = bytes - FOOTER_LEN as u64;
        let footer = read(end, FOOTER_LEN).map_err(failed)?;
        let offset = u64::from_be_bytes(footer[..8].try_into().expect("eight bytes"));
        let [stored, len] = [8, 12].map(|at| number(&footer[at..at + 4]));
        // The index fills what is between the chunks and the footer, so its place bounds it.
        let fits = offset >= header.len() as u64 && offset.checked_add(stored.into()) == Some(end);
        if !fits || &footer[48..] != END_MAGIC || len as usize > CHUNKS_MAX * INDEX_ENTRY_LEN {
            return Err(corrupt("its footer"));
        }
        let mut index = read(offset, stored as usize).map_err(failed)?;
        if digest(&[&header, &index, &footer[..16]]) != footer[16..48] {
            return Err(corrupt("its index"));
        }
        let seal = match (sealed, key) {
            (false, _) => None,
            (true, None) => {
                return Err(StoreError::NoKey {
                    path: path.to_owned(),
                });
            }
            (true, Some(key)) => {
                let salt = header[HEADER_LEN..].try_into().expect("the salt was read");
                Some(Seal::new(key, salt))
            }
        };
        let mut tools = Tools::default();
        let index = open_chunk(
            seal.as_ref(),
            seal::INDEX,
            &mut index,
            len as usize,
            &mut tools,
        );
        let index = index.ok_or_else(|| corrupt("its index cannot be opened with this key"))?;
        let chunks = chunks(&index, header.len() as u64, offset);
        let chunks = chunks.ok_or_else(|| corrupt("its index does not fit its length"))?;
        let path = path.to_owned();
        Ok(Opened {
            pack: Self {
                path,
                file,
                seal,
                bytes,
            },
            chunks,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How long it is.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads and verifies a chunk.
    pub fn read(&self, chunk: &Chunk, tools: &mut Tools) -> Result<Vec<u8>, StoreError> {
        let mut stored = std::mem::take(&mut tools.stored);
        stored.resize(chunk.stored as usize, 0);
        let read = self.file.read_exact_at(&mut stored, chunk.offset);
        read.map_err(|error| StoreError::io("reading", &self.path, error))?;
        let fits = self.seal.is_some() || digest(&[&stored])[..CHECK_LEN] == chunk.check;
        let (number, len) = (chunk.number, chunk.len as usize);
        let bytes = open_chunk(self.seal.as_ref(), number, &mut stored, len, tools);
        tools.stored = stored;
        bytes
            .filter(|_| fits)
            .ok_or_else(|| StoreError::corrupt(&self.path, "a chunk is not what it was"))
    }
}

/// The chunks that an index lists, which fill the pack from the header to the index.
fn chunks(index: &[u8], header: u64, end: u64) -> Option<Vec<Chunk>> {
    let (entries, rest) = index.as_chunks::<INDEX_ENTRY_LEN>();
    let mut chunks = Vec::with_capacity(entries.len());
    let mut offset = header;
    for (number, entry) in (0u32..).zip(entries) {
        let [stored, len] = [32, 36].map(|at| self::number(&entry[at..at + 4]));
        chunks.push(Chunk {
            hash: Hash(entry[..32].try_into().expect("32 bytes")),
            number,
            offset,
            stored,
            len,
            check: entry[40..].try_into().expect("the rest is the check"),
        });
        if stored as usize > 2 * CHUNK_MAX || len as usize > CHUNK_MAX {
            return None;
        }
        offset += u64::from(stored);
    }
    (offset == end && rest.is_empty()).then_some(chunks)
}

/// Opens and decompresses a chunk of so many bytes.
fn open_chunk(
    seal: Option<&Seal>,
    number: u32,
    stored: &mut [u8],
    len: usize,
    tools: &mut Tools,
) -> Option<Vec<u8>> {
    let opened = match seal {
        Some(seal) => seal.open(number, stored)?,
        None => &*stored,
    };
    let (method, bytes) = opened.split_first()?;
    let bytes = match method {
        0 => bytes.to_vec(),
        1 => {
            if tools.decompressor.is_none() {
                tools.decompressor = Decompressor::new().ok();
            }
            tools.decompressor.as_mut()?.decompress(bytes, len).ok()?
        }
        _ => return None,
    };
    (bytes.len() == len).then_some(bytes)
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().expect("four bytes"))
}
