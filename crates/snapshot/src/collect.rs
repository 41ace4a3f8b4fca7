//! Collecting: what no live snapshot needs goes.
//!
//! 1. Mark: everything that the live snapshots reach. If one of them is not whole, stop here.
//! 2. Rewrite: chunks that live in packs which are mostly dead, or in many small ones, are
//!    written into new packs. These are durable before the next step.
//! 3. Remove: packs in which nothing is needed any more, and what was begun and never finished.
//!
//! A crash between any two calls to the system leaves a line in which every live snapshot is
//! whole: at worst with chunks in two packs, which the next time finds.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::Path,
    sync::Arc,
};

use tracing::warn;

use crate::{
    CollectError, SnapshotId, StoreError,
    id::Hash,
    index::{self, Index},
    lines::{Line, Lines, blocking},
    manifest::{self, Content, Records, Segment},
    pack::{PARTIAL, Writer},
};

/// Packs below this count as small. Each save makes one.
const SMALL: u64 = 4 * 1024 * 1024;

/// Small packs that may stay: an index is read for each of them by every save.
const SMALL_MAX: usize = 16;

/// What a collection did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Packs that are gone.
    pub removed: u64,
    /// Bytes that went with them.
    pub freed: u64,
    /// Bytes that were written anew for it.
    pub rewritten: u64,
}

/// What a snapshot needs.
#[derive(Default)]
pub struct Marked {
    pub chunks: HashSet<Hash>,
    /// Packs by their number in the index.
    pub packs: HashSet<usize>,
}

pub async fn collect(
    lines: &Arc<Lines>,
    name: &str,
    live: Vec<SnapshotId>,
) -> Result<Collected, CollectError> {
    let line = lines.line(name)?;
    let Ok(alone) = lines.lock(name).try_write_owned() else {
        return Err(CollectError::Busy);
    };
    blocking(move || {
        let _alone = alone;
        run(&line, &live)
    })
    .await
}

fn run(line: &Line, live: &[SnapshotId]) -> Result<Collected, CollectError> {
    let mut index = Index::load(line)?;
    let mut marked = Marked::default();
    for id in live {
        mark_into(&mut marked, &mut index, *id)
            .map_err(|source| CollectError::Broken { id: *id, source })?;
    }
    let worn = worn(&index, &marked);
    let rewritten = rewrite(line, &mut index, &marked, &worn)?;
    let mut collected = Collected {
        rewritten,
        ..Collected::default()
    };
    for (number, opened) in index.packs.iter().enumerate() {
        if worn.contains(&number) || !marked.packs.contains(&number) {
            remove(opened.pack.path())?;
            collected.removed += 1;
            collected.freed += opened.pack.bytes();
        }
    }
    for path in index.broken() {
        // Everything that lives was found elsewhere.
        warn!(path = %path.display(), "removing a damaged pack that nothing needs: {}", path.display());
        collected.freed += fs::metadata(path).map_or(0, |file| file.len());
        remove(path)?;
        collected.removed += 1;
    }
    for path in index::files(&line.path)? {
        if path.extension().is_some_and(|suffix| suffix == PARTIAL) {
            remove(&path)?;
        }
    }
    if collected.removed > 0 {
        line.sync()?;
    }
    Ok(collected)
}

/// Everything that a snapshot needs.
pub fn mark(index: &mut Index, id: SnapshotId) -> Result<Marked, StoreError> {
    let mut marked = Marked::default();
    mark_into(&mut marked, index, id)?;
    Ok(marked)
}

fn mark_into(marked: &mut Marked, index: &mut Index, id: SnapshotId) -> Result<(), StoreError> {
    let root = Records::root(index, id)?;
    marked.add(index, id.0, "a snapshot")?;
    for part in root.parts {
        // A part that another snapshot has too was visited with all it names.
        if !marked.add(index, part, "a part of a manifest")? {
            continue;
        }
        let mut records = Records::of(vec![part]);
        while let Some(peek) = records.next(index)? {
            if !peek.is_file() {
                continue;
            }
            let content = manifest::record(&peek, index)?.content;
            if let Content::Lists(lists) = &content {
                for list in lists {
                    marked.add(index, *list, "a part of a file's content")?;
                }
            }
            manifest::segments(&content, index, |index, segment| {
                if let Segment::Chunk { hash, .. } = segment {
                    marked.add(index, hash, "a part of a file")?;
                }
                Ok::<_, StoreError>(())
            })?;
        }
    }
    Ok(())
}

impl Marked {
    /// Marks a chunk, and says whether it was not marked before.
    fn add(&mut self, index: &mut Index, hash: Hash, what: &str) -> Result<bool, StoreError> {
        if !self.chunks.insert(hash) {
            return Ok(false);
        }
        match index.find(&hash) {
            Some((pack, _)) => {
                self.packs.insert(pack);
                Ok(true)
            }
            None => Err(index.missing(what)),
        }
    }
}

/// Packs that are needed and worth writing anew: those that are mostly dead, and all small ones
/// when there are too many.
fn worn(index: &Index, marked: &Marked) -> HashSet<usize> {
    let mut alive: HashMap<usize, u64> = HashMap::new();
    for hash in &marked.chunks {
        if let Some((pack, chunk)) = index.find(hash) {
            *alive.entry(pack).or_default() += u64::from(chunk.stored);
        }
    }
    let bytes = |pack: usize| index.packs[pack].pack.bytes();
    let small: Vec<usize> = alive
        .keys()
        .copied()
        .filter(|pack| bytes(*pack) < SMALL)
        .collect();
    // Of the chunks alone: what surrounds them is most of a pack with one chunk, and stays so.
    let all = |pack: usize| -> u64 {
        let chunks = index.packs[pack].chunks.iter();
        chunks.map(|chunk| u64::from(chunk.stored)).sum()
    };
    let mut worn: HashSet<usize> = alive
        .iter()
        .filter(|(pack, alive)| **alive < all(**pack) / 2)
        .map(|(pack, _)| *pack)
        .collect();
    if small.len() > SMALL_MAX {
        worn.extend(small);
    }
    worn
}

/// Writes what lives in some packs into new ones. Says how many bytes these have.
fn rewrite(
    line: &Line,
    index: &mut Index,
    marked: &Marked,
    worn: &HashSet<usize>,
) -> Result<u64, StoreError> {
    if worn.is_empty() {
        return Ok(0);
    }
    let mut writer = Writer::new(line)?;
    for pack in worn {
        for number in 0..index.packs[*pack].chunks.len() {
            let hash = index.packs[*pack].chunks[number].hash;
            // Of a chunk that is in two packs, one place is the right one.
            let here = index.find(&hash).is_some_and(|(right, _)| right == *pack);
            if here && marked.chunks.contains(&hash) {
                let bytes = index.read(&hash, "a chunk")?;
                if Hash::of(&bytes) != hash {
                    let path = index.packs[*pack].pack.path();
                    return Err(StoreError::corrupt(
                        path,
                        "a chunk is not what it is called",
                    ));
                }
                writer.add(hash, &bytes)?;
            }
        }
    }
    writer.finish()
}

fn remove(path: &Path) -> Result<(), StoreError> {
    fs::remove_file(path).map_err(|error| StoreError::io("removing", path, error))
}
