//! Everything durable: workspaces and their keys, vaults, agents, environments, sessions, their event logs, transcripts and usage,
//! which snapshots and files there are, in one SQLite database that one process owns. The only crate that speaks SQL.
//!
//! One thread writes (`writer`: many requests, one transaction, one sync) and a few read
//! (`reader`). A write is answered only when it is on disk; a read sees every write answered
//! before it. Bodies are text that comes back byte for byte.
//!
//! Never calls a clock, makes an id, or interprets a body: times, ids and JSON come from the caller.
//! Every record belongs to a workspace; what serves callers takes a [`Realm`] and finds another
//! workspace's row as little as an absent one. Methods that take a session id alone serve the
//! session's owner, who has made that check.
//!
//! Reading order: [`Store`], then `events` (the log), `sessions`, and the other records.

mod agents;
mod audit;
mod checkpoint;
mod credentials;
mod cursor;
mod environments;
mod error;
mod events;
mod files;
mod keys;
mod lock;
mod page;
mod queue;
mod reader;
mod realm;
mod retention;
mod schema;
mod session_store;
mod sessions;
mod snapshots;
mod time;
mod transcripts;
mod usage;
mod vaults;
mod workspaces;
mod writer;

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::oneshot;

pub use agents::{AddVersionError, AgentQuery, AgentRow, Agents, InsertError, NewAgent};
pub use audit::{AuditQuery, AuditRow, Audits};
pub use credentials::{
    CreateCredentialError, CredentialQuery, CredentialRow, Credentials, Sealed,
    UpdateCredentialError,
};
pub use cursor::CursorError;
pub use environments::{
    DeleteEnvironmentError, EnvironmentQuery, EnvironmentRow, Environments, NewEnvironment,
    UpdateEnvironmentError,
};
pub use error::{OpenError, StoreError};
pub use events::{
    Appended, CommitError, EnqueueError, EventQuery, EventRow, Events, Listed, NewEvent,
    QUEUE_LIMIT, Queued, QueuedRow, Write,
};
pub use files::{FileQuery, FileRow, Files, InsertFileError};
pub use keys::{InsertKeyError, KeyQuery, KeyRow, Keys, RotateKeyError, Rotation};
pub use page::{ListError, Order, PAGE_LIMIT, Page, PageQuery};
pub use realm::Realm;
pub use retention::Keep;
pub use session_store::{
    Append, AppendError, Entries, KeptEntry, KeptKey, KeptSession, SessionStore,
};
pub use sessions::{
    ClaimError, CreateSessionError, Fence, Fork, ForkError, ParseStatusError, SessionQuery,
    SessionRow, SessionUpdate, Sessions, Status,
};
pub use snapshots::{NewSnapshot, SnapshotRow, Snapshots};
pub use time::TimeRange;
pub use transcripts::{TranscriptEntry, Transcripts};
pub use usage::{ModelCall, RecordError, Totals, Usage};
pub use vaults::{VaultQuery, VaultRow, Vaults};
pub use workspaces::{Reach, WorkspaceRow, Workspaces};

use queue::Queue;
use reader::Read;
use writer::{Call, Request};

/// The workspace that exists from the start.
pub const DEFAULT_WORKSPACE: &str = "wrkspc_default";

/// The open database. Share it in an `Arc`. Dropping it finishes the writes that are waiting and
/// joins its threads, which takes as long as those writes do.
pub struct Store {
    writes: Arc<Queue<Box<dyn Request>>>,
    reads: Arc<Queue<Read>>,
    writer: Option<JoinHandle<()>>,
    /// Ends when the writer does.
    checkpointer: Option<JoinHandle<()>>,
    readers: Vec<JoinHandle<()>>,
    /// Let go of last, when no thread can touch the files any more.
    _lock: lock::Lock,
}

impl Store {
    /// Opens the database in `dir`, making both when absent (readable by this user alone), locks the
    /// directory against other processes and brings the schema up to date. Blocks.
    pub fn open(dir: &Path) -> Result<Store, OpenError> {
        let failed = |path: &Path, source| OpenError::Files {
            path: path.to_owned(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|e| failed(dir, e))?;
        let lock = lock::take(&dir.join("lock"))?;
        let file = dir.join("hostel.db");
        // Made by us, so that the engine's own files next to it inherit the mode.
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&file)
            .map_err(|e| failed(&file, e))?;
        let connection = schema::open_writer(&file)?;
        let mut store = Store {
            writes: Arc::new(Queue::new(writer::PLACES)),
            reads: Arc::new(Queue::new(reader::PLACES)),
            writer: None,
            checkpointer: None,
            readers: Vec::new(),
            _lock: lock,
        };
        // From here on an early return drops the store and with it the threads started so far.
        let (bell, rings) = checkpoint::bell();
        let thread = writer::start(connection, Arc::clone(&store.writes), bell);
        store.writer = Some(thread.map_err(OpenError::Thread)?);
        let thread = checkpoint::start(schema::open_checkpointer(&file)?, rings);
        store.checkpointer = Some(thread.map_err(OpenError::Thread)?);
        for number in 0..reader::THREADS {
            let connection = schema::open_reader(&file)?;
            let thread = reader::start(number, connection, Arc::clone(&store.reads));
            store.readers.push(thread.map_err(OpenError::Thread)?);
        }
        Ok(store)
    }

    /// Whether a write transaction and a read both succeed now.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.write(|_| Ok::<_, StoreError>(())).await?;
        self.read(|connection| {
            let one: Result<i64, _> = connection.query_row("SELECT 1", [], |row| row.get(0));
            Ok::<_, StoreError>(one.map(drop)?)
        })
        .await
    }

    /// Workspaces.
    pub fn workspaces(&self) -> Workspaces<'_> {
        Workspaces(self)
    }

    /// The keys with which callers prove who they are.
    pub fn keys(&self) -> Keys<'_> {
        Keys(self)
    }

    /// Vaults.
    pub fn vaults(&self) -> Vaults<'_> {
        Vaults(self)
    }

    /// Credentials of vaults, sealed.
    pub fn credentials(&self) -> Credentials<'_> {
        Credentials(self)
    }

    /// Agents and their versions.
    pub fn agents(&self) -> Agents<'_> {
        Agents(self)
    }

    /// Environments.
    pub fn environments(&self) -> Environments<'_> {
        Environments(self)
    }

    /// Sessions, without their logs.
    pub fn sessions(&self) -> Sessions<'_> {
        Sessions(self)
    }

    /// The logs of sessions.
    pub fn events(&self) -> Events<'_> {
        Events(self)
    }

    /// The mirrored transcripts of sessions.
    pub fn transcripts(&self) -> Transcripts<'_> {
        Transcripts(self)
    }

    /// Which snapshots of sessions there are.
    pub fn snapshots(&self) -> Snapshots<'_> {
        Snapshots(self)
    }

    /// Which files sessions made.
    pub fn files(&self) -> Files<'_> {
        Files(self)
    }

    /// What was decided on the way out.
    pub fn audit(&self) -> Audits<'_> {
        Audits(self)
    }

    /// Transcripts that programs elsewhere keep here.
    pub fn session_store(&self) -> SessionStore<'_> {
        SessionStore(self)
    }

    /// What sessions have used.
    pub fn usage(&self) -> Usage<'_> {
        Usage(self)
    }

    /// Runs `work` in a transaction on the writer's thread; its error undoes what it did. It can run
    /// twice when the first transaction is lost. Once queued it is carried out even if the caller
    /// goes away.
    async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: Fn(&Connection) -> Result<T, E> + Send + 'static,
    {
        let (call, answer) = Call::new(work);
        let closed = |_| E::from(StoreError::Closed);
        self.writes
            .push(Box::new(call))
            .await
            .map_err(|queue::Closed| E::from(StoreError::Closed))?;
        answer.await.map_err(closed)?
    }

    /// Runs `work` on a reader's thread. Several statements see one state only inside a transaction.
    async fn read<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let read: Read = Box::new(move |connection| {
            // A caller that has gone away is no error.
            let _ = reply.send(work(connection));
        });
        self.reads
            .push(read)
            .await
            .map_err(|queue::Closed| E::from(StoreError::Closed))?;
        answer.await.map_err(|_| E::from(StoreError::Closed))?
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.writes.close();
        self.reads.close();
        // Readers first: the connection closed last folds the log into the database, and theirs may
        // not write.
        for thread in self
            .readers
            .drain(..)
            .chain(self.writer.take())
            .chain(self.checkpointer.take())
        {
            if thread.join().is_err() {
                tracing::error!("a thread of the store panicked");
            }
        }
    }
}
