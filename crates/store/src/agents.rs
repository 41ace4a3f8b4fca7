//! Agents. A version, once made, never changes; an update adds the next one. Agents are archived,
//! never deleted, because sessions keep referring to their versions.

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};

use crate::cursor::{self, List};
use crate::error::{from_engine, is_duplicate};
use crate::page::Dated;
use crate::time::Micros;
use crate::{ListError, Order, Page, PageQuery, Realm, Store, StoreError, TimeRange};

/// One version of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentRow {
    /// The agent's id, the same for all versions.
    pub id: String,
    /// Whose it is.
    pub workspace_id: String,
    /// This version, from 1.
    pub version: u32,
    /// The definition as JSON text, exactly as it was given.
    pub body: String,
    /// When the agent's first version was made.
    pub created_at: DateTime<Utc>,
    /// When this version was made.
    pub updated_at: DateTime<Utc>,
    /// When the agent was archived, if it was.
    pub archived_at: Option<DateTime<Utc>>,
}

/// An agent to be, with its first version.
#[derive(Clone, Debug)]
pub struct NewAgent {
    /// A fresh id.
    pub id: String,
    /// Whose it is; must exist.
    pub workspace_id: String,
    /// The definition as JSON text.
    pub body: String,
    /// When it is made; kept to the microsecond.
    pub created_at: DateTime<Utc>,
}

/// What [`Agents::list`] shows, newest first.
#[derive(Clone, Debug, Default)]
pub struct AgentQuery {
    /// Bounds on the agents' creation.
    pub created: TimeRange,
    /// Whether archived ones are shown, too.
    pub include_archived: bool,
    /// Which page.
    pub page: PageQuery,
}

/// Why a record could not be added.
#[derive(Debug, thiserror::Error)]
pub enum InsertError {
    /// The id is taken.
    #[error("the id is already in use")]
    Duplicate,
    /// The storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for InsertError {
    fn from(error: rusqlite::Error) -> InsertError {
        if is_duplicate(&error) {
            InsertError::Duplicate
        } else {
            StoreError::from(error).into()
        }
    }
}

/// Why a version could not be added.
#[derive(Debug, thiserror::Error)]
pub enum AddVersionError {
    /// No such agent in the workspace.
    #[error("the agent does not exist")]
    NotFound,
    /// Archived agents do not change.
    #[error("the agent is archived")]
    Archived,
    /// The newest version is not the one the caller started from.
    #[error("the agent is at version {current}")]
    VersionMismatch {
        /// The newest version.
        current: u32,
    },
    /// The storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
from_engine!(AddVersionError);

const SELECT: &str = "SELECT agents.number, agents.id, agents.workspace_id, agent_versions.version,
    agent_versions.body, agents.created_at, agent_versions.created_at AS updated_at,
    agents.archived_at
    FROM agents JOIN agent_versions ON agent_versions.agent_id = agents.id";

/// Operations on agents; see [`Store::agents`].
#[derive(Clone, Copy)]
pub struct Agents<'a>(pub(crate) &'a Store);

impl Agents<'_> {
    /// Makes an agent with version 1.
    pub async fn create(self, agent: NewAgent) -> Result<(), InsertError> {
        self.0
            .write(move |connection| {
                let created_at = Micros(agent.created_at);
                connection
                    .prepare_cached(
                        "INSERT INTO agents (id, workspace_id, version, created_at)
                         VALUES (?1, ?2, 1, ?3)",
                    )?
                    .execute(params![agent.id, agent.workspace_id, created_at])?;
                insert_version(connection, &agent.id, 1, &agent.body, created_at)?;
                Ok(())
            })
            .await
    }

    /// The given version of an agent, or its newest.
    pub async fn get(
        self,
        realm: &Realm,
        id: &str,
        version: Option<u32>,
    ) -> Result<Option<AgentRow>, StoreError> {
        let (realm, id) = (realm.clone(), id.to_owned());
        self.0
            .read(move |connection| Ok(get(connection, &realm, &id, version)?))
            .await
    }

    /// Adds the next version, if the newest is still `expected` (when given).
    pub async fn add_version(
        self,
        realm: &Realm,
        id: &str,
        expected: Option<u32>,
        body: String,
        at: DateTime<Utc>,
    ) -> Result<AgentRow, AddVersionError> {
        let (realm, id) = (realm.clone(), id.to_owned());
        self.0
            .write(move |connection| {
                let newest =
                    get(connection, &realm, &id, None)?.ok_or(AddVersionError::NotFound)?;
                if newest.archived_at.is_some() {
                    return Err(AddVersionError::Archived);
                }
                if expected.is_some_and(|expected| expected != newest.version) {
                    return Err(AddVersionError::VersionMismatch {
                        current: newest.version,
                    });
                }
                let version = newest.version + 1;
                insert_version(connection, &id, version, &body, Micros(at))?;
                connection
                    .prepare_cached("UPDATE agents SET version = ?2 WHERE id = ?1")?
                    .execute(params![id, version])?;
                get(connection, &realm, &id, None)?.ok_or(AddVersionError::NotFound)
            })
            .await
    }

    /// The newest versions of a workspace's agents, the newest agent first.
    pub async fn list(self, realm: &Realm, query: AgentQuery) -> Result<Page<AgentRow>, ListError> {
        let realm = realm.clone();
        self.0
            .read(move |connection| {
                let dated = Dated {
                    list: List::Agents,
                    order: Order::Desc,
                    select: SELECT,
                    base: "agents",
                    condition: "agents.workspace_id = :workspace
                        AND agent_versions.version = agents.version
                        AND (:archived OR agents.archived_at IS NULL)",
                    values: named_params! {
                        ":workspace": realm.workspace(),
                        ":archived": query.include_archived,
                    },
                    created: query.created,
                };
                dated.page(connection, &query.page, parse)
            })
            .await
    }

    /// All versions of an agent, newest first; `None` when there is no such agent.
    pub async fn versions(
        self,
        realm: &Realm,
        id: &str,
        query: PageQuery,
    ) -> Result<Option<Page<AgentRow>>, ListError> {
        let (realm, id) = (realm.clone(), id.to_owned());
        self.0
            .read(move |connection| {
                let below: u32 = match &query.cursor {
                    Some(text) => cursor::decode(text, List::AgentVersions, Order::Desc)?,
                    None => u32::MAX,
                };
                if get(connection, &realm, &id, None)?.is_none() {
                    return Ok(None);
                }
                versions_below(connection, &id, below, query.rows()).map(Some)
            })
            .await
    }

    /// Archives an agent, or leaves an archived one as it is; the newest version, or `None` when
    /// there is no such agent.
    pub async fn archive(
        self,
        realm: &Realm,
        id: &str,
        at: DateTime<Utc>,
    ) -> Result<Option<AgentRow>, StoreError> {
        let (realm, id) = (realm.clone(), id.to_owned());
        self.0
            .write(move |connection| {
                connection
                    .prepare_cached(
                        "UPDATE agents SET archived_at = ?3
                         WHERE workspace_id = ?1 AND id = ?2 AND archived_at IS NULL",
                    )?
                    .execute(params![realm.workspace(), id, Micros(at)])?;
                Ok(get(connection, &realm, &id, None)?)
            })
            .await
    }
}

fn versions_below(
    connection: &Connection,
    id: &str,
    below: u32,
    limit: usize,
) -> Result<Page<AgentRow>, ListError> {
    let sql = format!(
        "{SELECT} WHERE agents.id = ?1 AND agent_versions.version < ?2
         ORDER BY agent_versions.version DESC LIMIT ?3"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![id, below, limit as i64 + 1], parse)?;
    let mut rows: Vec<AgentRow> = rows.collect::<Result<_, _>>()?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows
        .last()
        .filter(|_| more)
        .map(|row| cursor::encode(List::AgentVersions, Order::Desc, row.version));
    Ok(Page {
        rows,
        next,
        prev: None,
    })
}

fn get(
    connection: &Connection,
    realm: &Realm,
    id: &str,
    version: Option<u32>,
) -> rusqlite::Result<Option<AgentRow>> {
    let sql = format!(
        "{SELECT} WHERE agents.workspace_id = ?1 AND agents.id = ?2
         AND agent_versions.version = coalesce(?3, agents.version)"
    );
    connection
        .prepare_cached(&sql)?
        .query_row(params![realm.workspace(), id, version], parse)
        .optional()
}

fn insert_version(
    connection: &Connection,
    id: &str,
    version: u32,
    body: &str,
    at: Micros,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO agent_versions (agent_id, version, created_at, body)
             VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![id, version, at, body])?;
    Ok(())
}

fn parse(row: &Row<'_>) -> rusqlite::Result<AgentRow> {
    Ok(AgentRow {
        id: row.get(1)?,
        workspace_id: row.get(2)?,
        version: row.get(3)?,
        body: row.get(4)?,
        created_at: row.get::<_, Micros>(5)?.0,
        updated_at: row.get::<_, Micros>(6)?.0,
        archived_at: row.get::<_, Option<Micros>>(7)?.map(|at| at.0),
    })
}
