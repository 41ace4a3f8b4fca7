//! The owner's commits: several writes to one session in one transaction, in order, under the
//! owner's fence. Never leaves a commit half done: either all writes are kept or none.

use chrono::{DateTime, Utc};
use rusqlite::{Connection, params};

use super::{Events, insert_numbered, last_seq};
use crate::error::{from_engine, is_duplicate};
use crate::time::Micros;
use crate::{
    Fence, NewSnapshot, SessionUpdate, Status, StoreError, TranscriptEntry, sessions, snapshots,
    transcripts,
};

/// One step of a commit.
#[derive(Clone, Debug)]
pub enum Write {
    /// Adds an event with the next number.
    Append(NewEvent),
    /// Gives a queued event the next number and its final body.
    Process {
        /// Which one.
        id: String,
        /// When it was processed.
        processed_at: DateTime<Utc>,
        /// The event as JSON text, from now on unchanged.
        body: String,
    },
    /// What the session does now.
    Status {
        /// The status.
        status: Status,
        /// Whether a caller must answer something before it can go on.
        attention: bool,
        /// When.
        updated_at: DateTime<Utc>,
    },
    /// What the session has used in all, as JSON text.
    Usage(String),
    /// The session's running times and the like, as JSON text.
    Stats(String),
    /// Lines of the transcript, to be added in order. Known ones (same session, subpath and uuid)
    /// are passed over.
    Transcript(Vec<TranscriptEntry>),
    /// A snapshot of the session's files. It includes the log up to the end of this commit.
    Snapshot(NewSnapshot),
    /// The id by which the `claude` process knows the conversation.
    ClaudeSession(String),
    /// Title, metadata, agent snapshot, budget.
    Update {
        /// What changes.
        update: SessionUpdate,
        /// When.
        updated_at: DateTime<Utc>,
    },
    /// Archives and thereby terminates the session.
    Archive {
        /// When.
        at: DateTime<Utc>,
    },
}

/// An event of the owner's own.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// A fresh id.
    pub id: String,
    /// The event's type.
    pub kind: String,
    /// When it happened.
    pub processed_at: DateTime<Utc>,
    /// The event as JSON text.
    pub body: String,
}

/// An event that got its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its number.
    pub seq: i64,
    /// Its id.
    pub id: String,
}

/// Why a commit was refused. Nothing of it was kept.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// No such session (any more).
    #[error("the session does not exist")]
    NotFound,
    /// Someone else has claimed the session since.
    #[error("the session has another owner")]
    Fenced,
    /// The event to process is not in the session's queue: absent, or processed before.
    #[error("the event {id} is not queued")]
    NotQueued {
        /// The event's id.
        id: String,
    },
    /// The id of an event to append is taken.
    #[error("the event id {id} is already in use")]
    Duplicate {
        /// The event's id.
        id: String,
    },
    /// The storage failed; [`StoreError::Full`] when no space is left.
    #[error(transparent)]
    Store(#[from] StoreError),
}
from_engine!(CommitError);

impl Events<'_> {
    /// Carries out all writes in order, or none. Returns the events that got a number, in order;
    /// they are durable then, and readers see them.
    pub async fn commit(
        self,
        session: &str,
        fence: Fence,
        writes: Vec<Write>,
    ) -> Result<Vec<Appended>, CommitError> {
        let session = session.to_owned();
        self.0
            .write(move |connection| {
                match sessions::fence(connection, &session)? {
                    None => return Err(CommitError::NotFound),
                    Some(newest) if newest != fence => return Err(CommitError::Fenced),
                    Some(_) => {}
                }
                let mut commit = Commit::begin(connection, &session)?;
                for write in &writes {
                    commit.apply(write)?;
                }
                commit.keep_snapshots(&writes)?;
                Ok(commit.appended)
            })
            .await
    }
}

struct Commit<'a> {
    connection: &'a Connection,
    session: &'a str,
    last: i64,
    appended: Vec<Appended>,
}

impl<'a> Commit<'a> {
    fn begin(connection: &'a Connection, session: &'a str) -> rusqlite::Result<Commit<'a>> {
        let last = last_seq(connection, session)?;
        Ok(Commit {
            connection,
            session,
            last,
            appended: Vec::new(),
        })
    }

    fn apply(&mut self, write: &Write) -> Result<(), CommitError> {
        let (connection, session) = (self.connection, self.session);
        match write {
            Write::Append(event) => self.append(event),
            Write::Process {
                id,
                processed_at,
                body,
            } => self.process(id, *processed_at, body),
            Write::Status {
                status,
                attention,
                updated_at,
            } => {
                let sql = "UPDATE session_state SET status = ?2, attention = ?3, updated_at = ?4,
                               ended_at = iif(?2 = 'terminated', coalesce(ended_at, ?4), NULL)
                           WHERE session_id = ?1";
                let values = params![session, status, attention, Micros(*updated_at)];
                connection.prepare_cached(sql)?.execute(values)?;
                Ok(())
            }
            Write::Usage(usage) => self.set(
                "UPDATE session_state SET usage = ?2 WHERE session_id = ?1",
                usage,
            ),
            Write::Stats(stats) => self.set(
                "UPDATE session_state SET stats = ?2 WHERE session_id = ?1",
                stats,
            ),
            Write::ClaudeSession(id) => self.set(
                "UPDATE session_state SET claude_session = ?2 WHERE session_id = ?1",
                id,
            ),
            Write::Transcript(entries) => Ok(transcripts::append(
                connection, session, entries, self.last,
            )?),
            // Kept at the end, when the last number is known.
            Write::Snapshot(_) => Ok(()),
            Write::Update { update, updated_at } => Ok(sessions::apply_update(
                connection,
                session,
                update,
                *updated_at,
            )?),
            Write::Archive { at } => Ok(sessions::apply_archive(connection, session, *at)?),
        }
    }

    fn keep_snapshots(&self, writes: &[Write]) -> rusqlite::Result<()> {
        for write in writes {
            if let Write::Snapshot(snapshot) = write {
                snapshots::insert(self.connection, self.session, snapshot, self.last)?;
            }
        }
        Ok(())
    }

    fn append(&mut self, event: &NewEvent) -> Result<(), CommitError> {
        let seq = self.last + 1;
        insert_numbered(self.connection, self.session, seq, event, &event.body).map_err(
            |error| match is_duplicate(&error) {
                true => CommitError::Duplicate {
                    id: event.id.clone(),
                },
                false => error.into(),
            },
        )?;
        self.number(seq, &event.id);
        Ok(())
    }

    fn process(&mut self, id: &str, at: DateTime<Utc>, body: &str) -> Result<(), CommitError> {
        let seq = self.last + 1;
        let changed = self
            .connection
            .prepare_cached(
                "UPDATE events SET seq = ?3, processed_at = ?4, body = ?5
                 WHERE id = ?2 AND session_id = ?1 AND seq IS NULL",
            )?
            .execute(params![self.session, id, seq, Micros(at), body])?;
        if changed == 0 {
            return Err(CommitError::NotQueued { id: id.to_owned() });
        }
        self.number(seq, id);
        Ok(())
    }

    fn number(&mut self, seq: i64, id: &str) {
        self.last = seq;
        self.appended.push(Appended {
            seq,
            id: id.to_owned(),
        });
    }

    fn set(&self, sql: &str, value: &str) -> Result<(), CommitError> {
        self.connection
            .prepare_cached(sql)?
            .execute([self.session, value])?;
        Ok(())
    }
}
