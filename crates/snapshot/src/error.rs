//! How things fail. Each error names the file it is about.

use std::{io, path::PathBuf};

use protocol::{FrameError, Refusal};

use crate::SnapshotId;

/// What can be wrong with what is kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Not what was written: damaged, or sealed with another key.
    #[error("{} is damaged: {what}", path.display())]
    Corrupt {
        /// The pack.
        path: PathBuf,
        /// What does not fit.
        what: &'static str,
    },
    /// Sealed, and there is no key.
    #[error("{} is encrypted and no key is configured", path.display())]
    NoKey {
        /// The pack.
        path: PathBuf,
    },
    /// A snapshot or a part of one is not there.
    #[error("{what} is missing in {}", path.display())]
    Missing {
        /// The line.
        path: PathBuf,
        /// What.
        what: String,
    },
    /// The operating system refused.
    #[error("{doing} {}", path.display())]
    Io {
        /// What was tried: `reading`, `writing`, …
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A line is called by a session's id; this is none.
    #[error("{0:?} is no name of a line")]
    BadLine(String),
    /// The thread that did it panicked or was cancelled by the end of the process.
    #[error("the work was not finished")]
    Aborted,
}

impl StoreError {
    pub(crate) fn io(doing: &'static str, path: &std::path::Path, source: io::Error) -> Self {
        let path = path.to_owned();
        Self::Io {
            doing,
            path,
            source,
        }
    }

    pub(crate) fn corrupt(path: &std::path::Path, what: &'static str) -> Self {
        let path = path.to_owned();
        Self::Corrupt { path, what }
    }
}

/// Why the directory was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a tree was not saved. Nothing of it is kept.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The source left something out that the parent does not have: it must be asked for all.
    #[error("{path} is said to be unchanged, and the parent does not have it")]
    NeedFull {
        /// The path.
        path: String,
    },
    /// The source ended before the tree did.
    #[error("the tree could not be read")]
    Source(#[source] io::Error),
    /// The source gave up, and why.
    #[error("the tree could not be made")]
    Refused(#[source] Refusal),
    /// The source sent something that is no frame.
    #[error("the tree is malformed")]
    Frame(#[from] FrameError),
    /// The source sent frames that are no tree.
    #[error("the tree is out of order: {0}")]
    Order(&'static str),
    /// The tree is larger than can be kept.
    #[error("the tree has {0}")]
    TooLarge(&'static str),
    /// It could not be written, or the parent not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a tree was not brought back, or only in part.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The sink ended before the tree did, or never answered.
    #[error("the tree could not be sent")]
    Sink(#[source] io::Error),
    /// The sink could not make it, and why.
    #[error("the tree could not be made")]
    Refused(#[source] Refusal),
    /// The sink answered something that is no answer.
    #[error("the answer is malformed")]
    Answer(#[from] FrameError),
    /// It cannot be read, or is not what was saved.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a snapshot was not forked.
#[derive(Debug, thiserror::Error)]
pub enum ForkError {
    /// It could not be read or linked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a line was not collected.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// It is in use.
    #[error("the line is in use")]
    Busy,
    /// A snapshot that is to live is not whole. Nothing was removed.
    #[error("snapshot {id} is to be kept and is not whole")]
    Broken {
        /// Which.
        id: SnapshotId,
        /// What is wrong.
        #[source]
        source: StoreError,
    },
    /// It could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a line was not removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// The operating system refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}
