//! Workspaces: tenants, with what they may use. None is ever deleted, because what they used stays
//! counted; one whose keys are revoked opens for nobody.

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};

use crate::cursor::List;
use crate::page::Dated;
use crate::time::Micros;
use crate::{InsertError, ListError, Order, Page, PageQuery, Store, StoreError, TimeRange};

/// Which workspaces and keys an administrator sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Those of the whole server.
    Server,
    /// Those of one workspace.
    Workspace(String),
}

impl Reach {
    /// The only workspace; `None` is all.
    pub(crate) fn workspace(&self) -> Option<&str> {
        match self {
            Reach::Server => None,
            Reach::Workspace(id) => Some(id),
        }
    }
}

/// One workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkspaceRow {
    /// Its id.
    pub id: String,
    /// A name for people.
    pub name: String,
    /// Sessions that it may have which are not over; `None` is no limit. Kept in the transaction that
    /// makes one.
    pub max_sessions: Option<u32>,
    /// All its limits as JSON text, the one above included.
    pub limits: String,
    /// When it was made; the first one has the epoch.
    pub created_at: DateTime<Utc>,
}

const SELECT: &str = "SELECT workspaces.number, workspaces.id, workspaces.name,
    workspaces.max_sessions, workspaces.limits, workspaces.created_at FROM workspaces";

/// Operations on workspaces; see [`Store::workspaces`].
#[derive(Clone, Copy)]
pub struct Workspaces<'a>(pub(crate) &'a Store);

impl Workspaces<'_> {
    /// Makes a workspace.
    pub async fn create(self, row: WorkspaceRow) -> Result<(), InsertError> {
        self.0
            .write(move |connection| {
                connection
                    .prepare_cached(
                        "INSERT INTO workspaces (id, number, name, max_sessions, limits, created_at)
                         SELECT ?1, max(number) + 1, ?2, ?3, ?4, ?5 FROM workspaces",
                    )?
                    .execute(params![
                        row.id,
                        row.name,
                        row.max_sessions,
                        row.limits,
                        Micros(row.created_at)
                    ])?;
                Ok(())
            })
            .await
    }

    /// One workspace.
    pub async fn get(self, reach: &Reach, id: &str) -> Result<Option<WorkspaceRow>, StoreError> {
        let (reach, id) = (reach.clone(), id.to_owned());
        self.0
            .read(move |connection| Ok(get(connection, &reach, &id)?))
            .await
    }

    /// The workspaces within reach, newest first.
    pub async fn list(
        self,
        reach: &Reach,
        page: PageQuery,
    ) -> Result<Page<WorkspaceRow>, ListError> {
        let reach = reach.clone();
        self.0
            .read(move |connection| {
                let dated = Dated {
                    list: List::Workspaces,
                    order: Order::Desc,
                    select: SELECT,
                    base: "workspaces",
                    condition: "(:reach IS NULL OR workspaces.id = :reach)",
                    values: named_params! { ":reach": reach.workspace() },
                    created: TimeRange::default(),
                };
                dated.page(connection, &page, parse)
            })
            .await
    }

    /// Every workspace that has limits.
    pub async fn limited(self) -> Result<Vec<WorkspaceRow>, StoreError> {
        self.0
            .read(|connection| {
                let sql = format!("{SELECT} WHERE limits <> '{{}}' ORDER BY number");
                let mut statement = connection.prepare_cached(&sql)?;
                let rows = statement.query_map([], parse)?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// Replaces name and limits; `None` when there is no such workspace.
    pub async fn update(self, row: WorkspaceRow) -> Result<Option<WorkspaceRow>, StoreError> {
        self.0
            .write(move |connection| {
                connection
                    .prepare_cached(
                        "UPDATE workspaces SET name = ?2, max_sessions = ?3, limits = ?4
                         WHERE id = ?1",
                    )?
                    .execute(params![row.id, row.name, row.max_sessions, row.limits])?;
                Ok(get(connection, &Reach::Server, &row.id)?)
            })
            .await
    }
}

/// How many sessions a workspace may have, when it has as many by now.
pub(crate) fn full(connection: &Connection, workspace: &str) -> rusqlite::Result<Option<u32>> {
    let max: Option<u32> = connection
        .prepare_cached("SELECT max_sessions FROM workspaces WHERE id = ?1")?
        .query_row([workspace], |row| row.get(0))
        .optional()?
        .flatten();
    let Some(max) = max else { return Ok(None) };
    let sessions: u32 = connection
        .prepare_cached(
            "SELECT count(*) FROM (SELECT 1 FROM sessions
                 JOIN session_state ON session_state.session_id = sessions.id
                 WHERE workspace_id = ?1 AND status <> 'terminated' LIMIT ?2)",
        )?
        .query_row(params![workspace, max], |row| row.get(0))?;
    Ok((sessions >= max).then_some(max))
}

fn get(connection: &Connection, reach: &Reach, id: &str) -> rusqlite::Result<Option<WorkspaceRow>> {
    let sql = format!("{SELECT} WHERE id = ?1 AND (?2 IS NULL OR id = ?2)");
    connection
        .prepare_cached(&sql)?
        .query_row(params![id, reach.workspace()], parse)
        .optional()
}

fn parse(row: &Row<'_>) -> rusqlite::Result<WorkspaceRow> {
    Ok(WorkspaceRow {
        id: row.get(1)?,
        name: row.get(2)?,
        max_sessions: row.get(3)?,
        limits: row.get(4)?,
        created_at: row.get::<_, Micros>(5)?.0,
    })
}
