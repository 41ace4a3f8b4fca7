//! One entry with its content.

use bytes::{Buf as _, BufMut as _, Bytes};
use protocol::{Entry, EntryKind, Xattr};

use super::bytes::{put_run, take_hash, take_run};
use crate::id::Hash;

/// Segments that stand in the record itself. More of them are put into lists.
pub const INLINE_MAX: usize = 64;

/// The most segments of one list.
pub const LIST_MAX: usize = 1024;

const DIR: u8 = 1;
const FILE: u8 = 2;
const SYMLINK: u8 = 3;
const HARDLINK: u8 = 4;

const HOLE: u8 = 0;
const CHUNK: u8 = 1;

/// Where a path begins in a record, behind the length and the numbers.
const NUMBERS_LEN: usize = 1 + 8 + 8 + 4 + 4 + 4;

/// An entry and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub entry: Entry,
    pub content: Content,
}

/// The content of a file; empty for everything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Segments(Vec<Segment>),
    /// Hashes of lists of segments.
    Lists(Vec<Hash>),
}

/// A piece of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segment {
    /// So many bytes that read as zeros.
    Hole(u64),
    /// A chunk of so many bytes.
    Chunk { hash: Hash, len: u32 },
}

/// A record of which only so much is read as is needed to place it.
#[derive(Debug, Clone)]
pub struct Peek {
    /// All of it, behind its length.
    bytes: Bytes,
    pub path: Bytes,
    pub dir: bool,
    pub size: u64,
    pub mtime_ns: i64,
}

impl Peek {
    /// Takes the next record of a part.
    pub fn split_from(part: &mut Bytes) -> Option<Self> {
        let bytes = take_run(part)?;
        let mut from = bytes.clone();
        let dir = from.try_get_u8().ok()? == DIR;
        let size = from.try_get_u64().ok()?;
        let mtime_ns = from.try_get_i64().ok()?;
        let mut rest = bytes.slice_ref(from.get(12..)?);
        let path = take_run(&mut rest).filter(|path| protocol::is_tree_path(path))?;
        Some(Self {
            bytes,
            path,
            dir,
            size,
            mtime_ns,
        })
    }

    /// The record as it is kept, to be written again.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether it is a plain file, and no further name of one.
    pub fn is_file(&self) -> bool {
        self.bytes.first() == Some(&FILE)
    }

    /// All of it.
    pub fn read(&self) -> Option<Record> {
        let mut from = self.bytes.slice(NUMBERS_LEN - 12..);
        let mode = from.try_get_u32().ok()?;
        let uid = from.try_get_u32().ok()?;
        let gid = from.try_get_u32().ok()?;
        let path = take_run(&mut from)?;
        let target = take_run(&mut from)?;
        let kind = match self.bytes[0] {
            DIR => EntryKind::Dir,
            FILE => EntryKind::File { size: self.size },
            SYMLINK => EntryKind::Symlink { target },
            HARDLINK => EntryKind::Hardlink { target },
            _ => return None,
        };
        let mut xattrs = Vec::new();
        for _ in 0..from.try_get_u16().ok()? {
            let name = take_run(&mut from)?;
            let value = take_run(&mut from)?;
            xattrs.push(Xattr { name, value });
        }
        let content = read_content(&mut from)?;
        let entry = Entry {
            path,
            kind,
            mode,
            uid,
            gid,
            mtime_ns: self.mtime_ns,
            xattrs,
        };
        from.is_empty().then_some(Record { entry, content })
    }
}

impl Record {
    /// As it is kept, behind its length.
    pub fn to_bytes(&self) -> Vec<u8> {
        let none = Bytes::new();
        let (kind, size, target) = match &self.entry.kind {
            EntryKind::Dir => (DIR, 0, &none),
            EntryKind::File { size } => (FILE, *size, &none),
            EntryKind::Symlink { target } => (SYMLINK, 0, target),
            EntryKind::Hardlink { target } => (HARDLINK, 0, target),
        };
        let mut out = Vec::with_capacity(128);
        out.put_u8(kind);
        out.put_u64(size);
        out.put_i64(self.entry.mtime_ns);
        out.put_u32(self.entry.mode);
        out.put_u32(self.entry.uid);
        out.put_u32(self.entry.gid);
        put_run(&mut out, &self.entry.path);
        put_run(&mut out, target);
        // A frame with more attributes than this is longer than a frame may be.
        out.put_u16(u16::try_from(self.entry.xattrs.len()).unwrap_or(u16::MAX));
        for xattr in &self.entry.xattrs {
            put_run(&mut out, &xattr.name);
            put_run(&mut out, &xattr.value);
        }
        write_content(&mut out, &self.content);
        out
    }
}

fn write_content(out: &mut Vec<u8>, content: &Content) {
    match content {
        Content::Segments(segments) => {
            out.put_u8(0);
            write_segments(out, segments);
        }
        Content::Lists(lists) => {
            out.put_u8(1);
            lists.iter().for_each(|list| out.put_slice(&list.0));
        }
    }
}

fn read_content(from: &mut Bytes) -> Option<Content> {
    match from.try_get_u8().ok()? {
        0 => read_segments(from).map(Content::Segments),
        1 => {
            let mut lists = Vec::with_capacity(from.len() / 32);
            while !from.is_empty() {
                lists.push(take_hash(from)?);
            }
            Some(Content::Lists(lists))
        }
        _ => None,
    }
}

/// A list of segments as it is kept.
pub fn write_list(segments: &[Segment]) -> Vec<u8> {
    let mut out = Vec::with_capacity(segments.len() * 37);
    write_segments(&mut out, segments);
    out
}

/// `None` when it is none.
pub fn read_list(bytes: &[u8]) -> Option<Vec<Segment>> {
    read_segments(&mut Bytes::copy_from_slice(bytes))
}

fn write_segments(out: &mut Vec<u8>, segments: &[Segment]) {
    for segment in segments {
        match segment {
            Segment::Hole(len) => {
                out.put_u8(HOLE);
                out.put_u64(*len);
            }
            Segment::Chunk { hash, len } => {
                out.put_u8(CHUNK);
                out.put_u32(*len);
                out.put_slice(&hash.0);
            }
        }
    }
}

fn read_segments(from: &mut Bytes) -> Option<Vec<Segment>> {
    let mut segments = Vec::with_capacity(from.len() / 37);
    while !from.is_empty() {
        segments.push(match from.try_get_u8().ok()? {
            HOLE => Segment::Hole(from.try_get_u64().ok()?),
            CHUNK => {
                let len = from.try_get_u32().ok()?;
                let hash = take_hash(from)?;
                Segment::Chunk { hash, len }
            }
            _ => return None,
        });
    }
    Some(segments)
}
