//! Which snapshots of a session's files there are. Added by [`crate::Write::Snapshot`], together with
//! the events that they include. The content lies elsewhere: a row is a promise that it must stay.

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::time::Micros;
use crate::{Store, StoreError};

/// A snapshot to be; its content must be durable already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSnapshot {
    /// Its id, which names the content.
    pub id: String,
    /// When it was taken.
    pub created_at: DateTime<Utc>,
    /// Files in it.
    pub files: u64,
    /// Bytes of all files in it.
    pub bytes: u64,
    /// Bytes that it added to the disk.
    pub written: u64,
}

/// One snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotRow {
    /// Grows with every snapshot of any session.
    pub number: i64,
    /// Whose it is.
    pub session_id: String,
    /// The last number of the log that it includes.
    pub seq: i64,
    /// What it is.
    pub snapshot: NewSnapshot,
}

const COLUMNS: &str =
    "SELECT snapshots.session_id, snapshots.id, snapshots.seq, snapshots.created_at,
    snapshots.files, snapshots.bytes, snapshots.written, snapshots.number";

/// Operations on snapshots; see [`Store::snapshots`].
#[derive(Clone, Copy)]
pub struct Snapshots<'a>(pub(crate) &'a Store);

impl Snapshots<'_> {
    /// The newest one of a session.
    pub async fn latest(self, session: &str) -> Result<Option<SnapshotRow>, StoreError> {
        self.at(session, i64::MAX).await
    }

    /// The newest one that includes nothing after number `seq` of the log.
    pub async fn at(self, session: &str, seq: i64) -> Result<Option<SnapshotRow>, StoreError> {
        let session = session.to_owned();
        self.0
            .read(move |connection| {
                let sql = format!(
                    "{COLUMNS} FROM snapshots WHERE session_id = ?1 AND seq <= ?2
                     ORDER BY seq DESC, number DESC LIMIT 1"
                );
                let mut statement = connection.prepare_cached(&sql)?;
                Ok(statement
                    .query_row(params![session, seq], parse)
                    .optional()?)
            })
            .await
    }

    /// The last one of the directory that an environment's sessions have in common; its id.
    pub async fn common(self, environment: &str) -> Result<Option<String>, StoreError> {
        let environment = environment.to_owned();
        self.0
            .read(move |connection| {
                let mut statement = connection
                    .prepare_cached("SELECT id FROM common_snapshots WHERE environment_id = ?1")?;
                Ok(statement
                    .query_row([environment], |row| row.get(0))
                    .optional()?)
            })
            .await
    }

    /// From now on this is the last one of an environment's common directory. Of an environment that
    /// is gone nothing is kept.
    pub async fn keep_common(
        self,
        environment: &str,
        id: &str,
        at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let (environment, id) = (environment.to_owned(), id.to_owned());
        self.0
            .write(move |connection| {
                let mut statement = connection.prepare_cached(
                    "INSERT INTO common_snapshots (environment_id, id, created_at)
                     SELECT id, ?2, ?3 FROM environments WHERE id = ?1
                     ON CONFLICT (environment_id)
                     DO UPDATE SET id = excluded.id, created_at = excluded.created_at",
                )?;
                statement.execute(params![environment, id, Micros(at)])?;
                Ok(())
            })
            .await
    }

    /// All of a session, oldest first.
    pub async fn list(self, session: &str) -> Result<Vec<SnapshotRow>, StoreError> {
        let session = session.to_owned();
        self.0
            .read(move |connection| {
                let sql =
                    format!("{COLUMNS} FROM snapshots WHERE session_id = ?1 ORDER BY seq, number");
                let mut statement = connection.prepare_cached(&sql)?;
                let rows = statement.query_map([session], parse)?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// Forgets those of a session that are older than the newest with an id in `keep` and have none of
    /// its ids themselves; how many. Their content may be collected then, and not before. What is added
    /// meanwhile is newer and stays.
    pub async fn prune(self, session: &str, keep: Vec<String>) -> Result<usize, StoreError> {
        let session = session.to_owned();
        self.0
            .write(move |connection| {
                let mut statement = connection.prepare_cached(
                    "DELETE FROM snapshots WHERE session_id = ?1
                     AND id NOT IN (SELECT value FROM json_each(?2))
                     AND number < (SELECT max(number) FROM snapshots WHERE session_id = ?1
                         AND id IN (SELECT value FROM json_each(?2)))",
                )?;
                Ok(statement.execute([&session, &serde_json::json!(keep).to_string()])?)
            })
            .await
    }

    /// Those whose environment keeps them no longer, of every workspace, in the order of their numbers,
    /// beginning after `after` (0 begins), at most `limit`. The newest
    /// one of a session is never among them: it is what the session goes on from. Neither is
    /// one whose content a newer one has.
    pub async fn expired(
        self,
        now: DateTime<Utc>,
        after: i64,
        limit: usize,
    ) -> Result<Vec<SnapshotRow>, StoreError> {
        self.0
            .read(move |connection| {
                let sql = format!(
                    "{COLUMNS} FROM environments
                     CROSS JOIN sessions ON sessions.environment_id = environments.id
                     CROSS JOIN snapshots ON snapshots.session_id = sessions.id
                     WHERE keep_snapshots IS NOT NULL
                     AND snapshots.created_at + keep_snapshots <= ?1
                     AND snapshots.number > ?3
                     AND EXISTS (SELECT 1 FROM snapshots AS newer
                         WHERE newer.session_id = snapshots.session_id
                         AND (newer.seq, newer.number) > (snapshots.seq, snapshots.number))
                     AND NOT EXISTS (SELECT 1 FROM snapshots AS again
                         WHERE again.session_id = snapshots.session_id
                         AND again.id = snapshots.id AND again.number > snapshots.number)
                     ORDER BY snapshots.number LIMIT ?2"
                );
                let mut statement = connection.prepare_cached(&sql)?;
                let rows = statement.query_map(params![Micros(now), limit as i64, after], parse)?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }
}

/// Adds one. A session that comes back to earlier content has the same id in two rows.
pub(crate) fn insert(
    connection: &Connection,
    session: &str,
    snapshot: &NewSnapshot,
    seq: i64,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO snapshots (session_id, id, seq, created_at, files, bytes, written)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            session,
            snapshot.id,
            seq,
            Micros(snapshot.created_at),
            snapshot.files,
            snapshot.bytes,
            snapshot.written,
        ])?;
    Ok(())
}

fn parse(row: &Row<'_>) -> rusqlite::Result<SnapshotRow> {
    Ok(SnapshotRow {
        number: row.get(7)?,
        session_id: row.get(0)?,
        seq: row.get(2)?,
        snapshot: NewSnapshot {
            id: row.get(1)?,
            created_at: row.get::<_, Micros>(3)?.0,
            files: row.get(4)?,
            bytes: row.get(5)?,
            written: row.get(6)?,
        },
    })
}
