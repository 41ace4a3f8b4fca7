//! What flows on the stream of a saved file tree, in either direction.
//!
//! ```text
//! tree    := item* (End | Failed)
//! item    := Unchanged                          nothing of it changed since the last save
//!          | Entry                              a directory or a link
//!          | Entry (Data | Hole)* FileEnd       a file, its size in bytes and holes
//!          | Entry (Data | Hole)* Void item     it changed meanwhile: forget it, once more
//!          | Mark                               in a restored tree: say when all before it is made
//! ```
//!
//! Paths are bytes relative to the root of the file system (`workspace/src/main.rs`), parents
//! come before what is in them, and no path comes twice. The end is a frame of its own, because
//! the end of a stream alone cannot tell a whole tree from one whose sender died.
//!
//! The order is that of [`order`]: a directory, what is in it but directories, then its
//! directories one after the other. So two trees can be compared while both pass by.

use std::cmp::Ordering;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::{Frame, FrameError, Refusal, process_frame::empty};

/// The longest payload in bytes; longer pieces of a file are split.
pub const TREE_CHUNK_MAX: usize = 256 * 1024;

/// The longest path and link target in bytes: what Linux takes in one call, less its NUL.
pub const TREE_PATH_MAX: usize = 4095;

/// The most bytes of extended attributes, names and values, that one entry may have.
pub const TREE_XATTRS_MAX: usize = 128 * 1024;

const ENTRY: u8 = 0x51;
const UNCHANGED: u8 = 0x52;
const DATA: u8 = 0x53;
const HOLE: u8 = 0x54;
const FILE_END: u8 = 0x55;
const VOID: u8 = 0x56;
const END: u8 = 0x57;
const FAILED: u8 = 0x58;
const MARK: u8 = 0x59;

const DIR: u8 = 1;
const FILE: u8 = 2;
const SYMLINK: u8 = 3;
const HARDLINK: u8 = 4;

/// A piece of a tree, or how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TreeFrame {
    /// Something in the tree. The content of a file follows.
    Entry(Entry),
    /// Something in the tree of which nothing changed since the time that was asked about.
    Unchanged(Unchanged),
    /// The next bytes of the file.
    Data(Bytes),
    /// So many bytes of the file are a hole and read as zeros.
    Hole(u64),
    /// The file is whole.
    FileEnd {
        /// It changed while it was read, twice: what came is no state that it was ever in.
        torn: bool,
    },
    /// Instead of [`TreeFrame::FileEnd`]: it changed while it was read. The same path follows anew.
    Void,
    /// From the host, between two entries of a tree that is restored: everything before it is
    /// needed early. From the guest: it is made. At most one in a tree.
    Mark,
    /// From the sender: the tree is whole. From the restoring guest: everything is made.
    End(TreeEnd),
    /// It could not be finished; what was written so far stays.
    Failed(Refusal),
}

/// What there is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the root, without `.`, `..`, empty names and a slash at either end.
    pub path: Bytes,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits with set-user-id, set-group-id and sticky.
    pub mode: u32,
    /// The owner's id inside.
    pub uid: u32,
    /// The group's id inside.
    pub gid: u32,
    /// When its content changed last, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Extended attributes, sorted by name.
    pub xattrs: Vec<Xattr>,
}

/// The kinds of entries. Sockets, pipes and devices are in no tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Dir,
    /// A plain file of so many bytes, holes included.
    File {
        /// Bytes.
        size: u64,
    },
    /// A symbolic link with whatever it says.
    Symlink {
        /// What it points to; any bytes.
        target: Bytes,
    },
    /// A further name of a file that came before.
    Hardlink {
        /// The path that came before.
        target: Bytes,
    },
}

/// An extended attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Xattr {
    /// Its name with the namespace: `user.origin`.
    pub name: Bytes,
    /// Its value.
    pub value: Bytes,
}

/// Enough of an unchanged entry to find it and to notice a mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unchanged {
    /// As in [`Entry`].
    pub path: Bytes,
    /// Whether it is a directory, which the order depends on.
    pub dir: bool,
    /// Bytes of a file, 0 of anything else.
    pub size: u64,
    /// As in [`Entry`].
    pub mtime_ns: i64,
}

/// How a tree ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TreeEnd {
    /// What the next save asks about: everything that changes from now on changes after it. In
    /// nanoseconds, and only good for the guest that said it.
    pub since_ns: i64,
    /// Saving: entries that could not be read. Restoring: attributes that could not be set.
    pub skipped: u64,
    /// One of them, with the reason, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub example: Option<String>,
}

impl Entry {
    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind == EntryKind::Dir
    }
}

/// The order of entries in a tree: by directory, a directory before what is in it, and what is
/// in it before its directories. Takes paths, each with whether it is a directory's.
pub fn order(a: (&[u8], bool), b: (&[u8], bool)) -> Ordering {
    // A directory stands in its own list, before the names in it.
    let place = |(path, dir): (&'_ [u8], bool)| match (dir, memrchr(path)) {
        (true, _) => (path.len(), path.len()),
        (false, Some(slash)) => (slash, slash + 1),
        (false, None) => (0, 0),
    };
    let ((a_dir, a_name), (b_dir, b_name)) = (place(a), place(b));
    names(&a.0[..a_dir])
        .cmp(names(&b.0[..b_dir]))
        .then_with(|| a.0[a_name..].cmp(&b.0[b_name..]))
}

fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty())
}

fn memrchr(path: &[u8]) -> Option<usize> {
    path.iter().rposition(|byte| *byte == b'/')
}

/// Whether bytes are a path as entries have them.
pub fn is_tree_path(path: &[u8]) -> bool {
    let name = |name: &[u8]| !matches!(name, b"" | b"." | b"..");
    path.len() <= TREE_PATH_MAX && !path.contains(&0) && path.split(|byte| *byte == b'/').all(name)
}

impl Frame for TreeFrame {
    const PAYLOAD_MAX: usize = TREE_CHUNK_MAX;

    fn read(kind: u8, mut payload: Bytes) -> Result<Self, FrameError> {
        let bad = FrameError::BadPayload {
            kind,
            len: payload.len(),
        };
        match kind {
            DATA => Ok(Self::Data(payload)),
            ENTRY => entry(&mut payload).map(Self::Entry).ok_or(bad),
            UNCHANGED => unchanged(&mut payload).map(Self::Unchanged).ok_or(bad),
            HOLE => match payload.try_get_u64() {
                Ok(len) if payload.is_empty() => Ok(Self::Hole(len)),
                _ => Err(bad),
            },
            FILE_END => match payload[..] {
                [torn @ 0..=1] => Ok(Self::FileEnd { torn: torn == 1 }),
                _ => Err(bad),
            },
            VOID => empty(&payload, Self::Void, bad),
            MARK => empty(&payload, Self::Mark, bad),
            END => json(&payload).map(Self::End).ok_or(bad),
            FAILED => json(&payload).map(Self::Failed).ok_or(bad),
            _ => Err(FrameError::UnknownKind { kind }),
        }
    }

    fn parts(&self) -> (u8, Bytes) {
        match self {
            Self::Entry(entry) => (ENTRY, entry_bytes(entry)),
            Self::Unchanged(unchanged) => (UNCHANGED, unchanged_bytes(unchanged)),
            Self::Data(bytes) => (DATA, bytes.clone()),
            Self::Hole(len) => (HOLE, Bytes::copy_from_slice(&len.to_be_bytes())),
            Self::FileEnd { torn: false } => (FILE_END, Bytes::from_static(&[0])),
            Self::FileEnd { torn: true } => (FILE_END, Bytes::from_static(&[1])),
            Self::Void => (VOID, Bytes::new()),
            Self::Mark => (MARK, Bytes::new()),
            Self::End(end) => (END, to_json(end)),
            Self::Failed(refusal) => (FAILED, to_json(refusal)),
        }
    }
}

impl TreeFrame {
    /// The bytes before a piece of a file that the sender reads behind them.
    pub fn data_header(len: usize) -> [u8; crate::HEADER_LEN] {
        crate::header(DATA, len)
    }
}

fn json<T: serde::de::DeserializeOwned>(payload: &[u8]) -> Option<T> {
    serde_json::from_slice(payload).ok()
}

fn to_json<T: Serialize>(value: &T) -> Bytes {
    serde_json::to_vec(value)
        .expect("numbers and strings are always JSON")
        .into()
}

/// The bytes of an entry: fixed numbers, then everything that has a length.
fn entry_bytes(entry: &Entry) -> Bytes {
    let (kind, size, target) = match &entry.kind {
        EntryKind::Dir => (DIR, 0, &b""[..]),
        EntryKind::File { size } => (FILE, *size, &b""[..]),
        EntryKind::Symlink { target } => (SYMLINK, 0, &target[..]),
        EntryKind::Hardlink { target } => (HARDLINK, 0, &target[..]),
    };
    let mut out = BytesMut::with_capacity(48 + entry.path.len() + target.len());
    out.put_u8(kind);
    out.put_u32(entry.mode);
    out.put_u32(entry.uid);
    out.put_u32(entry.gid);
    out.put_u64(size);
    out.put_i64(entry.mtime_ns);
    put_short(&mut out, &entry.path);
    put_short(&mut out, target);
    for xattr in &entry.xattrs {
        put_short(&mut out, &xattr.name);
        out.put_u32(u32::try_from(xattr.value.len()).expect("attributes are far below 4 GiB"));
        out.put_slice(&xattr.value);
    }
    out.freeze()
}

fn entry(from: &mut Bytes) -> Option<Entry> {
    let kind = from.try_get_u8().ok()?;
    let mode = from.try_get_u32().ok()?;
    let uid = from.try_get_u32().ok()?;
    let gid = from.try_get_u32().ok()?;
    let size = from.try_get_u64().ok()?;
    let mtime_ns = from.try_get_i64().ok()?;
    let path = get_short(from).filter(|path| is_tree_path(path))?;
    let target = get_short(from)?;
    let kind = match kind {
        DIR if size == 0 && target.is_empty() => EntryKind::Dir,
        FILE if target.is_empty() => EntryKind::File { size },
        SYMLINK if size == 0 && (1..=TREE_PATH_MAX).contains(&target.len()) => {
            EntryKind::Symlink { target }
        }
        HARDLINK if size == 0 && is_tree_path(&target) => EntryKind::Hardlink { target },
        _ => return None,
    };
    let (mut xattrs, mut total) = (Vec::new(), 0);
    while !from.is_empty() {
        let name = get_short(from).filter(|name| !name.is_empty() && !name.contains(&0))?;
        let len = from.try_get_u32().ok()? as usize;
        if len > from.len() {
            return None;
        }
        total += name.len() + len;
        let value = from.split_to(len);
        xattrs.push(Xattr { name, value });
    }
    (total <= TREE_XATTRS_MAX && mode <= 0o7777).then_some(Entry {
        path,
        kind,
        mode,
        uid,
        gid,
        mtime_ns,
        xattrs,
    })
}

fn unchanged_bytes(unchanged: &Unchanged) -> Bytes {
    let mut out = BytesMut::with_capacity(19 + unchanged.path.len());
    out.put_u8(u8::from(unchanged.dir));
    out.put_u64(unchanged.size);
    out.put_i64(unchanged.mtime_ns);
    out.put_slice(&unchanged.path);
    out.freeze()
}

fn unchanged(from: &mut Bytes) -> Option<Unchanged> {
    let dir = from.try_get_u8().ok().filter(|dir| *dir <= 1)? == 1;
    let size = from.try_get_u64().ok()?;
    let mtime_ns = from.try_get_i64().ok()?;
    let path = from.split_to(from.len());
    is_tree_path(&path).then_some(Unchanged {
        path,
        dir,
        size,
        mtime_ns,
    })
}

fn put_short(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u16(u16::try_from(bytes.len()).expect("paths and names are bounded far below 64 KiB"));
    out.put_slice(bytes);
}

fn get_short(from: &mut Bytes) -> Option<Bytes> {
    let len = usize::from(from.try_get_u16().ok()?);
    (len <= from.len()).then(|| from.split_to(len))
}

#[cfg(test)]
mod tests;
