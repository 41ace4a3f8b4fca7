//! Keeps file trees: incremental, content-addressed, compressed, verified when they are read, and
//! encrypted when there is a key.
//!
//! ```text
//! <dir>/<line>/<pack>      packs of chunks; a save adds one, nothing is ever changed in one
//!
//! root ──▶ manifest chunks ──▶ chunks of files
//!          (entries in order,  (cut by content, named by their hash)
//!           64 or so in each)
//! ```
//!
//! A *line* is all snapshots of one session; nothing is shared between lines but what a fork
//! links, and what is linked is never changed. A snapshot's id is the hash of its root, which
//! holds the hashes of its manifest, which holds those of its files: so whoever asks for an id
//! gets exactly what was saved, or an error that names the file that is broken.
//!
//! A save writes its new chunks, the manifest chunks that changed and its root into one pack, and
//! is there when the pack has its name: before that nothing exists, after it everything does.
//! [`Snapshots::collect`] removes what no live snapshot needs, and writes packs anew that are
//! mostly dead or small; whatever it does is durable before anything is removed.
//!
//! This crate decides nothing about which snapshots live, remembers nothing between calls, and
//! knows files only as the stream of [`protocol::TreeFrame`]s.

mod chunk;
mod collect;
mod error;
mod fork;
mod frames;
mod id;
mod index;
mod lines;
mod manifest;
mod pack;
mod restore;
mod save;

use std::{path::PathBuf, sync::Arc};

use tokio::io::{AsyncRead, AsyncWrite};

pub use collect::Collected;
pub use error::{
    CollectError, ForkError, OpenError, RemoveError, RestoreError, SaveError, StoreError,
};
pub use id::{Key, SnapshotId, SnapshotIdError};
pub use restore::{Early, Restored};
pub use save::Saved;

use lines::Lines;

/// All lines of one directory. Clones are cheap and equal.
///
/// One process uses a directory at a time. What is done to a line while it is collected or
/// removed waits or is refused, see each method; everything else may happen at once.
#[derive(Clone)]
pub struct Snapshots {
    lines: Arc<Lines>,
}

impl Snapshots {
    /// Opens a directory, which is made when it is missing, and removes what a removal that was
    /// cut off left behind.
    ///
    /// With a key, everything that is written is sealed (AES-256-GCM); what was written without
    /// one stays readable. What was sealed with another key, or with one when none is given, is
    /// an error when it is read.
    pub fn open(dir: PathBuf, key: Option<Key>) -> Result<Self, OpenError> {
        Ok(Self {
            lines: Arc::new(Lines::open(dir, key)?),
        })
    }

    /// Saves a tree: [`protocol::TreeFrame`]s up to their `End`. Durable when it returns; when it
    /// fails or is dropped, nothing is kept. When the tree is the parent's, nothing is written,
    /// and the answer is the parent.
    ///
    /// What the source calls unchanged is taken from the parent, a snapshot of the same line.
    /// When the parent does not have it, the answer is [`SaveError::NeedFull`], and the caller
    /// saves again from a source that leaves nothing out.
    ///
    /// A tree that brings more than `most` bytes of content is refused: a sandbox has a disk of its
    /// own, but what its guest sends is the word of a stranger.
    pub async fn save(
        &self,
        line: &str,
        parent: Option<&SnapshotId>,
        most: u64,
        source: impl AsyncRead + Unpin + Send,
    ) -> Result<Saved, SaveError> {
        save::save(&self.lines, line, parent.copied(), most, source).await
    }

    /// Gives a snapshot's tree to `sink` as [`protocol::TreeFrame`]s and waits for its answer,
    /// `End` or `Failed`. Every byte is verified before it is sent; on an error the sink is
    /// dropped before the tree's `End`, so it knows that what it has is not all.
    ///
    /// With `early`, a `Mark` follows what is needed early, and the sink answers it with another.
    pub async fn restore(
        &self,
        line: &str,
        id: &SnapshotId,
        early: Option<Early>,
        sink: impl AsyncRead + AsyncWrite + Unpin + Send,
    ) -> Result<Restored, RestoreError> {
        restore::restore(&self.lines, line, *id, early, sink).await
    }

    /// Makes a snapshot exist in another line as well, under the same id, without copying its
    /// data where the file system can link. Durable when it returns; doing it again is no error.
    /// From then on the two lines do not know of each other.
    pub async fn fork(&self, from: &str, id: &SnapshotId, to: &str) -> Result<(), ForkError> {
        fork::fork(&self.lines, from, *id, to).await
    }

    /// Removes everything of a line that none of these snapshots needs. When one of them is not
    /// whole, nothing is removed. [`CollectError::Busy`] while the line is being saved, restored
    /// or forked: the next time will do.
    pub async fn collect(
        &self,
        line: &str,
        live: &[SnapshotId],
    ) -> Result<Collected, CollectError> {
        collect::collect(&self.lines, line, live.to_vec()).await
    }

    /// Removes a line with all its snapshots. Waits until nobody uses it any more. A line that is
    /// not there is no error.
    pub async fn remove_line(&self, line: &str) -> Result<(), RemoveError> {
        lines::remove(&self.lines, line).await
    }

    /// The lines there are, in no order.
    pub async fn lines(&self) -> Result<Vec<String>, StoreError> {
        lines::list(&self.lines).await
    }
}
