//! Callers' keys, as hashes. Never sees or returns a key itself.

use chrono::{DateTime, Utc};
use rusqlite::{OptionalExtension, Row, params};

use crate::time::Micros;
use crate::{Store, StoreError};

/// One key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    /// Its id, not secret.
    pub id: String,
    /// Whose records it opens.
    pub workspace_id: String,
    /// SHA-256 of the whole key.
    pub sha256: [u8; 32],
    /// Enough of the key to recognise it in a list, too little to use it.
    pub hint: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// Operations on keys; see [`Store::keys`].
#[derive(Clone, Copy)]
pub struct Keys<'a>(pub(crate) &'a Store);

impl Keys<'_> {
    /// Adds a key. Adding the same hash again changes nothing, so that a key given by configuration
    /// can be added at every start.
    pub async fn insert(self, key: KeyRow) -> Result<(), StoreError> {
        self.0
            .write(move |connection| {
                let mut statement = connection.prepare_cached(
                    "INSERT INTO keys (id, workspace_id, sha256, hint, created_at)
                     VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (sha256) DO NOTHING",
                )?;
                let created_at = Micros(key.created_at);
                statement.execute(params![
                    key.id,
                    key.workspace_id,
                    key.sha256,
                    key.hint,
                    created_at
                ])?;
                Ok(())
            })
            .await
    }

    /// The key with this hash.
    pub async fn find_by_hash(self, sha256: &[u8; 32]) -> Result<Option<KeyRow>, StoreError> {
        let sha256 = *sha256;
        self.0
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT id, workspace_id, sha256, hint, created_at FROM keys WHERE sha256 = ?1",
                )?;
                Ok(statement.query_row([sha256], parse).optional()?)
            })
            .await
    }

    /// Whether there is a key at all.
    pub async fn any(self) -> Result<bool, StoreError> {
        self.0
            .read(|connection| {
                let mut statement =
                    connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM keys)")?;
                Ok(statement.query_row([], |row| row.get(0))?)
            })
            .await
    }
}

fn parse(row: &Row<'_>) -> rusqlite::Result<KeyRow> {
    Ok(KeyRow {
        id: row.get(0)?,
        workspace_id: row.get(1)?,
        sha256: row.get(2)?,
        hint: row.get(3)?,
        created_at: row.get::<_, Micros>(4)?.0,
    })
}
