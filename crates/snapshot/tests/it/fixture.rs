//! Trees of frames, made by hand, and stores to keep them in.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use protocol::{Entry, EntryKind, Frame as _, FrameDecoder, TreeEnd, TreeFrame, Unchanged, Xattr};
use snapshot::{Key, RestoreError, Restored, SaveError, Saved, SnapshotId, Snapshots};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What there is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    Dir,
    /// Bytes, and holes of so many bytes.
    File(Vec<Piece>),
    Link(&'static str),
    Second(&'static str),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Data(Bytes),
    Hole(u64),
}

/// A tree, by path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree(
    pub BTreeMap<Vec<u8>, Entry>,
    pub BTreeMap<Vec<u8>, Vec<Piece>>,
);

impl Tree {
    pub fn add(&mut self, path: impl AsRef<[u8]>, node: Node) -> &mut Self {
        let path = path.as_ref().to_vec();
        let kind = match &node {
            Node::Dir => EntryKind::Dir,
            Node::File(pieces) => EntryKind::File { size: size(pieces) },
            Node::Link(target) => EntryKind::Symlink {
                target: Bytes::from_static(target.as_bytes()),
            },
            Node::Second(target) => EntryKind::Hardlink {
                target: Bytes::from_static(target.as_bytes()),
            },
        };
        let entry = Entry {
            path: path.clone().into(),
            kind,
            mode: 0o640,
            uid: 1000,
            gid: 1001,
            mtime_ns: -5 + path.len() as i64,
            xattrs: Vec::new(),
        };
        if let Node::File(pieces) = node {
            self.1.insert(path.clone(), joined(pieces));
        } else {
            self.1.remove(&path);
        }
        self.0.insert(path, entry);
        self
    }

    pub fn file(&mut self, path: impl AsRef<[u8]>, content: impl Into<Bytes>) -> &mut Self {
        self.add(path, Node::File(vec![Piece::Data(content.into())]))
    }

    pub fn remove(&mut self, path: &str) {
        self.0.remove(path.as_bytes());
        self.1.remove(path.as_bytes());
    }

    pub fn mark(&mut self, path: &str, name: &'static str, value: &'static [u8]) {
        let entry = self.0.get_mut(path.as_bytes()).unwrap();
        entry.xattrs.push(Xattr {
            name: Bytes::from_static(name.as_bytes()),
            value: Bytes::from_static(value),
        });
    }

    /// The entries in the order of trees.
    fn sorted(&self) -> Vec<&Entry> {
        let mut entries: Vec<&Entry> = self.0.values().collect();
        entries.sort_by(|a, b| protocol::order((&a.path, a.is_dir()), (&b.path, b.is_dir())));
        entries
    }

    /// All of it.
    pub fn full(&self) -> Vec<u8> {
        self.since(&Self::default())
    }

    /// What is not the same in another tree, and the names of the rest.
    pub fn since(&self, before: &Self) -> Vec<u8> {
        let mut out = BytesMut::new();
        for entry in self.sorted() {
            let path = &entry.path[..];
            let same = before.0.get(path) == Some(entry) && before.1.get(path) == self.1.get(path);
            let second = matches!(entry.kind, EntryKind::Hardlink { .. });
            if same && !second {
                unchanged(entry).encode(&mut out);
                continue;
            }
            TreeFrame::Entry(entry.clone()).encode(&mut out);
            for piece in self.1.get(path).into_iter().flatten() {
                match piece {
                    Piece::Hole(len) => TreeFrame::Hole(*len).encode(&mut out),
                    // As a guest sends it, in pieces that end anywhere.
                    Piece::Data(bytes) => {
                        for bytes in bytes.chunks(65_536) {
                            TreeFrame::Data(Bytes::copy_from_slice(bytes)).encode(&mut out);
                        }
                    }
                }
            }
            if self.1.contains_key(path) {
                TreeFrame::FileEnd { torn: false }.encode(&mut out);
            }
        }
        end(&mut out);
        out.to_vec()
    }
}

pub fn end(out: &mut BytesMut) {
    let end = TreeEnd {
        since_ns: 77,
        ..TreeEnd::default()
    };
    TreeFrame::End(end).encode(out);
}

pub fn unchanged(entry: &Entry) -> TreeFrame {
    TreeFrame::Unchanged(Unchanged {
        path: entry.path.clone(),
        dir: entry.is_dir(),
        size: match entry.kind {
            EntryKind::File { size } => size,
            _ => 0,
        },
        mtime_ns: entry.mtime_ns,
    })
}

fn size(pieces: &[Piece]) -> u64 {
    let len = |piece: &Piece| match piece {
        Piece::Data(bytes) => bytes.len() as u64,
        Piece::Hole(len) => *len,
    };
    pieces.iter().map(len).sum()
}

/// The same with no two pieces of data side by side, and none that is empty.
fn joined(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut out: Vec<Piece> = Vec::new();
    for piece in pieces {
        match (out.last_mut(), piece) {
            (_, Piece::Data(bytes)) if bytes.is_empty() => {}
            (Some(Piece::Data(last)), Piece::Data(bytes)) => {
                *last = [&last[..], &bytes[..]].concat().into();
            }
            (_, piece) => out.push(piece),
        }
    }
    out
}

/// Bytes that cannot be compressed, the same for the same seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&next().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A store in a directory that goes with it.
pub struct Store {
    pub snapshots: Snapshots,
    pub dir: TempDir,
}

pub fn key() -> Key {
    Key::new([42; 32])
}

impl Store {
    pub fn new(key: Option<Key>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::open(dir.path().to_owned(), key).unwrap();
        Self { snapshots, dir }
    }

    pub async fn save(
        &self,
        line: &str,
        parent: Option<&SnapshotId>,
        source: &[u8],
    ) -> Result<Saved, SaveError> {
        self.snapshots.save(line, parent, u64::MAX, source).await
    }

    pub async fn restore(&self, line: &str, id: &SnapshotId) -> Result<Tree, RestoreError> {
        restore(&self.snapshots, line, id)
            .await
            .map(|(tree, _)| tree)
    }
}

/// Restores into a tree.
pub async fn restore(
    snapshots: &Snapshots,
    line: &str,
    id: &SnapshotId,
) -> Result<(Tree, Restored), RestoreError> {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (tree, restored) = tokio::join!(take(theirs), snapshots.restore(line, id, None, ours));
    let restored = restored?;
    Ok((tree.expect("all of it was sent"), restored))
}

/// Takes a tree and answers. `None` when it is cut off.
pub async fn take(mut io: tokio::io::DuplexStream) -> Option<Tree> {
    let mut decoder = FrameDecoder::<TreeFrame>::default();
    let mut tree = Tree::default();
    let mut last = Vec::new();
    loop {
        match decoder.next_frame().unwrap() {
            Some(TreeFrame::Entry(entry)) => {
                last = entry.path.to_vec();
                if matches!(entry.kind, EntryKind::File { .. }) {
                    tree.1.insert(last.clone(), Vec::new());
                }
                tree.0.insert(last.clone(), entry);
            }
            Some(TreeFrame::Data(bytes)) => tree.1.get_mut(&last)?.push(Piece::Data(bytes)),
            Some(TreeFrame::Hole(len)) => tree.1.get_mut(&last)?.push(Piece::Hole(len)),
            Some(TreeFrame::FileEnd { .. }) => {
                let pieces = tree.1.remove(&last)?;
                tree.1.insert(last.clone(), joined(pieces));
            }
            Some(TreeFrame::End(_)) => {
                let mut answer = BytesMut::new();
                end(&mut answer);
                io.write_all(&answer).await.unwrap();
                return Some(tree);
            }
            Some(other) => panic!("{other:?} in a restored tree"),
            None => {
                if io.read_buf(decoder.buffer()).await.unwrap() == 0 {
                    return None;
                }
            }
        }
    }
}
