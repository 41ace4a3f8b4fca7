//! Sessions, without their logs: the record, its list, and the lease by which one owner at a time
//! may write to it. A claim hands out a growing fence; a commit with an older fence is refused
//! ([`crate::Events::commit`]), so an owner that lost its lease without noticing can do no harm.

mod fork;
mod list;
mod row;
mod standing;

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::{from_engine, is_duplicate};
use crate::events::{self, EnqueueError, Queued};
use crate::time::Micros;
use crate::{KeptKey, Realm, Store, StoreError, session_store, workspaces};

pub use fork::{Fork, ForkError};
pub use list::SessionQuery;
pub use row::{ParseStatusError, SessionRow, Status};

/// The number of a lease, larger than those of all earlier ones of the same session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fence(i64);

impl Fence {
    /// The bare number, for logs.
    pub fn get(self) -> i64 {
        self.0
    }
}

/// What an update changes; `None` keeps.
#[derive(Clone, Debug, Default)]
pub struct SessionUpdate {
    /// The title; `Some(None)` clears it.
    pub title: Option<Option<String>>,
    /// The metadata as JSON text, whole.
    pub metadata: Option<String>,
    /// The agent snapshot as JSON text, whole.
    pub agent: Option<String>,
    /// The budget as JSON text; `Some(None)` removes it.
    pub budget: Option<Option<String>>,
}

/// Why a session could not be created.
#[derive(Debug, thiserror::Error)]
pub enum CreateSessionError {
    /// The workspace has no such agent, or it lacks that version.
    #[error("the agent does not exist")]
    AgentNotFound,
    /// Archived agents take no new sessions.
    #[error("the agent is archived")]
    AgentArchived,
    /// The workspace has no such environment.
    #[error("the environment does not exist")]
    EnvironmentNotFound,
    /// Archived environments take no new sessions.
    #[error("the environment is archived")]
    EnvironmentArchived,
    /// The session's id or one of the events' is taken.
    #[error("an id is already in use")]
    Duplicate,
    /// More first events than a session may have queued.
    #[error("more than {limit} events")]
    TooMany {
        /// [`crate::QUEUE_LIMIT`].
        limit: usize,
    },
    /// The workspace has as many sessions that are not over as it may have.
    #[error("the workspace has {limit} sessions that are not over, and may have no more")]
    Quota {
        /// How many it may have.
        limit: u32,
    },
    /// The session store has no session with a main transcript under this key.
    #[error("no transcript is kept under this key")]
    KeptNotFound,
    /// The storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for CreateSessionError {
    fn from(error: rusqlite::Error) -> CreateSessionError {
        match is_duplicate(&error) {
            true => CreateSessionError::Duplicate,
            false => StoreError::from(error).into(),
        }
    }
}

/// Why a session could not be claimed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// No such session.
    #[error("the session does not exist")]
    NotFound,
    /// The storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
from_engine!(ClaimError);

/// Operations on sessions; see [`Store::sessions`].
#[derive(Clone, Copy)]
pub struct Sessions<'a>(pub(crate) &'a Store);

impl Sessions<'_> {
    /// Makes a session and queues its first events, both or neither. Agent and environment are
    /// checked in the same transaction.
    pub async fn create(
        self,
        row: SessionRow,
        first: Vec<Queued>,
    ) -> Result<(), CreateSessionError> {
        self.begin(row, first, None).await
    }

    /// The same, and the session begins with the transcript of one of the realm's session store. The two
    /// share nothing afterwards.
    pub async fn create_from(
        self,
        row: SessionRow,
        first: Vec<Queued>,
        realm: &Realm,
        kept: KeptKey,
    ) -> Result<(), CreateSessionError> {
        self.begin(row, first, Some((realm.clone(), kept))).await
    }

    async fn begin(
        self,
        row: SessionRow,
        first: Vec<Queued>,
        kept: Option<(Realm, KeptKey)>,
    ) -> Result<(), CreateSessionError> {
        self.0
            .write(move |connection| {
                check_quota(connection, &row)?;
                check_agent(connection, &row)?;
                check_environment(connection, &row)?;
                row::insert(connection, &row)?;
                if let Some((realm, key)) = &kept
                    && !session_store::copy(connection, realm, key, &row.id)?
                {
                    return Err(CreateSessionError::KeptNotFound);
                }
                events::insert_queued(connection, &row.id, &first).map_err(|error| match error {
                    EnqueueError::TooMany { limit } => CreateSessionError::TooMany { limit },
                    EnqueueError::Store(error) => error.into(),
                    // The session has just been made here, so only its events' ids can be in the way.
                    _ => CreateSessionError::Duplicate,
                })
            })
            .await
    }

    /// One session.
    pub async fn get(self, realm: &Realm, id: &str) -> Result<Option<SessionRow>, StoreError> {
        let (realm, id) = (realm.clone(), id.to_owned());
        self.0
            .read(move |connection| Ok(row::get(connection, &realm, &id)?))
            .await
    }

    /// Changes a session without an event; the session, or `None` when there is none. To change it
    /// together with an event, use [`crate::Write::Update`].
    pub async fn update(
        self,
        realm: &Realm,
        id: &str,
        update: SessionUpdate,
        at: DateTime<Utc>,
    ) -> Result<Option<SessionRow>, StoreError> {
        self.changed(realm, id, move |connection, id| {
            apply_update(connection, id, &update, at)
        })
        .await
    }

    /// Archives a session, which terminates it, or leaves an archived one as it is; the session, or
    /// `None` when there is none. Does not look at the status: that is the owner's part.
    pub async fn archive(
        self,
        realm: &Realm,
        id: &str,
        at: DateTime<Utc>,
    ) -> Result<Option<SessionRow>, StoreError> {
        self.changed(realm, id, move |connection, id| {
            apply_archive(connection, id, at)
        })
        .await
    }

    /// Deletes a session with its log, transcript and usage; whether there was one.
    pub async fn delete(self, realm: &Realm, id: &str) -> Result<bool, StoreError> {
        let (realm, id) = (realm.clone(), id.to_owned());
        self.0
            .write(move |connection| {
                let mut statement = connection.prepare_cached(
                    "DELETE FROM sessions WHERE workspace_id = ?1 AND id = ?2
                         AND (?3 IS NULL OR environment_id = ?3)",
                )?;
                let deleted =
                    statement.execute(params![realm.workspace(), id, realm.environment()])?;
                Ok(deleted > 0)
            })
            .await
    }

    /// Takes the session for `owner`: from now on only commits with the returned fence succeed.
    pub async fn claim(self, id: &str, owner: &str) -> Result<Fence, ClaimError> {
        let (id, owner) = (id.to_owned(), owner.to_owned());
        self.0
            .write(move |connection| {
                let mut statement = connection.prepare_cached(
                    "UPDATE session_state SET fence = fence + 1, owner = ?2
                     WHERE session_id = ?1 RETURNING fence",
                )?;
                let fence = statement
                    .query_row([&id, &owner], |row| row.get(0))
                    .optional()?;
                fence.map(Fence).ok_or(ClaimError::NotFound)
            })
            .await
    }

    /// Realm (the whole workspace) and id of every session that a starting server must look at: running, being
    /// rescheduled, waiting for a caller's answer, or with queued events. Not the terminated ones.
    pub async fn unfinished(self) -> Result<Vec<(Realm, String)>, StoreError> {
        self.0
            .read(|connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT workspace_id, id FROM sessions
                     JOIN session_state ON session_state.session_id = sessions.id
                     WHERE status <> 'terminated' AND sessions.id IN (
                         SELECT session_id FROM session_state
                         WHERE status IN ('running', 'rescheduling') OR attention = 1
                         UNION
                         SELECT session_id FROM events WHERE seq IS NULL
                     ) ORDER BY number",
                )?;
                let rows = statement.query_map([], |row| {
                    Ok((Realm::of(row.get::<_, String>(0)?), row.get(1)?))
                })?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }

    async fn changed<F>(
        self,
        realm: &Realm,
        id: &str,
        change: F,
    ) -> Result<Option<SessionRow>, StoreError>
    where
        F: Fn(&Connection, &str) -> rusqlite::Result<()> + Send + 'static,
    {
        let (realm, id) = (realm.clone(), id.to_owned());
        self.0
            .write(move |connection| {
                if row::get(connection, &realm, &id)?.is_none() {
                    return Ok(None);
                }
                change(connection, &id)?;
                Ok(row::get(connection, &realm, &id)?)
            })
            .await
    }
}

/// Refuses a commit of anyone but the newest owner; `None` when the session is absent.
pub(crate) fn fence(connection: &Connection, session: &str) -> rusqlite::Result<Option<Fence>> {
    connection
        .prepare_cached("SELECT fence FROM session_state WHERE session_id = ?1")?
        .query_row([session], |row| row.get(0).map(Fence))
        .optional()
}

/// The status of a session of the realm.
pub(crate) fn status(
    connection: &Connection,
    realm: &Realm,
    session: &str,
) -> rusqlite::Result<Option<Status>> {
    connection
        .prepare_cached(
            "SELECT status FROM sessions JOIN session_state ON session_id = id
             WHERE workspace_id = ?1 AND id = ?2 AND (?3 IS NULL OR environment_id = ?3)",
        )?
        .query_row(
            params![realm.workspace(), session, realm.environment()],
            |row| row.get(0),
        )
        .optional()
}

/// Changes what `update` names and the date of the last change.
pub(crate) fn apply_update(
    connection: &Connection,
    session: &str,
    update: &SessionUpdate,
    at: DateTime<Utc>,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE sessions SET
                 title = iif(?2, ?3, title), metadata = coalesce(?4, metadata),
                 agent = coalesce(?5, agent), budget = iif(?6, ?7, budget)
             WHERE id = ?1",
        )?
        .execute(params![
            session,
            update.title.is_some(),
            update.title.as_ref().and_then(Option::as_ref),
            update.metadata,
            update.agent,
            update.budget.is_some(),
            update.budget.as_ref().and_then(Option::as_ref),
        ])?;
    touch(connection, session, at)
}

/// Sets the archive date and the status `terminated`, once.
pub(crate) fn apply_archive(
    connection: &Connection,
    session: &str,
    at: DateTime<Utc>,
) -> rusqlite::Result<()> {
    let archived = connection
        .prepare_cached(
            "UPDATE sessions SET archived_at = ?2 WHERE id = ?1 AND archived_at IS NULL",
        )?
        .execute(params![session, Micros(at)])?;
    if archived > 0 {
        connection
            .prepare_cached(
                "UPDATE session_state SET status = 'terminated', attention = 0,
                     ended_at = coalesce(ended_at, ?2)
                 WHERE session_id = ?1",
            )?
            .execute(params![session, Micros(at)])?;
        touch(connection, session, at)?;
    }
    Ok(())
}

fn touch(connection: &Connection, session: &str, at: DateTime<Utc>) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE session_state SET updated_at = ?2 WHERE session_id = ?1")?
        .execute(params![session, Micros(at)])?;
    Ok(())
}

fn check_quota(connection: &Connection, row: &SessionRow) -> Result<(), CreateSessionError> {
    match workspaces::full(connection, &row.workspace_id)? {
        Some(limit) => Err(CreateSessionError::Quota { limit }),
        None => Ok(()),
    }
}

fn check_agent(connection: &Connection, row: &SessionRow) -> Result<(), CreateSessionError> {
    let archived: Option<bool> = connection
        .prepare_cached(
            "SELECT archived_at IS NOT NULL FROM agents
             WHERE workspace_id = ?1 AND id = ?2 AND version >= ?3 AND ?3 >= 1",
        )?
        .query_row(
            params![row.workspace_id, row.agent_id, row.agent_version],
            |row| row.get(0),
        )
        .optional()?;
    match archived {
        None => Err(CreateSessionError::AgentNotFound),
        Some(true) => Err(CreateSessionError::AgentArchived),
        Some(false) => Ok(()),
    }
}

fn check_environment(connection: &Connection, row: &SessionRow) -> Result<(), CreateSessionError> {
    let archived: Option<bool> = connection
        .prepare_cached(
            "SELECT archived_at IS NOT NULL FROM environments WHERE workspace_id = ?1 AND id = ?2",
        )?
        .query_row(params![row.workspace_id, row.environment_id], |row| {
            row.get(0)
        })
        .optional()?;
    match archived {
        None => Err(CreateSessionError::EnvironmentNotFound),
        Some(true) => Err(CreateSessionError::EnvironmentArchived),
        Some(false) => Ok(()),
    }
}
