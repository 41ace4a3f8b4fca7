//! Writing packs.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, BufWriter, Write as _},
    path::PathBuf,
};

use ring::{
    digest::{Context, SHA256},
    rand::{SecureRandom as _, SystemRandom},
};
use zstd::bulk::Compressor;

use super::{
    CHECK_LEN, CHUNK_MAX, CHUNKS_MAX, END_MAGIC, HEADER_LEN, INDEX_ENTRY_LEN, MAGIC, PARTIAL,
    SALT_LEN, SEALED, SUFFIX, VERSION, seal,
};
use crate::{StoreError, id::Hash, lines::Line};
use seal::Seal;

/// zstd's fastest: measured on source code it packs a tenth less than the default and takes a
/// third of its time.
const LEVEL: i32 = 1;

/// Bytes after which another pack is begun, so that no rewriting is ever large.
const PACK_MAX: u64 = 128 * 1024 * 1024;

/// Bytes gathered for one write.
const BUFFER: usize = 256 * 1024;

/// Writes chunks into packs of a line. What was not finished is gone when it is dropped.
pub struct Writer {
    line: Line,
    compressor: Compressor<'static>,
    /// The pack that is being written.
    current: Option<Current>,
    /// Chunks in all packs of this writer.
    written: HashSet<Hash>,
    /// Bytes of the packs that are finished.
    bytes: u64,
    chunk: Vec<u8>,
}

struct Current {
    path: PathBuf,
    file: BufWriter<File>,
    header: Vec<u8>,
    seal: Option<Seal>,
    index: Vec<u8>,
    count: u32,
    offset: u64,
}

impl Writer {
    /// A writer for a line whose directory exists.
    pub fn new(line: &Line) -> Result<Self, StoreError> {
        let failed = |error| StoreError::io("preparing to compress for", &line.path, error);
        Ok(Self {
            line: line.clone(),
            compressor: Compressor::new(LEVEL).map_err(failed)?,
            current: None,
            written: HashSet::new(),
            bytes: 0,
            chunk: Vec::new(),
        })
    }

    /// Whether this writer has written the chunk.
    pub fn has(&self, hash: &Hash) -> bool {
        self.written.contains(hash)
    }

    /// Writes a chunk that is not there yet.
    ///
    /// # Panics
    /// When it is longer than [`CHUNK_MAX`]; the caller cuts.
    pub fn add(&mut self, hash: Hash, bytes: &[u8]) -> Result<(), StoreError> {
        assert!(bytes.len() <= CHUNK_MAX, "the caller cuts");
        let full = |pack: &Current| pack.offset > PACK_MAX || pack.count as usize >= CHUNKS_MAX;
        if self.current.as_ref().is_some_and(full) {
            self.finish_pack()?;
        }
        let pack = match &mut self.current {
            Some(pack) => pack,
            none => none.insert(Current::begin(&self.line)?),
        };
        compress(&mut self.compressor, bytes, &mut self.chunk)
            .map_err(|error| StoreError::io("compressing for", &pack.path, error))?;
        pack.push(hash, &mut self.chunk, bytes.len())?;
        self.written.insert(hash);
        Ok(())
    }

    /// Finishes what was begun, durably, and says how many bytes all packs have.
    pub fn finish(mut self) -> Result<u64, StoreError> {
        self.finish_pack()?;
        self.line.sync()?;
        Ok(self.bytes)
    }

    fn finish_pack(&mut self) -> Result<(), StoreError> {
        if let Some(pack) = self.current.take() {
            self.bytes += pack.finish(&self.line, &mut self.compressor)?;
        }
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(pack) = &self.current {
            // What stays is removed when the line is collected.
            let _ = fs::remove_file(&pack.path);
        }
    }
}

impl Current {
    fn begin(line: &Line) -> Result<Self, StoreError> {
        let mut random = [0; 16 + SALT_LEN];
        SystemRandom::new().fill(&mut random).map_err(|_| {
            StoreError::io("naming a pack in", &line.path, io::ErrorKind::Other.into())
        })?;
        let (name, salt) = random.split_first_chunk::<16>().expect("it is longer");
        let name: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = line.path.join(format!("{name}.{PARTIAL}"));
        let mut header = [0; HEADER_LEN].to_vec();
        header[..8].copy_from_slice(MAGIC);
        header[8] = VERSION;
        let salt: &[u8; SALT_LEN] = salt.try_into().expect("the rest is the salt");
        let seal = line.key.as_ref().map(|key| {
            header[9] = SEALED;
            header.extend_from_slice(salt);
            Seal::new(key, salt)
        });
        let file = File::options().write(true).create_new(true).open(&path);
        let file = file.map_err(|error| StoreError::io("making", &path, error))?;
        let mut file = BufWriter::with_capacity(BUFFER, file);
        let begun = file.write_all(&header);
        begun.map_err(|error| StoreError::io("writing", &path, error))?;
        Ok(Self {
            path,
            file,
            offset: header.len() as u64,
            header,
            seal,
            index: Vec::new(),
            count: 0,
        })
    }

    /// Seals and writes a compressed chunk of so many bytes.
    fn push(&mut self, hash: Hash, chunk: &mut Vec<u8>, len: usize) -> Result<(), StoreError> {
        let mut check = [0; CHECK_LEN];
        match &self.seal {
            Some(seal) => seal.seal(self.count, chunk),
            None => check.copy_from_slice(&digest(&[chunk])[..CHECK_LEN]),
        }
        let (stored, len) = (length(chunk.len()), length(len));
        self.index.extend_from_slice(&hash.0);
        self.index.extend_from_slice(&stored.to_be_bytes());
        self.index.extend_from_slice(&len.to_be_bytes());
        self.index.extend_from_slice(&check);
        self.count += 1;
        self.offset += u64::from(stored);
        let written = self.file.write_all(chunk);
        written.map_err(|error| StoreError::io("writing", &self.path, error))
    }

    /// Writes the index, syncs, and gives the pack its name. Says how many bytes it has.
    fn finish(
        mut self,
        line: &Line,
        compressor: &mut Compressor<'static>,
    ) -> Result<u64, StoreError> {
        let failed = |error| StoreError::io("writing", &self.path, error);
        let mut index = Vec::new();
        compress(compressor, &self.index, &mut index).map_err(failed)?;
        if let Some(seal) = &self.seal {
            seal.seal(seal::INDEX, &mut index);
        }
        let mut end = Vec::new();
        end.extend_from_slice(&self.offset.to_be_bytes());
        end.extend_from_slice(&length(index.len()).to_be_bytes());
        end.extend_from_slice(&length(self.index.len()).to_be_bytes());
        let digest = digest(&[&self.header, &index, &end]);
        end.extend_from_slice(&digest);
        end.extend_from_slice(END_MAGIC);
        let bytes = self.offset + index.len() as u64 + end.len() as u64;
        let path = self.path.with_extension(SUFFIX);
        let named = (|| {
            self.file.write_all(&index)?;
            self.file.write_all(&end)?;
            self.file.flush()?;
            self.file.get_ref().sync_data()?;
            fs::rename(&self.path, &path)
        })();
        if let Err(error) = named {
            let _ = fs::remove_file(&self.path);
            return Err(StoreError::io("writing", &line.path, error));
        }
        Ok(bytes)
    }
}

const _: () = assert!(CHUNKS_MAX * INDEX_ENTRY_LEN < u32::MAX as usize);

fn length(len: usize) -> u32 {
    u32::try_from(len).expect("chunks and indexes are bounded below 4 GiB")
}

/// The digest that a footer carries.
pub fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    parts.iter().for_each(|part| context.update(part));
    let digest = context.finish();
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// Puts the method and the bytes into a buffer, compressed when that saves something.
fn compress(
    compressor: &mut Compressor<'static>,
    bytes: &[u8],
    out: &mut Vec<u8>,
) -> io::Result<()> {
    out.clear();
    out.resize(1 + zstd::zstd_safe::compress_bound(bytes.len()), 0);
    let len = compressor.compress_to_buffer(bytes, &mut out[1..])?;
    if len < bytes.len() {
        out[0] = 1;
        out.truncate(1 + len);
    } else {
        out.truncate(1);
        out[0] = 0;
        out.extend_from_slice(bytes);
    }
    Ok(())
}
