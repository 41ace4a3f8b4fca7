//! What can go wrong below every operation, and on opening. Operations add their own cases in their
//! own enums. Never carries a row's content or a key.

use std::path::PathBuf;

use rusqlite::ErrorCode;

/// A failure of the storage itself, independent of what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No space left for the database. Nothing of the request was kept; it can be sent again when
    /// there is space, and the store goes on by itself.
    #[error("no space is left for the database")]
    Full(#[source] rusqlite::Error),
    /// The operating system failed to read or write. Nothing of the request was kept.
    #[error("cannot read or write the database files")]
    Io(#[source] rusqlite::Error),
    /// The file is not a sound database.
    #[error("the database file is damaged")]
    Damaged(#[source] rusqlite::Error),
    /// Anything else that the engine refused: a broken promise of the caller or a bug here.
    #[error("the database refused a statement")]
    Database(#[source] rusqlite::Error),
    /// The store has been closed, or the request died inside it.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Whether the cause is outside the program (disk full or failing), so that the same request
    /// can succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, StoreError::Full(_) | StoreError::Io(_))
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> StoreError {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StoreError::Full(error),
            // Out of space in the shared-memory file surfaces as an I/O error, too.
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => StoreError::Io(error),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                StoreError::Damaged(error)
            }
            _ => StoreError::Database(error),
        }
    }
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has this directory open.
    #[error("the data directory is in use by another server{}", .pid.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    InUse {
        /// That process, unless it has only just begun and not written its number yet.
        pid: Option<u32>,
    },
    /// A newer program has written this database; an older one must not touch it.
    #[error(
        "the database has schema {found}, but this program knows only up to {known}: use the newer program"
    )]
    Newer {
        /// The schema number found in the file.
        found: u32,
        /// The newest schema number known here.
        known: u32,
    },
    /// The file is some other program's database.
    #[error("the file {} is not a database of this program", .path.display())]
    Foreign {
        /// The file in question.
        path: PathBuf,
    },
    /// The directory or a file in it could not be made or opened.
    #[error("cannot prepare {}", .path.display())]
    Files {
        /// What was being prepared.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// Bringing the schema up to date failed; the database is as it was.
    #[error("cannot bring the database to schema {to}")]
    Migrate {
        /// The schema number that was being reached.
        to: u32,
        /// What the engine said.
        #[source]
        source: rusqlite::Error,
    },
    /// The database could not be opened or set up.
    #[error("cannot open the database")]
    Store(#[from] StoreError),
    /// A thread of the store could not be started.
    #[error("cannot start a thread of the store")]
    Thread(#[source] std::io::Error),
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> OpenError {
        OpenError::Store(StoreError::from(error))
    }
}

/// Lets `?` turn an engine error into an operation's error by way of its `Store` case.
macro_rules! from_engine {
    ($($error:ty),+) => {$(
        impl From<rusqlite::Error> for $error {
            fn from(error: rusqlite::Error) -> Self {
                <$error>::Store($crate::StoreError::from(error))
            }
        }
    )+};
}
pub(crate) use from_engine;

/// Whether a unique column already holds the value.
pub(crate) fn is_duplicate(error: &rusqlite::Error) -> bool {
    use rusqlite::ffi::{SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE};
    error.sqlite_error().is_some_and(|inner| {
        matches!(
            inner.extended_code,
            SQLITE_CONSTRAINT_UNIQUE | SQLITE_CONSTRAINT_PRIMARYKEY
        )
    })
}

/// Whether a row that this one refers to is absent.
pub(crate) fn is_dangling(error: &rusqlite::Error) -> bool {
    error
        .sqlite_error()
        .is_some_and(|inner| inner.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_FOREIGNKEY)
}
