//! Callers' keys, as hashes. Never sees or returns a key itself, and never judges one: what a scope means
//! and whether an expiry has passed is the caller's to say.

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};

use crate::cursor::List;
use crate::error::{from_engine, is_dangling};
use crate::page::Dated;
use crate::time::Micros;
use crate::{ListError, Order, Page, PageQuery, Reach, Store, StoreError, TimeRange};

/// One key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    /// Its id, not secret.
    pub id: String,
    /// Whose records it opens.
    pub workspace_id: String,
    /// The only environment that it opens; `None` is all.
    pub environment_id: Option<String>,
    /// A name for people.
    pub name: String,
    /// What it is for, in one word.
    pub scope: String,
    /// SHA-256 of the whole key.
    pub sha256: [u8; 32],
    /// Enough of the key to recognise it in a list, too little to use it.
    pub hint: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// From when on it opens nothing.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was revoked, if it was.
    pub revoked_at: Option<DateTime<Utc>>,
    /// About when it was last used.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// What a rotation changes: the new key's secret part, and until when the old one is good.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// The new key's id.
    pub id: String,
    /// SHA-256 of the new key.
    pub sha256: [u8; 32],
    /// Enough of the new key to recognise it.
    pub hint: String,
    /// When it is made.
    pub at: DateTime<Utc>,
    /// From when on the old key opens nothing, unless that was sooner anyway.
    pub old_until: DateTime<Utc>,
}

/// What [`Keys::list`] shows, newest first.
#[derive(Clone, Debug, Default)]
pub struct KeyQuery {
    /// Only keys of this workspace.
    pub workspace_id: Option<String>,
    /// Whether revoked ones are shown, too.
    pub include_revoked: bool,
    /// Which page.
    pub page: PageQuery,
}

/// Why a key could not be added.
#[derive(Debug, thiserror::Error)]
pub enum InsertKeyError {
    /// No such workspace, or no such environment in it.
    #[error("the workspace or environment does not exist")]
    NotFound,
    /// The storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for InsertKeyError {
    fn from(error: rusqlite::Error) -> InsertKeyError {
        match is_dangling(&error) {
            true => InsertKeyError::NotFound,
            false => StoreError::from(error).into(),
        }
    }
}

/// Why a key could not be rotated.
#[derive(Debug, thiserror::Error)]
pub enum RotateKeyError {
    /// No such key within reach.
    #[error("the key does not exist")]
    NotFound,
    /// A key that opens nothing is not rotated.
    #[error("the key has expired or was revoked")]
    Over,
    /// The storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
from_engine!(RotateKeyError);

const SELECT: &str =
    "SELECT keys.number, keys.id, keys.workspace_id, keys.environment_id, keys.name,
    keys.scope, keys.sha256, keys.hint, keys.created_at, keys.expires_at, keys.revoked_at,
    keys.last_used_at FROM keys";

/// Operations on keys; see [`Store::keys`].
#[derive(Clone, Copy)]
pub struct Keys<'a>(pub(crate) &'a Store);

impl Keys<'_> {
    /// Adds a key. Its environment must be one of its workspace.
    pub async fn insert(self, key: KeyRow) -> Result<(), InsertKeyError> {
        self.0
            .write(move |connection| {
                let fits: bool = connection
                    .prepare_cached(
                        "SELECT ?2 IS NULL OR EXISTS
                             (SELECT 1 FROM environments WHERE workspace_id = ?1 AND id = ?2)",
                    )?
                    .query_row(params![key.workspace_id, key.environment_id], |row| {
                        row.get(0)
                    })?;
                if !fits {
                    return Err(InsertKeyError::NotFound);
                }
                Ok(insert(connection, &key)?)
            })
            .await
    }

    /// Keys whose hash begins like this one, of which there is one or none. The search itself sees the
    /// first eight bytes alone, so that how long it takes says nothing about the others: whoever asks
    /// compares those, in constant time.
    pub async fn candidates(self, sha256: &[u8; 32]) -> Result<Vec<KeyRow>, StoreError> {
        let (mut first, mut last) = ([0; 32], [0xff; 32]);
        first[..8].copy_from_slice(&sha256[..8]);
        last[..8].copy_from_slice(&sha256[..8]);
        self.0
            .read(move |connection| {
                let sql = format!("{SELECT} WHERE sha256 BETWEEN ?1 AND ?2");
                let mut statement = connection.prepare_cached(&sql)?;
                let rows = statement.query_map([first, last], parse)?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// Whether a workspace has a key of this scope that is good at `at`.
    pub async fn any(
        self,
        workspace: &str,
        scope: &str,
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let (workspace, scope) = (workspace.to_owned(), scope.to_owned());
        self.0
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT EXISTS (SELECT 1 FROM keys WHERE workspace_id = ?1 AND scope = ?2
                         AND revoked_at IS NULL AND coalesce(expires_at > ?3, TRUE))",
                )?;
                Ok(statement.query_row(params![workspace, scope, Micros(at)], |row| row.get(0))?)
            })
            .await
    }

    /// One key.
    pub async fn get(self, reach: &Reach, id: &str) -> Result<Option<KeyRow>, StoreError> {
        let (reach, id) = (reach.clone(), id.to_owned());
        self.0
            .read(move |connection| Ok(get(connection, &reach, &id)?))
            .await
    }

    /// The keys within reach, newest first.
    pub async fn list(self, reach: &Reach, query: KeyQuery) -> Result<Page<KeyRow>, ListError> {
        let reach = reach.clone();
        self.0
            .read(move |connection| {
                let dated = Dated {
                    list: List::Keys,
                    order: Order::Desc,
                    select: SELECT,
                    base: "keys",
                    condition: "(:reach IS NULL OR keys.workspace_id = :reach)
                        AND (:workspace IS NULL OR keys.workspace_id = :workspace)
                        AND (:revoked OR keys.revoked_at IS NULL)",
                    values: named_params! {
                        ":reach": reach.workspace(),
                        ":workspace": query.workspace_id,
                        ":revoked": query.include_revoked,
                    },
                    created: TimeRange::default(),
                };
                dated.page(connection, &query.page, parse)
            })
            .await
    }

    /// Makes a key that opens what another opens, and ends the other at [`Rotation::old_until`]; both
    /// or neither. The new key.
    pub async fn rotate(
        self,
        reach: &Reach,
        id: &str,
        rotation: Rotation,
    ) -> Result<KeyRow, RotateKeyError> {
        let (reach, id) = (reach.clone(), id.to_owned());
        self.0
            .write(move |connection| {
                let old = get(connection, &reach, &id)?.ok_or(RotateKeyError::NotFound)?;
                let expired = old.expires_at.is_some_and(|at| at <= rotation.at);
                if old.revoked_at.is_some() || expired {
                    return Err(RotateKeyError::Over);
                }
                connection
                    .prepare_cached(
                        "UPDATE keys SET expires_at = min(coalesce(expires_at, ?2), ?2)
                         WHERE id = ?1",
                    )?
                    .execute(params![id, Micros(rotation.old_until)])?;
                let new = KeyRow {
                    id: rotation.id.clone(),
                    sha256: rotation.sha256,
                    hint: rotation.hint.clone(),
                    created_at: rotation.at,
                    last_used_at: None,
                    ..old
                };
                insert(connection, &new)?;
                Ok(new)
            })
            .await
    }

    /// Revokes a key, or leaves a revoked one as it is; `None` when there is none within reach.
    pub async fn revoke(
        self,
        reach: &Reach,
        id: &str,
        at: DateTime<Utc>,
    ) -> Result<Option<KeyRow>, StoreError> {
        let (reach, id) = (reach.clone(), id.to_owned());
        self.0
            .write(move |connection| {
                connection
                    .prepare_cached(
                        "UPDATE keys SET revoked_at = ?3 WHERE id = ?1
                         AND (?2 IS NULL OR workspace_id = ?2) AND revoked_at IS NULL",
                    )?
                    .execute(params![id, reach.workspace(), Micros(at)])?;
                Ok(get(connection, &reach, &id)?)
            })
            .await
    }

    /// Says that a key was used. An earlier time changes nothing.
    pub async fn used(self, id: &str, at: DateTime<Utc>) -> Result<(), StoreError> {
        let id = id.to_owned();
        self.0
            .write(move |connection| {
                connection
                    .prepare_cached(
                        "UPDATE keys SET last_used_at = max(coalesce(last_used_at, ?2), ?2)
                         WHERE id = ?1",
                    )?
                    .execute(params![id, Micros(at)])?;
                Ok(())
            })
            .await
    }
}

fn insert(connection: &Connection, key: &KeyRow) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO keys (id, workspace_id, environment_id, name, scope, sha256, hint,
                 created_at, expires_at, revoked_at, last_used_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?
        .execute(params![
            key.id,
            key.workspace_id,
            key.environment_id,
            key.name,
            key.scope,
            key.sha256,
            key.hint,
            Micros(key.created_at),
            key.expires_at.map(Micros),
            key.revoked_at.map(Micros),
            key.last_used_at.map(Micros),
        ])?;
    Ok(())
}

fn get(connection: &Connection, reach: &Reach, id: &str) -> rusqlite::Result<Option<KeyRow>> {
    let sql = format!("{SELECT} WHERE id = ?1 AND (?2 IS NULL OR workspace_id = ?2)");
    connection
        .prepare_cached(&sql)?
        .query_row(params![id, reach.workspace()], parse)
        .optional()
}

fn parse(row: &Row<'_>) -> rusqlite::Result<KeyRow> {
    let moment = |column| -> rusqlite::Result<Option<DateTime<Utc>>> {
        Ok(row.get::<_, Option<Micros>>(column)?.map(|at| at.0))
    };
    Ok(KeyRow {
        id: row.get(1)?,
        workspace_id: row.get(2)?,
        environment_id: row.get(3)?,
        name: row.get(4)?,
        scope: row.get(5)?,
        sha256: row.get(6)?,
        hint: row.get(7)?,
        created_at: row.get::<_, Micros>(8)?.0,
        expires_at: moment(9)?,
        revoked_at: moment(10)?,
        last_used_at: moment(11)?,
    })
}
