//! Transcripts that Agent SDK programs keep here, under the keys of the SDK's session store: project,
//! session, and the path of a file beside the main one. Entries and summaries are the SDK's own and are
//! given back as they came. An entry that has a uuid is kept once per file, however often it comes.
//!
//! A key of one environment has a store of its own, apart from that of its workspace.

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};

use crate::cursor::List;
use crate::error::from_engine;
use crate::page::Dated;
use crate::time::Micros;
use crate::{ListError, Order, Page, PageQuery, Realm, Store, StoreError, TimeRange};

/// Which session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptKey {
    /// The SDK's project key.
    pub project: String,
    /// The session's id, given by the SDK.
    pub session: String,
}

/// One entry of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptEntry {
    /// Its own id, if it has one.
    pub uuid: Option<String>,
    /// The entry as JSON text.
    pub body: String,
}

/// What is added to one file.
#[derive(Clone, Debug)]
pub struct Append {
    /// The session; it begins with its first entry.
    pub key: KeptKey,
    /// The file: empty for the main one.
    pub subpath: String,
    /// The entries, in order.
    pub entries: Vec<KeptEntry>,
    /// The summary with these entries in it, as JSON text, and the revision that it was made from: 0 when
    /// there was none.
    pub summary: Option<(i64, String)>,
    /// When.
    pub at: DateTime<Utc>,
    /// The most bytes that all entries of the workspace may have.
    pub most: u64,
}

/// A session of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptSession {
    /// Its id.
    pub session: String,
    /// When its main file last changed.
    pub changed_at: DateTime<Utc>,
    /// Its summary as JSON text.
    pub summary: Option<String>,
    /// Counts the changes of the summary; 0 when there is none.
    pub revision: i64,
}

/// Some of a file's entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entries {
    /// JSON texts, in order.
    pub bodies: Vec<String>,
    /// After which position the next ones stand; `None` when these are the last.
    pub next: Option<i64>,
}

/// Why nothing was added.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The summary was made from an older one than is here now.
    #[error("the summary has revision {now} by now")]
    Outdated {
        /// The present revision.
        now: i64,
    },
    /// The workspace has as much as it may have.
    #[error("the workspace's transcripts have {most} bytes")]
    Full {
        /// The bound that was hit.
        most: u64,
    },
    /// The storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
from_engine!(AppendError);

const SELECT: &str = "SELECT kept_sessions.number, kept_sessions.session, kept_sessions.changed_at,
    kept_sessions.summary, kept_sessions.revision, kept_sessions.created_at FROM kept_sessions";

/// Operations on kept transcripts; see [`Store::session_store`].
#[derive(Clone, Copy)]
pub struct SessionStore<'a>(pub(crate) &'a Store);

impl SessionStore<'_> {
    /// Adds entries and replaces the summary, or does nothing.
    pub async fn append(self, realm: &Realm, append: Append) -> Result<KeptSession, AppendError> {
        let realm = realm.clone();
        self.0
            .write(move |connection| carry_out(connection, &realm, &append))
            .await
    }

    /// Entries of one file after a position (0 begins), until they have about `bytes`; at least one.
    /// `None` when nothing was ever added to the file.
    pub async fn load(
        self,
        realm: &Realm,
        key: KeptKey,
        subpath: String,
        after: i64,
        bytes: usize,
    ) -> Result<Option<Entries>, StoreError> {
        let realm = realm.clone();
        self.0
            .read(move |connection| {
                let Some(number) = number(connection, &realm, &key)? else {
                    return Ok(None);
                };
                let found = entries(connection, number, &subpath, after, bytes)?;
                Ok((after > 0 || !found.bodies.is_empty()).then_some(found))
            })
            .await
    }

    /// The sessions of a project that have a main file, newest first; or the one that is named.
    pub async fn list(
        self,
        realm: &Realm,
        project: String,
        session: Option<String>,
        page: PageQuery,
    ) -> Result<Page<KeptSession>, ListError> {
        let realm = realm.clone();
        self.0
            .read(move |connection| {
                let dated = Dated {
                    list: List::KeptSessions,
                    order: Order::Desc,
                    select: SELECT,
                    base: "kept_sessions",
                    condition: "workspace_id = :workspace AND environment_id = :environment
                        AND project = :project AND changed_at IS NOT NULL
                        AND (:session IS NULL OR session = :session)",
                    values: named_params! {
                        ":workspace": realm.workspace(),
                        ":environment": realm.environment().unwrap_or_default(),
                        ":project": project,
                        ":session": session,
                    },
                    created: TimeRange::default(),
                };
                dated.page(connection, &page, parse)
            })
            .await
    }

    /// The files of a session beside the main one.
    pub async fn subpaths(self, realm: &Realm, key: KeptKey) -> Result<Vec<String>, StoreError> {
        let realm = realm.clone();
        self.0
            .read(move |connection| {
                let Some(number) = number(connection, &realm, &key)? else {
                    return Ok(Vec::new());
                };
                let mut statement = connection.prepare_cached(
                    "SELECT DISTINCT subpath FROM kept_entries WHERE session = ?1 AND subpath <> ''",
                )?;
                let rows = statement.query_map([number], |row| row.get(0))?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// Deletes one file, or with an empty `subpath` the whole session. Absent is success.
    pub async fn delete(
        self,
        realm: &Realm,
        key: KeptKey,
        subpath: String,
    ) -> Result<(), StoreError> {
        let realm = realm.clone();
        self.0
            .write(move |connection| {
                let Some(number) = number(connection, &realm, &key)? else {
                    return Ok(());
                };
                if subpath.is_empty() {
                    let mut statement =
                        connection.prepare_cached("DELETE FROM kept_sessions WHERE number = ?1")?;
                    statement.execute([number])?;
                } else {
                    connection
                        .prepare_cached(
                            "UPDATE kept_sessions SET bytes = bytes - (
                                SELECT coalesce(sum(length(CAST(body AS BLOB))), 0) FROM kept_entries
                                WHERE session = ?1 AND subpath = ?2)
                             WHERE number = ?1",
                        )?
                        .execute(params![number, subpath])?;
                    connection
                        .prepare_cached(
                            "DELETE FROM kept_entries WHERE session = ?1 AND subpath = ?2",
                        )?
                        .execute(params![number, subpath])?;
                }
                Ok(())
            })
            .await
    }
}

fn carry_out(
    connection: &Connection,
    realm: &Realm,
    append: &Append,
) -> Result<KeptSession, AppendError> {
    let main = append.subpath.is_empty();
    connection
        .prepare_cached(
            "INSERT INTO kept_sessions
                (workspace_id, environment_id, project, session, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            realm.workspace(),
            realm.environment().unwrap_or_default(),
            append.key.project,
            append.key.session,
            Micros(append.at)
        ])?;
    let number = number(connection, realm, &append.key)?.expect("it was made just now");
    let bytes = add(connection, number, append)?;
    let now: i64 = connection
        .prepare_cached(
            "UPDATE kept_sessions SET bytes = bytes + ?2,
                changed_at = CASE WHEN ?3 THEN ?4 ELSE changed_at END
             WHERE number = ?1 RETURNING revision",
        )?
        .query_row(
            params![number, bytes as i64, main, Micros(append.at)],
            |row| row.get(0),
        )?;
    if let Some((from, summary)) = &append.summary {
        if *from != now {
            return Err(AppendError::Outdated { now });
        }
        connection
            .prepare_cached(
                "UPDATE kept_sessions SET summary = ?2, revision = revision + 1 WHERE number = ?1",
            )?
            .execute(params![number, summary])?;
    }
    check_room(connection, realm, append.most)?;
    let sql = format!("{SELECT} WHERE number = ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    Ok(statement.query_row([number], |row| {
        let changed: Option<Micros> = row.get(2)?;
        Ok(KeptSession {
            changed_at: changed.map_or(append.at, |at| at.0),
            session: row.get(1)?,
            summary: row.get(3)?,
            revision: row.get(4)?,
        })
    })?)
}

/// Gives a session that has just been made the transcript of one that is kept; false when there is none.
pub(crate) fn copy(
    connection: &Connection,
    realm: &Realm,
    key: &KeptKey,
    session: &str,
) -> rusqlite::Result<bool> {
    let Some(number) = number(connection, realm, key)? else {
        return Ok(false);
    };
    let main: bool = connection
        .prepare_cached("SELECT changed_at IS NOT NULL FROM kept_sessions WHERE number = ?1")?
        .query_row([number], |row| row.get(0))?;
    connection
        .prepare_cached(
            "INSERT INTO transcripts (session_id, subpath, uuid, body, at_seq)
             SELECT ?1, subpath, uuid, body, 0 FROM kept_entries WHERE session = ?2 ORDER BY position",
        )?
        .execute(params![session, number])?;
    Ok(main)
}

/// Adds what is not there yet; says how many bytes that was.
fn add(connection: &Connection, number: i64, append: &Append) -> rusqlite::Result<u64> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO kept_entries (session, subpath, uuid, body) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (session, subpath, uuid) DO NOTHING",
    )?;
    let mut bytes = 0;
    for entry in &append.entries {
        let values = params![number, append.subpath, entry.uuid, entry.body];
        if statement.execute(values)? == 1 {
            bytes += entry.body.len() as u64;
        }
    }
    Ok(bytes)
}

fn check_room(connection: &Connection, realm: &Realm, most: u64) -> Result<(), AppendError> {
    let bytes: i64 = connection
        .prepare_cached("SELECT sum(bytes) FROM kept_sessions WHERE workspace_id = ?1")?
        .query_row([realm.workspace()], |row| row.get(0))?;
    match bytes as u64 > most {
        true => Err(AppendError::Full { most }),
        false => Ok(()),
    }
}

fn number(connection: &Connection, realm: &Realm, key: &KeptKey) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached(
            "SELECT number FROM kept_sessions WHERE workspace_id = ?1 AND environment_id = ?2
             AND project = ?3 AND session = ?4",
        )?
        .query_row(
            params![
                realm.workspace(),
                realm.environment().unwrap_or_default(),
                key.project,
                key.session
            ],
            |row| row.get(0),
        )
        .optional()
}

fn entries(
    connection: &Connection,
    number: i64,
    subpath: &str,
    after: i64,
    bytes: usize,
) -> rusqlite::Result<Entries> {
    let mut statement = connection.prepare_cached(
        "SELECT position, body FROM kept_entries
         WHERE session = ?1 AND subpath = ?2 AND position > ?3 ORDER BY position",
    )?;
    let mut rows = statement.query(params![number, subpath, after])?;
    let (mut bodies, mut size, mut last) = (Vec::new(), 0, after);
    while let Some(row) = rows.next()? {
        let body: String = row.get(1)?;
        if !bodies.is_empty() && size + body.len() > bytes {
            let next = Some(last);
            return Ok(Entries { bodies, next });
        }
        size += body.len();
        last = row.get(0)?;
        bodies.push(body);
    }
    Ok(Entries { bodies, next: None })
}

fn parse(row: &Row<'_>) -> rusqlite::Result<KeptSession> {
    Ok(KeptSession {
        session: row.get(1)?,
        changed_at: row.get::<_, Micros>(2)?.0,
        summary: row.get(3)?,
        revision: row.get(4)?,
    })
}
