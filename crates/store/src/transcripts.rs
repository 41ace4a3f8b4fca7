//! The mirror of what `claude` writes to its transcript files, from which a session can be resumed
//! anywhere. Lines are added by [`crate::Write::Transcript`], in order; a line that has a uuid is
//! kept once per file, however often it comes.

use rusqlite::{Connection, params};

use crate::{Store, StoreError};

/// One line of a transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TranscriptEntry {
    /// Which file: empty for the main one, otherwise such as `subagents/agent-x`.
    pub subpath: String,
    /// The line's own id, if it has one.
    pub uuid: Option<String>,
    /// The line as JSON text.
    pub body: String,
}

/// Operations on transcripts; see [`Store::transcripts`].
#[derive(Clone, Copy)]
pub struct Transcripts<'a>(pub(crate) &'a Store);

impl Transcripts<'_> {
    /// The lines of every file of a session, files in the order in which they began.
    pub async fn load(self, session: &str) -> Result<Vec<(String, Vec<String>)>, StoreError> {
        let session = session.to_owned();
        self.0
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT subpath, body FROM transcripts WHERE session_id = ?1 ORDER BY position",
                )?;
                let mut rows = statement.query([session])?;
                let mut files: Vec<(String, Vec<String>)> = Vec::new();
                while let Some(row) = rows.next()? {
                    let (subpath, body): (String, String) = (row.get(0)?, row.get(1)?);
                    match files.iter_mut().find(|file| file.0 == subpath) {
                        Some(file) => file.1.push(body),
                        None => files.push((subpath, vec![body])),
                    }
                }
                Ok(files)
            })
            .await
    }

    /// Whether any file of the session has a line with this uuid.
    pub async fn contains(self, session: &str, uuid: &str) -> Result<bool, StoreError> {
        let (session, uuid) = (session.to_owned(), uuid.to_owned());
        self.0
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT EXISTS (SELECT 1 FROM transcripts WHERE session_id = ?1 AND uuid = ?2)",
                )?;
                Ok(statement.query_row([session, uuid], |row| row.get(0))?)
            })
            .await
    }
}

/// Adds what is not known yet; `at_seq` is the log's last number now.
pub(crate) fn append(
    connection: &Connection,
    session: &str,
    entries: &[TranscriptEntry],
    at_seq: i64,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO transcripts (session_id, subpath, uuid, body, at_seq) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (session_id, uuid, subpath) DO NOTHING",
    )?;
    for entry in entries {
        statement.execute(params![
            session,
            entry.subpath,
            entry.uuid,
            entry.body,
            at_seq
        ])?;
    }
    Ok(())
}
