//! Where the chunks of a line are: all of its packs, opened, and their indexes in one.
//!
//! Costs about 80 bytes of memory for each chunk of the line while it is used. A pack that cannot
//! be opened is set aside: its chunks count as missing, and who misses one is told of that pack.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    StoreError,
    id::Hash,
    lines::Line,
    pack::{Chunk, Opened, Pack, SUFFIX, Tools},
};

/// The chunks of a line.
pub struct Index {
    line: PathBuf,
    pub packs: Vec<Opened>,
    /// By hash: the pack and the chunk's number in it.
    chunks: HashMap<Hash, (u32, u32)>,
    broken: Vec<(PathBuf, StoreError)>,
    tools: Tools,
}

impl Index {
    /// Reads what there is; a line that is not there has no chunks.
    pub fn load(line: &Line) -> Result<Self, StoreError> {
        let mut index = Self {
            line: line.path.clone(),
            packs: Vec::new(),
            chunks: HashMap::new(),
            broken: Vec::new(),
            tools: Tools::default(),
        };
        for path in files(&line.path)? {
            if path.extension().is_some_and(|suffix| suffix == SUFFIX) {
                match Pack::open(&path, line.key.as_ref()) {
                    Ok(opened) => index.packs.push(opened),
                    Err(error) => index.broken.push((path, error)),
                }
            }
        }
        // The largest first, so that of equal chunks those are taken that are likely to stay.
        index.packs.sort_unstable_by(|a, b| {
            (b.pack.bytes(), a.pack.path()).cmp(&(a.pack.bytes(), b.pack.path()))
        });
        let total = index.packs.iter().map(|opened| opened.chunks.len()).sum();
        index.chunks.reserve(total);
        for (number, opened) in (0u32..).zip(&index.packs) {
            for chunk in &opened.chunks {
                index
                    .chunks
                    .entry(chunk.hash)
                    .or_insert((number, chunk.number));
            }
        }
        Ok(index)
    }

    /// Whether a chunk is there.
    pub fn has(&self, hash: &Hash) -> bool {
        self.chunks.contains_key(hash)
    }

    /// The pack that a chunk is read from, and the chunk.
    pub fn find(&self, hash: &Hash) -> Option<(usize, &Chunk)> {
        let (pack, chunk) = *self.chunks.get(hash)?;
        let chunk = self.packs[pack as usize].chunks.get(chunk as usize)?;
        Some((pack as usize, chunk))
    }

    /// Reads and verifies a chunk.
    pub fn read(&mut self, hash: &Hash, what: &str) -> Result<Vec<u8>, StoreError> {
        let Some((pack, chunk)) = self.find(hash) else {
            return Err(self.missing(what));
        };
        let chunk = *chunk;
        self.packs[pack].pack.read(&chunk, &mut self.tools)
    }

    /// Packs that cannot be read.
    pub fn broken(&self) -> impl Iterator<Item = &Path> {
        self.broken.iter().map(|(path, _)| path.as_path())
    }

    /// What to say of a manifest that has the right hash and cannot be read: it was written wrongly.
    pub fn malformed(&self) -> StoreError {
        StoreError::corrupt(&self.line, "a manifest cannot be read")
    }

    /// Why a chunk is not there: it was in a pack that cannot be read, or nobody knows.
    pub fn missing(&mut self, what: &str) -> StoreError {
        match self.broken.pop() {
            Some((_, error)) => error,
            None => StoreError::Missing {
                path: self.line.clone(),
                what: what.to_owned(),
            },
        }
    }
}

/// The files of a line; none when it is not there.
pub fn files(line: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let failed = |error| StoreError::io("reading", line, error);
    let entries = match fs::read_dir(line) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    entries
        .map(|entry| entry.map(|entry| entry.path()).map_err(failed))
        .collect()
}
