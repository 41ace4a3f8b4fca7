//! A new session from a point in another's log, with its files.
//!
//! The content of a snapshot is copied into the new line before the session that has it exists, so
//! that no session ever names content that is not there. Meanwhile the new line is held, and the
//! search for nobody's content leaves it alone.

mod closing;

use api::environment::hosting::Pattern;
use api::event::Event;
use api::id::Prefix;
use api::session::fork::{ForkSession, Workspace};
use api::session::{Stats, Usage};
use serde::Serialize;
use snapshot::SnapshotId;
use store::{Fork, Listed, NewEvent, Realm, SessionRow, SnapshotRow, Status, StoreError};

use super::actor::Request;
use super::{Inner, Sessions, start, thread_id};
use closing::Closing;

/// Events that are read at once.
const PAGE: usize = 500;

/// Why a session was not forked. Nothing is left of the new one.
#[derive(Debug, thiserror::Error)]
pub enum ForkError {
    /// No such session in the realm.
    #[error("the session does not exist")]
    NotFound,
    /// It is in the middle of a turn.
    #[error("the session is {}", .status.as_str())]
    Busy {
        /// Its status.
        status: Status,
    },
    /// The point is no event of its log.
    #[error("the session has no processed event with this id")]
    NoSuchEvent,
    /// Its files are at a place of its own among others, where the new session cannot be.
    #[error("the session shares its sandbox, where its files are called by its own name")]
    Members,
    /// Its agent or environment takes no new sessions.
    #[error(transparent)]
    Refused(store::CreateSessionError),
    /// The files could not be copied.
    #[error("the session's files could not be copied")]
    Files(#[source] snapshot::ForkError),
    /// The row of the snapshot names nothing.
    #[error("the snapshot {id:?} has no usable id")]
    BadSnapshot {
        /// What it says.
        id: String,
    },
    /// The storage failed.
    #[error("the session could not be read or kept")]
    Store(#[from] StoreError),
}

impl Sessions {
    /// Makes a new session from a point in another's log.
    ///
    /// # Errors
    /// When there is no such session or event, when it runs, or when its files cannot be copied.
    pub async fn fork(
        &self,
        realm: &Realm,
        id: &str,
        request: ForkSession,
    ) -> Result<SessionRow, ForkError> {
        let inner = &*self.0;
        let source = inner.store.sessions().get(realm, id).await?;
        let source = source.ok_or(ForkError::NotFound)?;
        if matches!(source.status, Status::Running | Status::Rescheduling) {
            let status = source.status;
            return Err(ForkError::Busy { status });
        }
        if request.event_id.is_none() && self.is_live(id) {
            // The files as they are now; when that fails, those of the last rest.
            let _ = self.ask(realm, id, Request::Save).await;
        }
        let until = inner.point(id, request.event_id.as_deref()).await?;
        let closing = inner.closing(&source, until).await?;
        let files = inner.files_at(id, until, request.workspace).await?;
        let hosting = start::hosting(&source);
        if files.is_some() && (hosting.max_sessions > 1 || hosting.pattern == Pattern::Shared) {
            return Err(ForkError::Members);
        }
        let row = inner.fork_row(source, request);
        let held = inner.retention.hold(&row.id);
        if let Some(files) = &files {
            inner.copy_files(id, files, &row.id).await?;
        }
        let fork = Fork {
            from: id.to_owned(),
            until,
            renamed: vec![
                (id.to_owned(), row.id.clone()),
                (thread_id(id), thread_id(&row.id)),
            ],
            row: row.clone(),
            closing,
            snapshots: files.map(|files| files.snapshot.id).into_iter().collect(),
        };
        let ids = inner.ids.clone();
        let made = inner.store.sessions();
        let made = made.fork(fork, move || ids.mint(Prefix::Event)).await;
        if made.is_err() {
            inner.retention.remove_line(&row.id).await;
        }
        drop(held);
        made.map_err(refusal)?;
        Ok(row)
    }
}

impl Inner {
    /// The number of the last event that is copied.
    async fn point(&self, session: &str, event: Option<&str>) -> Result<i64, ForkError> {
        let Some(event) = event else {
            return Ok(self.store.events().last_seq(session).await?);
        };
        match self.store.events().find(session, event).await? {
            Some(Listed::Numbered(event)) => Ok(event.seq),
            Some(Listed::Queued(_)) | None => Err(ForkError::NoSuchEvent),
        }
    }

    /// What brings a log that ends at a point to rest.
    async fn closing(&self, source: &SessionRow, until: i64) -> Result<Vec<NewEvent>, StoreError> {
        let mut closing = Closing::default();
        let mut after = 0;
        while after < until {
            let page = self.store.events().tail(&source.id, after, PAGE).await?;
            for event in page.iter().filter(|event| event.seq <= until) {
                closing.event(event);
            }
            let Some(last) = page.last() else { break };
            after = last.seq;
        }
        let agent: serde_json::Value = serde_json::from_str(&source.agent).unwrap_or_default();
        let name = agent["name"].as_str().unwrap_or_default();
        let now = self.clock.now();
        let bodies = closing.bodies(&thread_id(&source.id), name);
        let events = bodies.into_iter().map(|body| Event {
            id: self.ids.mint(Prefix::Event),
            processed_at: now,
            body,
        });
        let rows = events.map(|event| NewEvent {
            kind: event.kind().to_owned(),
            body: event.to_json(),
            processed_at: now,
            id: event.id,
        });
        Ok(rows.collect())
    }

    async fn files_at(
        &self,
        session: &str,
        until: i64,
        wanted: Workspace,
    ) -> Result<Option<SnapshotRow>, StoreError> {
        match wanted {
            Workspace::At => self.store.snapshots().at(session, until).await,
            Workspace::Latest => self.store.snapshots().latest(session).await,
            Workspace::Empty => Ok(None),
        }
    }

    /// The new session: like the other one, but that it has used nothing.
    fn fork_row(&self, source: SessionRow, request: ForkSession) -> SessionRow {
        let mut title = source.title.clone();
        request.title.apply(&mut title);
        let metadata = request.metadata.map(|metadata| json(&metadata.0));
        let now = self.clock.now();
        SessionRow {
            id: self.ids.mint(Prefix::Session),
            title,
            metadata: metadata.unwrap_or_else(|| source.metadata.clone()),
            status: Status::Idle,
            attention: false,
            usage: json(&Usage::default()),
            stats: json(&Stats::default()),
            created_at: now,
            updated_at: now,
            archived_at: None,
            ..source
        }
    }

    async fn copy_files(&self, from: &str, files: &SnapshotRow, to: &str) -> Result<(), ForkError> {
        let id = &files.snapshot.id;
        let bad = |_| ForkError::BadSnapshot { id: id.clone() };
        let id: SnapshotId = id.parse().map_err(bad)?;
        let copied = self.keeping.snapshots().fork(from, &id, to).await;
        if copied.is_err() {
            self.retention.remove_line(to).await;
        }
        copied.map_err(ForkError::Files)
    }
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("these are plain data")
}

fn refusal(error: store::ForkError) -> ForkError {
    match error {
        store::ForkError::NotFound => ForkError::NotFound,
        store::ForkError::Busy { status } => ForkError::Busy { status },
        store::ForkError::Create(store::CreateSessionError::Store(error))
        | store::ForkError::Store(error) => ForkError::Store(error),
        store::ForkError::Create(error) => ForkError::Refused(error),
    }
}
