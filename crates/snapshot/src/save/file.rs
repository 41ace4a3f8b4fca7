//! One file, while its content comes.

use bytes::{Buf as _, Bytes, BytesMut};
use protocol::Entry;

use super::Chunks;
use crate::{
    SaveError, StoreError, chunk,
    manifest::{Content, INLINE_MAX, LIST_MAX, Record, Segment, write_list},
};

/// A file, as far as it came.
pub struct File {
    entry: Entry,
    size: u64,
    at: u64,
    /// What is not cut yet.
    pending: BytesMut,
    /// Segments behind the last full list.
    segments: Vec<Segment>,
    lists: Vec<crate::id::Hash>,
}

impl File {
    pub fn new(entry: Entry, size: u64) -> Self {
        Self {
            entry,
            size,
            at: 0,
            pending: BytesMut::new(),
            segments: Vec::new(),
            lists: Vec::new(),
        }
    }

    pub fn into_path(self) -> Bytes {
        self.entry.path
    }

    pub fn data(&mut self, bytes: &[u8], chunks: &mut Chunks) -> Result<(), SaveError> {
        self.advance(bytes.len() as u64)?;
        if self.pending.is_empty() && bytes.len() <= chunk::MIN && bytes.len() as u64 == self.size {
            // Most files are one short piece.
            return Ok(self.chunk(bytes, chunks)?);
        }
        self.pending.extend_from_slice(bytes);
        while self.pending.len() >= chunk::MAX {
            self.cut(chunks)?;
        }
        Ok(())
    }

    pub fn hole(&mut self, len: u64, chunks: &mut Chunks) -> Result<(), SaveError> {
        self.advance(len)?;
        self.flush(chunks)?;
        Ok(self.segment(Segment::Hole(len), false, chunks)?)
    }

    /// The record of the file, whole.
    pub fn end(mut self, chunks: &mut Chunks) -> Result<Record, SaveError> {
        if self.at != self.size {
            return Err(SaveError::Order("a file shorter than it says"));
        }
        self.flush(chunks)?;
        if self.lists.is_empty() && self.segments.len() <= INLINE_MAX {
            let content = Content::Segments(self.segments);
            return Ok(Record {
                entry: self.entry,
                content,
            });
        }
        if !self.segments.is_empty() {
            self.list(chunks)?;
        }
        Ok(Record {
            entry: self.entry,
            content: Content::Lists(self.lists),
        })
    }

    fn advance(&mut self, len: u64) -> Result<(), SaveError> {
        if len == 0 {
            return Err(SaveError::Order("nothing as a piece of a file"));
        }
        let at = self.at.checked_add(len).filter(|at| *at <= self.size);
        self.at = at.ok_or(SaveError::Order("a file longer than it says"))?;
        Ok(())
    }

    fn flush(&mut self, chunks: &mut Chunks) -> Result<(), StoreError> {
        while !self.pending.is_empty() {
            self.cut(chunks)?;
        }
        Ok(())
    }

    fn cut(&mut self, chunks: &mut Chunks) -> Result<(), StoreError> {
        let most = self.pending.len().min(chunk::MAX);
        let end = chunk::cut(&self.pending[..most]);
        let pending = std::mem::take(&mut self.pending);
        let kept = self.chunk(&pending[..end], chunks);
        self.pending = pending;
        self.pending.advance(end);
        kept
    }

    fn chunk(&mut self, bytes: &[u8], chunks: &mut Chunks) -> Result<(), StoreError> {
        let hash = chunks.put(bytes)?;
        let len = u32::try_from(bytes.len()).expect("chunks are short");
        // One of 128 chunks ends a list, by what is in it, so that a change in a long file
        // changes one list.
        let ends = hash.0[0] >= 254;
        self.segment(Segment::Chunk { hash, len }, ends, chunks)
    }

    fn segment(
        &mut self,
        segment: Segment,
        ends: bool,
        chunks: &mut Chunks,
    ) -> Result<(), StoreError> {
        self.segments.push(segment);
        // The segments of a short file stay in its record.
        let full = self.segments.len() >= LIST_MAX;
        if full || ends && (self.segments.len() > INLINE_MAX || !self.lists.is_empty()) {
            self.list(chunks)?;
        }
        Ok(())
    }

    fn list(&mut self, chunks: &mut Chunks) -> Result<(), StoreError> {
        let list = write_list(&self.segments);
        self.segments.clear();
        self.lists.push(chunks.put(&list)?);
        Ok(())
    }
}
