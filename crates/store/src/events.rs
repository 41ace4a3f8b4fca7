//! The log of a session. What callers send is queued, durable at once, without a number; the
//! session's owner gives each queued event its number when it is processed, and appends events of
//! its own. Numbers run from 1 without gaps; an event that has one never changes again.
//!
//! ```text
//! enqueue ──▶ queued ──Process──▶ numbered          Append ──▶ numbered
//! ```

mod commit;
mod list;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::error::{from_engine, is_duplicate};
use crate::time::Micros;
use crate::{Realm, Status, Store, StoreError, sessions};

pub use commit::{Appended, CommitError, NewEvent, Write};
pub use list::EventQuery;

/// Events that a session may have queued. A caller that is ahead by so much is refused until the
/// session has caught up.
pub const QUEUE_LIMIT: usize = 1000;

/// A caller's event to be queued.
#[derive(Clone, Debug)]
pub struct Queued {
    /// A fresh id.
    pub id: String,
    /// The event's type.
    pub kind: String,
    /// The event as JSON text.
    pub body: String,
}

/// A queued event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedRow {
    /// Its place in the order of arrival; comparable within a session.
    pub position: i64,
    /// Its id.
    pub id: String,
    /// Its type.
    pub kind: String,
    /// The event as JSON text.
    pub body: Arc<str>,
}

/// A numbered event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    /// Its number in the session, from 1.
    pub seq: i64,
    /// Its id.
    pub id: String,
    /// Its type.
    pub kind: String,
    /// When it was processed.
    pub processed_at: DateTime<Utc>,
    /// The event as JSON text, byte for byte as it was committed.
    pub body: Arc<str>,
}

/// An event in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    /// It has been processed.
    Numbered(EventRow),
    /// It waits.
    Queued(QueuedRow),
}

impl Listed {
    /// Its id.
    pub fn id(&self) -> &str {
        match self {
            Listed::Numbered(event) => &event.id,
            Listed::Queued(event) => &event.id,
        }
    }

    /// Its type.
    pub fn kind(&self) -> &str {
        match self {
            Listed::Numbered(event) => &event.kind,
            Listed::Queued(event) => &event.kind,
        }
    }

    /// The event as JSON text.
    pub fn body(&self) -> &Arc<str> {
        match self {
            Listed::Numbered(event) => &event.body,
            Listed::Queued(event) => &event.body,
        }
    }
}

/// Why events could not be queued. None of them was.
#[derive(Debug, thiserror::Error)]
pub enum EnqueueError {
    /// No such session in the workspace.
    #[error("the session does not exist")]
    NotFound,
    /// The session takes no more events.
    #[error("the session is {}", .status.as_str())]
    Closed {
        /// Its status.
        status: Status,
    },
    /// The session has not caught up with what was sent before.
    #[error("the session would have more than {limit} queued events")]
    TooMany {
        /// [`QUEUE_LIMIT`].
        limit: usize,
    },
    /// An id is taken.
    #[error("an event's id is already in use")]
    Duplicate,
    /// The storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
from_engine!(EnqueueError);

/// Operations on logs; see [`Store::events`].
#[derive(Clone, Copy)]
pub struct Events<'a>(pub(crate) &'a Store);

impl Events<'_> {
    /// Queues a caller's events in order, all or none; durable when it returns.
    pub async fn enqueue(
        self,
        realm: &Realm,
        session: &str,
        events: Vec<Queued>,
    ) -> Result<(), EnqueueError> {
        let (realm, session) = (realm.clone(), session.to_owned());
        self.0
            .write(
                move |connection| match sessions::status(connection, &realm, &session)? {
                    None => Err(EnqueueError::NotFound),
                    Some(status @ Status::Terminated) => Err(EnqueueError::Closed { status }),
                    Some(_) => insert_queued(connection, &session, &events),
                },
            )
            .await
    }

    /// The queued events of a session in order of arrival; at most [`QUEUE_LIMIT`].
    pub async fn queued(self, session: &str) -> Result<Vec<QueuedRow>, StoreError> {
        let session = session.to_owned();
        self.0
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT position, id, kind, body FROM events
                     WHERE session_id = ?1 AND seq IS NULL ORDER BY position",
                )?;
                let rows = statement.query_map([session], parse_queued)?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// The numbered events after number `after`, in order, at most `limit`. Empty for an absent
    /// session.
    pub async fn tail(
        self,
        session: &str,
        after: i64,
        limit: usize,
    ) -> Result<Vec<EventRow>, StoreError> {
        let session = session.to_owned();
        self.0
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT seq, id, kind, processed_at, body FROM events
                     WHERE session_id = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3",
                )?;
                let rows =
                    statement.query_map(params![session, after, limit as i64], parse_event)?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// The newest number, 0 when there is none.
    pub async fn last_seq(self, session: &str) -> Result<i64, StoreError> {
        let session = session.to_owned();
        self.0
            .read(move |connection| Ok(last_seq(connection, &session)?))
            .await
    }

    /// One event of a session by its id.
    pub async fn find(self, session: &str, id: &str) -> Result<Option<Listed>, StoreError> {
        let (session, id) = (session.to_owned(), id.to_owned());
        self.0
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT seq, id, kind, processed_at, body, position FROM events
                     WHERE id = ?1 AND session_id = ?2",
                )?;
                Ok(statement
                    .query_row([id, session], parse_either)
                    .optional()?)
            })
            .await
    }
}

/// Adds to the queue of a session that is known to exist and be open.
pub(crate) fn insert_queued(
    connection: &Connection,
    session: &str,
    events: &[Queued],
) -> Result<(), EnqueueError> {
    let waiting: usize = connection
        .prepare_cached("SELECT count(*) FROM events WHERE session_id = ?1 AND seq IS NULL")?
        .query_row([session], |row| row.get(0))?;
    if waiting + events.len() > QUEUE_LIMIT {
        return Err(EnqueueError::TooMany { limit: QUEUE_LIMIT });
    }
    let mut statement = connection.prepare_cached(
        "INSERT INTO events (session_id, id, kind, body) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for event in events {
        statement
            .execute([session, &event.id, &event.kind, &event.body])
            .map_err(|error| {
                if is_duplicate(&error) {
                    EnqueueError::Duplicate
                } else {
                    error.into()
                }
            })?;
    }
    Ok(())
}

pub(crate) fn last_seq(connection: &Connection, session: &str) -> rusqlite::Result<i64> {
    connection
        .prepare_cached("SELECT coalesce(max(seq), 0) FROM events WHERE session_id = ?1")?
        .query_row([session], |row| row.get(0))
}

/// Adds an event with a number of the caller's choice.
pub(crate) fn insert_numbered(
    connection: &Connection,
    session: &str,
    seq: i64,
    event: &NewEvent,
    body: &str,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO events (session_id, seq, id, kind, processed_at, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            session,
            seq,
            event.id,
            event.kind,
            Micros(event.processed_at),
            body
        ])?;
    Ok(())
}

fn parse_event(row: &Row<'_>) -> rusqlite::Result<EventRow> {
    Ok(EventRow {
        seq: row.get(0)?,
        id: row.get(1)?,
        kind: row.get(2)?,
        processed_at: row.get::<_, Micros>(3)?.0,
        body: row.get(4)?,
    })
}

fn parse_queued(row: &Row<'_>) -> rusqlite::Result<QueuedRow> {
    Ok(QueuedRow {
        position: row.get(0)?,
        id: row.get(1)?,
        kind: row.get(2)?,
        body: row.get(3)?,
    })
}

fn parse_either(row: &Row<'_>) -> rusqlite::Result<Listed> {
    if row.get::<_, Option<i64>>(0)?.is_some() {
        return parse_event(row).map(Listed::Numbered);
    }
    Ok(Listed::Queued(QueuedRow {
        position: row.get(5)?,
        id: row.get(1)?,
        kind: row.get(2)?,
        body: row.get(4)?,
    }))
}
