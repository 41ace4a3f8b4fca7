//! Environments. Not versioned: an update replaces the body, guarded by a revision so that two
//! updates that each read, merge and write cannot lose one another's change.

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};

use crate::cursor::List;
use crate::error::from_engine;
use crate::page::Dated;
use crate::retention::micros;
use crate::time::Micros;
use crate::{
    InsertError, Keep, ListError, Order, Page, PageQuery, Realm, Store, StoreError, TimeRange,
};

/// One environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentRow {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub workspace_id: String,
    /// Grows with every update, from 1. Not part of the API.
    pub revision: u32,
    /// The definition as JSON text, exactly as it was given.
    pub body: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last updated.
    pub updated_at: DateTime<Utc>,
    /// When it was archived, if it was.
    pub archived_at: Option<DateTime<Utc>>,
}

/// An environment to be.
#[derive(Clone, Debug)]
pub struct NewEnvironment {
    /// A fresh id.
    pub id: String,
    /// Whose it is; must exist.
    pub workspace_id: String,
    /// The definition as JSON text.
    pub body: String,
    /// How long what belongs to it is kept.
    pub keep: Keep,
    /// When it is made; kept to the microsecond.
    pub created_at: DateTime<Utc>,
}

/// What [`Environments::list`] shows, newest first.
#[derive(Clone, Debug, Default)]
pub struct EnvironmentQuery {
    /// Whether archived ones are shown, too.
    pub include_archived: bool,
    /// Which page.
    pub page: PageQuery,
}

/// Why an environment could not be updated.
#[derive(Debug, thiserror::Error)]
pub enum UpdateEnvironmentError {
    /// No such environment in the workspace.
    #[error("the environment does not exist")]
    NotFound,
    /// Archived environments do not change.
    #[error("the environment is archived")]
    Archived,
    /// Someone else has updated it since the caller read it: read, merge and try again.
    #[error("the environment is at revision {current}")]
    RevisionMismatch {
        /// The revision it has now.
        current: u32,
    },
    /// The storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
from_engine!(UpdateEnvironmentError);

/// Why an environment could not be deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteEnvironmentError {
    /// No such environment in the workspace.
    #[error("the environment does not exist")]
    NotFound,
    /// Sessions refer to it.
    #[error("the environment is used by {sessions} sessions")]
    InUse {
        /// How many.
        sessions: u64,
    },
    /// The storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
from_engine!(DeleteEnvironmentError);

const SELECT: &str = "SELECT environments.number, environments.id, environments.workspace_id,
    environments.revision, environments.body, environments.created_at, environments.updated_at,
    environments.archived_at FROM environments";

/// Operations on environments; see [`Store::environments`].
#[derive(Clone, Copy)]
pub struct Environments<'a>(pub(crate) &'a Store);

impl Environments<'_> {
    /// Makes an environment.
    pub async fn create(self, environment: NewEnvironment) -> Result<(), InsertError> {
        self.0
            .write(move |connection| {
                let NewEnvironment {
                    id,
                    workspace_id,
                    body,
                    keep,
                    created_at,
                } = &environment;
                connection
                    .prepare_cached(
                        "INSERT INTO environments
                             (id, workspace_id, revision, body, created_at, updated_at,
                              keep_sessions, keep_snapshots, keep_files)
                         VALUES (?1, ?2, 1, ?3, ?4, ?4, ?5, ?6, ?7)",
                    )?
                    .execute(params![
                        id,
                        workspace_id,
                        body,
                        Micros(*created_at),
                        micros(keep.sessions),
                        micros(keep.snapshots),
                        micros(keep.files),
                    ])?;
                Ok(())
            })
            .await
    }

    /// One environment.
    pub async fn get(self, realm: &Realm, id: &str) -> Result<Option<EnvironmentRow>, StoreError> {
        let (realm, id) = (realm.clone(), id.to_owned());
        self.0
            .read(move |connection| Ok(get(connection, &realm, &id)?))
            .await
    }

    /// Replaces the body and how long things are kept, if the revision is still `expected` (when given).
    pub async fn update(
        self,
        realm: &Realm,
        id: &str,
        expected: Option<u32>,
        body: String,
        keep: Keep,
        at: DateTime<Utc>,
    ) -> Result<EnvironmentRow, UpdateEnvironmentError> {
        let (realm, id) = (realm.clone(), id.to_owned());
        self.0
            .write(move |connection| {
                let row =
                    get(connection, &realm, &id)?.ok_or(UpdateEnvironmentError::NotFound)?;
                if row.archived_at.is_some() {
                    return Err(UpdateEnvironmentError::Archived);
                }
                if expected.is_some_and(|expected| expected != row.revision) {
                    return Err(UpdateEnvironmentError::RevisionMismatch {
                        current: row.revision,
                    });
                }
                connection
                    .prepare_cached(
                        "UPDATE environments SET body = ?2, revision = revision + 1, updated_at = ?3,
                             keep_sessions = ?4, keep_snapshots = ?5, keep_files = ?6
                         WHERE id = ?1",
                    )?
                    .execute(params![
                        id,
                        body,
                        Micros(at),
                        micros(keep.sessions),
                        micros(keep.snapshots),
                        micros(keep.files),
                    ])?;
                get(connection, &realm, &id)?.ok_or(UpdateEnvironmentError::NotFound)
            })
            .await
    }

    /// A workspace's environments, newest first.
    pub async fn list(
        self,
        realm: &Realm,
        query: EnvironmentQuery,
    ) -> Result<Page<EnvironmentRow>, ListError> {
        let realm = realm.clone();
        self.0
            .read(move |connection| {
                let dated = Dated {
                    list: List::Environments,
                    order: Order::Desc,
                    select: SELECT,
                    base: "environments",
                    condition: "environments.workspace_id = :workspace
                        AND (:environment IS NULL OR environments.id = :environment)
                        AND (:archived OR environments.archived_at IS NULL)",
                    values: named_params! {
                        ":workspace": realm.workspace(),
                        ":environment": realm.environment(),
                        ":archived": query.include_archived,
                    },
                    created: TimeRange::default(),
                };
                dated.page(connection, &query.page, parse)
            })
            .await
    }

    /// Archives an environment, or leaves an archived one as it is; `None` when there is none.
    pub async fn archive(
        self,
        realm: &Realm,
        id: &str,
        at: DateTime<Utc>,
    ) -> Result<Option<EnvironmentRow>, StoreError> {
        let (realm, id) = (realm.clone(), id.to_owned());
        self.0
            .write(move |connection| {
                connection
                    .prepare_cached(
                        "UPDATE environments
                         SET archived_at = ?3, updated_at = ?3, revision = revision + 1
                         WHERE workspace_id = ?1 AND id = ?2 AND (?4 IS NULL OR id = ?4)
                         AND archived_at IS NULL",
                    )?
                    .execute(params![
                        realm.workspace(),
                        id,
                        Micros(at),
                        realm.environment()
                    ])?;
                Ok(get(connection, &realm, &id)?)
            })
            .await
    }

    /// Deletes an environment that no session refers to.
    pub async fn delete(self, realm: &Realm, id: &str) -> Result<(), DeleteEnvironmentError> {
        let (realm, id) = (realm.clone(), id.to_owned());
        self.0
            .write(move |connection| {
                if get(connection, &realm, &id)?.is_none() {
                    return Err(DeleteEnvironmentError::NotFound);
                }
                let sessions: u64 = connection
                    .prepare_cached("SELECT count(*) FROM sessions WHERE environment_id = ?1")?
                    .query_row([&id], |row| row.get(0))?;
                if sessions > 0 {
                    return Err(DeleteEnvironmentError::InUse { sessions });
                }
                connection
                    .prepare_cached("DELETE FROM environments WHERE id = ?1")?
                    .execute([&id])?;
                Ok(())
            })
            .await
    }
}

fn get(
    connection: &Connection,
    realm: &Realm,
    id: &str,
) -> rusqlite::Result<Option<EnvironmentRow>> {
    let sql = format!(
        "{SELECT} WHERE environments.workspace_id = ?1 AND environments.id = ?2
         AND (?3 IS NULL OR environments.id = ?3)"
    );
    connection
        .prepare_cached(&sql)?
        .query_row(params![realm.workspace(), id, realm.environment()], parse)
        .optional()
}

fn parse(row: &Row<'_>) -> rusqlite::Result<EnvironmentRow> {
    Ok(EnvironmentRow {
        id: row.get(1)?,
        workspace_id: row.get(2)?,
        revision: row.get(3)?,
        body: row.get(4)?,
        created_at: row.get::<_, Micros>(5)?.0,
        updated_at: row.get::<_, Micros>(6)?.0,
        archived_at: row.get::<_, Option<Micros>>(7)?.map(|at| at.0),
    })
}
