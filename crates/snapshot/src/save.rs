//! Saving: frames come in, chunks that are not there yet go out, and a root at the end.
//!
//! The parent's records pass by in the same order as the frames, so what is unchanged is found
//! without a search and copied as it is. Holds one part of a manifest, one piece of a file and the
//! line's index in memory.

mod file;
mod part;

use std::sync::Arc;

use bytes::Bytes;
use protocol::{Entry, EntryKind, TreeEnd, TreeFrame, Unchanged};
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::{io::AsyncRead, sync::mpsc};

use crate::{
    SaveError, SnapshotId, StoreError,
    frames::{self, Frames, FramesError},
    id::Hash,
    index::Index,
    lines::{Line, Lines, blocking},
    manifest::{Content, PARTS_MAX, Peek, Record, Records, Root},
    pack::Writer,
};
use file::File;
use part::Part;

/// What was saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// The snapshot's name; the parent's, when nothing has changed since.
    pub id: SnapshotId,
    /// Plain files in it.
    pub files: u64,
    /// Bytes of all its files, holes included.
    pub bytes: u64,
    /// Bytes that this save wrote to the disk.
    pub written: u64,
    /// What the next save of the same sandbox asks its guest about.
    pub since_ns: i64,
    /// Entries that could not be read and are not in it.
    pub skipped: u64,
    /// Files that changed while they were read, each time.
    pub torn: u64,
    /// One of the skipped ones, with the reason.
    pub example: Option<String>,
}

pub async fn save(
    lines: &Arc<Lines>,
    name: &str,
    parent: Option<SnapshotId>,
    most: u64,
    source: impl AsyncRead + Unpin + Send,
) -> Result<Saved, SaveError> {
    let line = lines.line(name)?;
    let shared = lines.lock(name).read_owned().await;
    let (pieces, queue) = mpsc::channel(frames::QUEUE);
    let work = blocking(move || {
        let _shared = shared;
        Saving::begin(&line, parent, most)?.run(Frames::new(queue))
    });
    let ((), saved) = tokio::join!(frames::pump(source, pieces), work);
    saved
}

/// Chunks that are there and chunks that are being written.
pub struct Chunks {
    index: Index,
    writer: Writer,
}

impl Chunks {
    /// Keeps a chunk, if it is not kept yet.
    pub fn put(&mut self, bytes: &[u8]) -> Result<Hash, StoreError> {
        let hash = Hash::of(bytes);
        if !self.index.has(&hash) && !self.writer.has(&hash) {
            self.writer.add(hash, bytes)?;
        }
        Ok(hash)
    }
}

struct Saving {
    chunks: Chunks,
    parent: Option<Parent>,
    part: Part,
    parts: Vec<Hash>,
    /// The file whose content comes.
    file: Option<File>,
    /// The last entry's path, and whether it is a directory's.
    last: Option<(Bytes, bool)>,
    /// The last file that came in vain.
    voided: Option<Bytes>,
    /// Bytes of content that may still come.
    left: u64,
    files: u64,
    bytes: u64,
    torn: u64,
}

/// The parent's records, as far as they are not passed.
struct Parent {
    id: SnapshotId,
    root: Root,
    records: Records,
    next: Option<Peek>,
}

impl Saving {
    fn begin(line: &Line, parent: Option<SnapshotId>, left: u64) -> Result<Self, SaveError> {
        line.make()?;
        let mut index = Index::load(line)?;
        let parent = match parent {
            None => None,
            Some(id) => {
                let (root, mut records) = Records::open(&mut index, id)?;
                let next = records.next(&mut index)?;
                Some(Parent {
                    id,
                    root,
                    records,
                    next,
                })
            }
        };
        let writer = Writer::new(line)?;
        Ok(Self {
            chunks: Chunks { index, writer },
            parent,
            part: Part::default(),
            parts: Vec::new(),
            file: None,
            last: None,
            voided: None,
            left,
            files: 0,
            bytes: 0,
            torn: 0,
        })
    }

    fn run(mut self, mut frames: Frames) -> Result<Saved, SaveError> {
        loop {
            let frame = frames.next().map_err(|error| match error {
                FramesError::Source(error) => SaveError::Source(error),
                FramesError::Frame(error) => SaveError::Frame(error),
            })?;
            match (frame, self.file.as_mut()) {
                (TreeFrame::Data(bytes), Some(file)) => {
                    let left = self.left.checked_sub(bytes.len() as u64);
                    self.left = left.ok_or(SaveError::TooLarge("more content than it may"))?;
                    file.data(&bytes, &mut self.chunks)?;
                }
                (TreeFrame::Hole(len), Some(file)) => file.hole(len, &mut self.chunks)?,
                (TreeFrame::FileEnd { torn }, Some(_)) => self.end_of_file(torn)?,
                (TreeFrame::Void, Some(_)) => self.void()?,
                (TreeFrame::Entry(entry), None) => self.entry(entry)?,
                (TreeFrame::Unchanged(unchanged), None) => self.unchanged(&unchanged)?,
                (TreeFrame::End(end), None) => return self.end(end),
                (TreeFrame::Failed(refusal), _) => return Err(SaveError::Refused(refusal)),
                _ => {
                    return Err(SaveError::Order(
                        "a frame at a place where it means nothing",
                    ));
                }
            }
        }
    }

    fn entry(&mut self, entry: Entry) -> Result<(), SaveError> {
        self.advance(&entry.path, entry.is_dir())?;
        if let EntryKind::File { size } = entry.kind {
            self.file = Some(File::new(entry, size));
            return Ok(());
        }
        let content = Content::Segments(Vec::new());
        self.keep(&Record { entry, content })
    }

    fn end_of_file(&mut self, torn: bool) -> Result<(), SaveError> {
        let Some(file) = self.file.take() else {
            return Ok(());
        };
        let record = file.end(&mut self.chunks)?;
        self.torn += u64::from(torn);
        self.keep(&record)
    }

    /// Forgets a file that comes again. Once: a source may not fill the disk in vain.
    fn void(&mut self) -> Result<(), SaveError> {
        let path = self.file.take().map(File::into_path);
        if path == self.voided {
            return Err(SaveError::Order("a file that comes a third time"));
        }
        self.voided = path;
        Ok(())
    }

    fn keep(&mut self, record: &Record) -> Result<(), SaveError> {
        if let EntryKind::File { size } = record.entry.kind {
            self.count(size);
        }
        let path = &record.entry.path;
        self.last = Some((path.clone(), record.entry.is_dir()));
        self.push(&record.to_bytes(), &path.clone())
    }

    /// Takes what did not change from the parent.
    fn unchanged(&mut self, unchanged: &Unchanged) -> Result<(), SaveError> {
        self.advance(&unchanged.path, unchanged.dir)?;
        let here = |peek: &Peek| {
            (&peek.path, peek.dir, peek.mtime_ns, peek.size)
                == (
                    &unchanged.path,
                    unchanged.dir,
                    unchanged.mtime_ns,
                    unchanged.size,
                )
        };
        let next = self
            .parent
            .as_mut()
            .and_then(|parent| parent.next.take_if(|peek| here(peek)));
        let Some(peek) = next else {
            return Err(SaveError::NeedFull {
                path: unchanged.path.escape_ascii().to_string(),
            });
        };
        if peek.is_file() {
            self.count(peek.size);
        }
        self.last = Some((peek.path.clone(), peek.dir));
        self.push(peek.bytes(), &peek.path)
    }

    /// Checks that a path comes behind the last one, and passes what the parent has before it.
    fn advance(&mut self, path: &Bytes, dir: bool) -> Result<(), SaveError> {
        let before = |a: &Bytes, a_dir| protocol::order((a, a_dir), (path, dir)).is_lt();
        if self
            .last
            .as_ref()
            .is_some_and(|(last, last_dir)| !before(last, *last_dir))
        {
            return Err(SaveError::Order("a path before the last one"));
        }
        let Some(parent) = &mut self.parent else {
            return Ok(());
        };
        let index = &mut self.chunks.index;
        while parent
            .next
            .as_ref()
            .is_none_or(|peek| before(&peek.path, peek.dir))
        {
            parent.next = parent.records.next(index)?;
            if parent.next.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn count(&mut self, size: u64) {
        self.files += 1;
        self.bytes = self.bytes.saturating_add(size);
    }

    fn push(&mut self, record: &[u8], path: &[u8]) -> Result<(), SaveError> {
        if self.part.push(record, path)? {
            self.end_of_part()?;
        }
        Ok(())
    }

    fn end_of_part(&mut self) -> Result<(), SaveError> {
        if self.parts.len() >= PARTS_MAX {
            return Err(SaveError::TooLarge("more entries than can be kept"));
        }
        self.parts.push(self.chunks.put(&self.part.take())?);
        Ok(())
    }

    /// Writes the root, after which the snapshot exists.
    fn end(mut self, end: TreeEnd) -> Result<Saved, SaveError> {
        if !self.part.is_empty() {
            self.end_of_part()?;
        }
        let (id, written) = match self.parent {
            // A tree that is the parent's is the parent.
            Some(parent) if parent.root.parts == self.parts => (parent.id, 0),
            _ => {
                let root = Root {
                    salt: salt()?,
                    files: self.files,
                    bytes: self.bytes,
                    parts: self.parts,
                };
                let id = SnapshotId(self.chunks.put(&root.to_bytes())?);
                (id, self.chunks.writer.finish()?)
            }
        };
        Ok(Saved {
            id,
            files: self.files,
            bytes: self.bytes,
            written,
            since_ns: end.since_ns,
            skipped: end.skipped,
            torn: self.torn,
            example: end.example,
        })
    }
}

fn salt() -> Result<[u8; 16], StoreError> {
    let mut salt = [0; 16];
    let filled = SystemRandom::new().fill(&mut salt);
    filled.map_err(|_| StoreError::Aborted)?;
    Ok(salt)
}
