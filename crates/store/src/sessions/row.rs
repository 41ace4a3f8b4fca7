//! The session record: its fields, how they lie in two tables, and the words for its status.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use crate::Realm;
use crate::time::Micros;

/// One session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub workspace_id: String,
    /// The agent it was made from.
    pub agent_id: String,
    /// The agent's version, pinned.
    pub agent_version: u32,
    /// The agent as this session uses it, as JSON text.
    pub agent: String,
    /// The environment it runs in.
    pub environment_id: String,
    /// The environment's configuration at creation, as JSON text.
    pub environment: String,
    /// The vaults that it was given, as a JSON list of ids.
    pub vault_ids: String,
    /// A name for people.
    pub title: Option<String>,
    /// The caller's own pairs, as JSON text.
    pub metadata: String,
    /// The spending limit as JSON text, if there is one.
    pub budget: Option<String>,
    /// What it is doing.
    pub status: Status,
    /// Whether it idles because a caller must answer something first.
    pub attention: bool,
    /// The id by which the `claude` process knows the conversation.
    pub claude_session: String,
    /// What it has used, as JSON text.
    pub usage: String,
    /// Its running times and the like, as JSON text.
    pub stats: String,
    /// When it was made; kept to the microsecond like every time here.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
    /// When it was archived, if it was.
    pub archived_at: Option<DateTime<Utc>>,
}

/// What a session is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Waiting for a message.
    Idle,
    /// In a turn.
    Running,
    /// Recovering from a failure.
    Rescheduling,
    /// Over for good.
    Terminated,
}

/// A text that is no status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a session status")]
pub struct ParseStatusError;

impl Status {
    /// The word for it, here and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Idle => "idle",
            Status::Running => "running",
            Status::Rescheduling => "rescheduling",
            Status::Terminated => "terminated",
        }
    }
}

impl FromStr for Status {
    type Err = ParseStatusError;

    fn from_str(text: &str) -> Result<Status, ParseStatusError> {
        [
            Status::Idle,
            Status::Running,
            Status::Rescheduling,
            Status::Terminated,
        ]
        .into_iter()
        .find(|status| status.as_str() == text)
        .ok_or(ParseStatusError)
    }
}

impl ToSql for Status {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

impl FromSql for Status {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Status> {
        value
            .as_str()?
            .parse()
            .map_err(|error| FromSqlError::Other(Box::new(error)))
    }
}

pub(super) const SELECT: &str =
    "SELECT sessions.number, id, workspace_id, agent_id, agent_version, agent,
    environment_id, environment, title, metadata, budget, status, attention, claude_session, usage,
    stats, created_at, updated_at, archived_at, vault_ids
    FROM sessions JOIN session_state ON session_id = id";

pub(super) fn get(
    connection: &Connection,
    realm: &Realm,
    id: &str,
) -> rusqlite::Result<Option<SessionRow>> {
    let sql = format!(
        "{SELECT} WHERE workspace_id = ?1 AND id = ?2 AND (?3 IS NULL OR environment_id = ?3)"
    );
    connection
        .prepare_cached(&sql)?
        .query_row(params![realm.workspace(), id, realm.environment()], parse)
        .optional()
}

pub(super) fn insert(connection: &Connection, row: &SessionRow) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO sessions (id, workspace_id, agent_id, agent_version, agent, environment_id,
                 environment, title, metadata, budget, created_at, archived_at, vault_ids)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        )?
        .execute(params![
            row.id,
            row.workspace_id,
            row.agent_id,
            row.agent_version,
            row.agent,
            row.environment_id,
            row.environment,
            row.title,
            row.metadata,
            row.budget,
            Micros(row.created_at),
            row.archived_at.map(Micros),
            row.vault_ids,
        ])?;
    connection
        .prepare_cached(
            "INSERT INTO session_state (session_id, status, attention, fence, claude_session, usage,
                 stats, updated_at)
             VALUES (?1, ?2, ?3, 0, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            row.id,
            row.status,
            row.attention,
            row.claude_session,
            row.usage,
            row.stats,
            Micros(row.updated_at),
        ])?;
    Ok(())
}

pub(super) fn parse(row: &Row<'_>) -> rusqlite::Result<SessionRow> {
    Ok(SessionRow {
        id: row.get(1)?,
        workspace_id: row.get(2)?,
        agent_id: row.get(3)?,
        agent_version: row.get(4)?,
        agent: row.get(5)?,
        environment_id: row.get(6)?,
        environment: row.get(7)?,
        title: row.get(8)?,
        metadata: row.get(9)?,
        budget: row.get(10)?,
        status: row.get(11)?,
        attention: row.get(12)?,
        claude_session: row.get(13)?,
        usage: row.get(14)?,
        stats: row.get(15)?,
        created_at: row.get::<_, Micros>(16)?.0,
        updated_at: row.get::<_, Micros>(17)?.0,
        archived_at: row.get::<_, Option<Micros>>(18)?.map(|at| at.0),
        vault_ids: row.get(19)?,
    })
}
