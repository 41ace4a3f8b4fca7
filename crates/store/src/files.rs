//! Files that sessions made, without their content. A file of a session goes with the session.

use chrono::{DateTime, Utc};
use rusqlite::{OptionalExtension, Row, named_params, params};

use crate::cursor::List;
use crate::error::{is_dangling, is_duplicate};
use crate::page::Dated;
use crate::time::Micros;
use crate::{ListError, Order, Page, PageQuery, Realm, Store, StoreError, TimeRange};

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRow {
    /// Its id.
    pub id: String,
    /// Whose it is; must exist.
    pub workspace_id: String,
    /// The session that made it.
    pub session_id: Option<String>,
    /// Its name.
    pub filename: String,
    /// What it seems to be.
    pub mime_type: String,
    /// Bytes of its content.
    pub size_bytes: u64,
    /// The hash of its content.
    pub sha256: [u8; 32],
    /// When it was kept; to the microsecond.
    pub created_at: DateTime<Utc>,
    /// Whether callers may have the content.
    pub downloadable: bool,
}

/// What [`Files::list`] shows, newest first.
#[derive(Clone, Debug, Default)]
pub struct FileQuery {
    /// Only files of this session.
    pub session_id: Option<String>,
    /// Only files with one of these ids.
    pub ids: Option<Vec<String>>,
    /// Which page.
    pub page: PageQuery,
}

/// Why a file could not be added.
#[derive(Debug, thiserror::Error)]
pub enum InsertFileError {
    /// The session (or workspace) is gone.
    #[error("the session does not exist")]
    NotFound,
    /// The id is taken.
    #[error("the id is already in use")]
    Duplicate,
    /// The storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for InsertFileError {
    fn from(error: rusqlite::Error) -> InsertFileError {
        if is_dangling(&error) {
            InsertFileError::NotFound
        } else if is_duplicate(&error) {
            InsertFileError::Duplicate
        } else {
            StoreError::from(error).into()
        }
    }
}

const COLUMNS: &str = "SELECT files.number, files.id, files.workspace_id, files.session_id,
    files.filename, files.mime_type, files.size_bytes, files.sha256, files.created_at,
    files.downloadable";

/// Whether a file belongs to the environment `?3`, if one is given.
const IN_ENVIRONMENT: &str = "(?3 IS NULL OR session_id IN
    (SELECT id FROM sessions WHERE environment_id = ?3))";

/// Operations on files; see [`Store::files`].
#[derive(Clone, Copy)]
pub struct Files<'a>(pub(crate) &'a Store);

impl Files<'_> {
    /// Adds a file, whose content must be durable already, unless it is the same as its session's last one
    /// of this name; says whether it did.
    pub async fn insert(self, row: FileRow) -> Result<bool, InsertFileError> {
        self.0
            .write(move |connection| {
                let added = connection
                    .prepare_cached(
                        "INSERT INTO files (id, workspace_id, session_id, filename, mime_type,
                             size_bytes, sha256, created_at, downloadable)
                         SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9
                         WHERE ?7 IS NOT (SELECT sha256 FROM files
                             WHERE session_id = ?3 AND filename = ?4 ORDER BY number DESC LIMIT 1)",
                    )?
                    .execute(params![
                        row.id,
                        row.workspace_id,
                        row.session_id,
                        row.filename,
                        row.mime_type,
                        row.size_bytes,
                        row.sha256,
                        Micros(row.created_at),
                        row.downloadable,
                    ])?;
                Ok(added == 1)
            })
            .await
    }

    /// One file.
    pub async fn get(self, realm: &Realm, id: &str) -> Result<Option<FileRow>, StoreError> {
        let (realm, id) = (realm.clone(), id.to_owned());
        self.0
            .read(move |connection| {
                let sql = format!(
                    "{COLUMNS} FROM files WHERE workspace_id = ?1 AND id = ?2 AND {IN_ENVIRONMENT}"
                );
                let mut statement = connection.prepare_cached(&sql)?;
                let values = params![realm.workspace(), id, realm.environment()];
                Ok(statement.query_row(values, parse).optional()?)
            })
            .await
    }

    /// A realm's files, newest first.
    pub async fn list(self, realm: &Realm, query: FileQuery) -> Result<Page<FileRow>, ListError> {
        let realm = realm.clone();
        self.0
            .read(move |connection| {
                let select = format!("{COLUMNS} FROM files");
                let ids = query.ids.map(|ids| serde_json::json!(ids).to_string());
                let dated = Dated {
                    list: List::Files,
                    order: Order::Desc,
                    select: &select,
                    base: "files",
                    condition: "workspace_id = :workspace
                        AND (:session IS NULL OR session_id = :session)
                        AND (:environment IS NULL OR session_id IN
                            (SELECT id FROM sessions WHERE environment_id = :environment))
                        AND (:ids IS NULL OR id IN (SELECT value FROM json_each(:ids)))",
                    values: named_params! {
                        ":workspace": realm.workspace(),
                        ":environment": realm.environment(),
                        ":session": query.session_id,
                        ":ids": ids,
                    },
                    created: TimeRange::default(),
                };
                dated.page(connection, &query.page, parse)
            })
            .await
    }

    /// Ids of all files of a session.
    pub async fn of_session(self, session: &str) -> Result<Vec<String>, StoreError> {
        let session = session.to_owned();
        self.0
            .read(move |connection| {
                let mut statement =
                    connection.prepare_cached("SELECT id FROM files WHERE session_id = ?1")?;
                let rows = statement.query_map([session], |row| row.get(0))?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// Deletes a file; whether there was one. Its content may be removed then, and not before.
    pub async fn delete(self, realm: &Realm, id: &str) -> Result<bool, StoreError> {
        let (realm, id) = (realm.clone(), id.to_owned());
        self.0
            .write(move |connection| {
                let sql = format!(
                    "DELETE FROM files WHERE workspace_id = ?1 AND id = ?2 AND {IN_ENVIRONMENT}"
                );
                let mut statement = connection.prepare_cached(&sql)?;
                let deleted =
                    statement.execute(params![realm.workspace(), id, realm.environment()])?;
                Ok(deleted > 0)
            })
            .await
    }

    /// Those whose session's environment keeps them no longer, of every workspace, at most `limit`.
    pub async fn expired(
        self,
        now: DateTime<Utc>,
        limit: usize,
    ) -> Result<Vec<FileRow>, StoreError> {
        self.0
            .read(move |connection| {
                let sql = format!(
                    "{COLUMNS} FROM environments
                     CROSS JOIN sessions ON sessions.environment_id = environments.id
                     CROSS JOIN files ON files.session_id = sessions.id
                     WHERE keep_files IS NOT NULL AND files.created_at + keep_files <= ?1
                     ORDER BY files.number LIMIT ?2"
                );
                let mut statement = connection.prepare_cached(&sql)?;
                let rows = statement.query_map(params![Micros(now), limit as i64], parse)?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// Which of these ids no file of any workspace has.
    pub async fn absent(self, ids: Vec<String>) -> Result<Vec<String>, StoreError> {
        self.0
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT value FROM json_each(?1) WHERE value NOT IN (SELECT id FROM files)",
                )?;
                let rows =
                    statement.query_map([serde_json::json!(ids).to_string()], |row| row.get(0))?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }
}

fn parse(row: &Row<'_>) -> rusqlite::Result<FileRow> {
    Ok(FileRow {
        id: row.get(1)?,
        workspace_id: row.get(2)?,
        session_id: row.get(3)?,
        filename: row.get(4)?,
        mime_type: row.get(5)?,
        size_bytes: row.get(6)?,
        sha256: row.get(7)?,
        created_at: row.get::<_, Micros>(8)?.0,
        downloadable: row.get(9)?,
    })
}
