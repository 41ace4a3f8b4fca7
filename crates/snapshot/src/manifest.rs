//! What a snapshot says about its tree: the entries in order, and for each file where its content
//! is. This is a durable format of its own, whatever the link's frames become.
//!
//! ```text
//! root      version, when, a number that makes it unique, files, bytes, hashes of the parts
//! part      records, one behind the other, 64 or so: cut by the paths in them, so that ten
//!           changes among ten thousand entries change ten parts
//! record    length, kind, numbers, path, target, attributes, content
//! content   segments; of a file with many of them, hashes of lists of segments
//! segment   a hole of so many bytes, or a chunk by its hash and length
//! ```

mod bytes;
mod record;
mod root;

pub use record::{Content, INLINE_MAX, LIST_MAX, Peek, Record, Segment, read_list, write_list};
pub use root::{PARTS_MAX, Root};

use crate::{
    StoreError,
    id::{Hash, SnapshotId},
    index::Index,
};

/// The records of a snapshot, one after the other; holds one part at a time.
pub struct Records {
    parts: std::vec::IntoIter<Hash>,
    part: ::bytes::Bytes,
}

impl Records {
    /// The root and the records of a snapshot.
    pub fn open(index: &mut Index, id: SnapshotId) -> Result<(Root, Self), StoreError> {
        let root = Self::root(index, id)?;
        let records = Self::of(root.parts.clone());
        Ok((root, records))
    }

    /// The root of a snapshot.
    pub fn root(index: &mut Index, id: SnapshotId) -> Result<Root, StoreError> {
        let bytes = index.read(&id.0, &format!("snapshot {id}"))?;
        Root::read(&bytes).ok_or_else(|| index.malformed())
    }

    /// The records of some parts.
    pub fn of(parts: Vec<Hash>) -> Self {
        Self {
            parts: parts.into_iter(),
            part: ::bytes::Bytes::new(),
        }
    }

    /// The next record.
    pub fn next(&mut self, index: &mut Index) -> Result<Option<Peek>, StoreError> {
        if self.part.is_empty() {
            let Some(hash) = self.parts.next() else {
                return Ok(None);
            };
            self.part = index.read(&hash, "a part of a manifest")?.into();
        }
        let record = Peek::split_from(&mut self.part);
        record.map(Some).ok_or_else(|| index.malformed())
    }
}

/// Reads the record at which a peek was taken.
pub fn record(peek: &Peek, index: &mut Index) -> Result<Record, StoreError> {
    peek.read().ok_or_else(|| index.malformed())
}

/// Visits the content of a file, segment by segment.
pub fn segments<E: From<StoreError>>(
    content: &Content,
    index: &mut Index,
    mut visit: impl FnMut(&mut Index, Segment) -> Result<(), E>,
) -> Result<(), E> {
    match content {
        Content::Segments(segments) => {
            for segment in segments {
                visit(index, *segment)?;
            }
        }
        Content::Lists(lists) => {
            for list in lists {
                let bytes = index.read(list, "a part of a file's content")?;
                for segment in read_list(&bytes).ok_or_else(|| index.malformed())? {
                    visit(index, segment)?;
                }
            }
        }
    }
    Ok(())
}
