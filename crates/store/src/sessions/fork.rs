//! A new session from a point in another's log, in one transaction: the log up to there under new ids,
//! the transcript that went with it, and the snapshots that the caller names. What the session has
//! used is not copied, and neither is what waits in its queue. Afterwards the two share nothing.
//!
//! Bodies are not interpreted: whatever stands in one as a whole JSON string and is the old id of
//! something copied becomes its new id. So every reference between events still leads to its event.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use super::{CreateSessionError, Sessions, check_agent, check_environment, check_quota, row};
use crate::events::{self, NewEvent};
use crate::{Realm, SessionRow, Status, StoreError};

/// A fork to be.
#[derive(Clone, Debug)]
pub struct Fork {
    /// The session that is forked; of the same workspace as the new one.
    pub from: String,
    /// The last number of its log that is copied.
    pub until: i64,
    /// The new session. Agent and environment are checked as for any new session.
    pub row: SessionRow,
    /// More old ids than those of events, with their new ones: of the session, of its thread.
    pub renamed: Vec<(String, String)>,
    /// What is appended to the copied log, with new ids; may refer to copied events by their old ids.
    pub closing: Vec<NewEvent>,
    /// Ids of the snapshots that the new session has; their content must be there already.
    pub snapshots: Vec<String>,
}

/// Why a session could not be forked.
#[derive(Debug, thiserror::Error)]
pub enum ForkError {
    /// No such session in the workspace.
    #[error("the session does not exist")]
    NotFound,
    /// It is in the middle of something.
    #[error("the session is {}", .status.as_str())]
    Busy {
        /// Its status.
        status: Status,
    },
    /// The new session is refused.
    #[error(transparent)]
    Create(#[from] CreateSessionError),
    /// The storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for ForkError {
    fn from(error: rusqlite::Error) -> ForkError {
        ForkError::Create(error.into())
    }
}

impl Sessions<'_> {
    /// Carries out a fork, or nothing. `mint` makes a fresh id for each copied event; it runs on the
    /// writer's thread.
    pub async fn fork<F>(self, fork: Fork, mint: F) -> Result<(), ForkError>
    where
        F: Fn() -> String + Send + 'static,
    {
        self.0
            .write(move |connection| carry_out(connection, &fork, &mint))
            .await
    }
}

fn carry_out(
    connection: &Connection,
    fork: &Fork,
    mint: &dyn Fn() -> String,
) -> Result<(), ForkError> {
    let realm = Realm::of(&fork.row.workspace_id);
    match super::status(connection, &realm, &fork.from)? {
        None => return Err(ForkError::NotFound),
        Some(status @ (Status::Running | Status::Rescheduling)) => {
            return Err(ForkError::Busy { status });
        }
        Some(Status::Idle | Status::Terminated) => {}
    }
    check_quota(connection, &fork.row)?;
    check_agent(connection, &fork.row)?;
    check_environment(connection, &fork.row)?;
    row::insert(connection, &fork.row)?;
    let renamed = copy_events(connection, fork, mint)?;
    append_closing(connection, fork, &renamed)?;
    copy_transcript(connection, fork)?;
    copy_snapshots(connection, fork)?;
    Ok(())
}

/// Copies the log; old ids to new ones.
fn copy_events(
    connection: &Connection,
    fork: &Fork,
    mint: &dyn Fn() -> String,
) -> rusqlite::Result<HashMap<String, String>> {
    let mut renamed: HashMap<String, String> = fork.renamed.iter().cloned().collect();
    let mut ids = connection
        .prepare_cached("SELECT id FROM events WHERE session_id = ?1 AND seq <= ?2 ORDER BY seq")?;
    let mut rows = ids.query(params![fork.from, fork.until])?;
    while let Some(row) = rows.next()? {
        renamed.insert(row.get(0)?, mint());
    }
    let mut old = connection.prepare_cached(
        "SELECT seq, id, kind, processed_at, body FROM events
         WHERE session_id = ?1 AND seq <= ?2 ORDER BY seq",
    )?;
    let mut new = connection.prepare_cached(
        "INSERT INTO events (session_id, seq, id, kind, processed_at, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    let mut rows = old.query(params![fork.from, fork.until])?;
    while let Some(row) = rows.next()? {
        let (seq, id, kind): (i64, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let (at, body): (i64, String) = (row.get(3)?, row.get(4)?);
        let body = rename(&body, &renamed);
        new.execute(params![fork.row.id, seq, renamed[&id], kind, at, body])?;
    }
    Ok(renamed)
}

fn append_closing(
    connection: &Connection,
    fork: &Fork,
    renamed: &HashMap<String, String>,
) -> rusqlite::Result<()> {
    let mut seq = events::last_seq(connection, &fork.row.id)?;
    for event in &fork.closing {
        seq += 1;
        let body = rename(&event.body, renamed);
        events::insert_numbered(connection, &fork.row.id, seq, event, &body)?;
    }
    Ok(())
}

fn copy_transcript(connection: &Connection, fork: &Fork) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO transcripts (session_id, subpath, uuid, body, at_seq)
             SELECT ?1, subpath, uuid, body, at_seq FROM transcripts
             WHERE session_id = ?2 AND at_seq <= ?3 ORDER BY position",
        )?
        .execute(params![fork.row.id, fork.from, fork.until])?;
    Ok(())
}

/// A snapshot that is newer than the point includes all of what was copied.
fn copy_snapshots(connection: &Connection, fork: &Fork) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO snapshots (session_id, id, seq, created_at, files, bytes, written)
             SELECT ?1, id, min(seq, ?3), created_at, files, bytes, written FROM snapshots
             WHERE session_id = ?2 AND id IN (SELECT value FROM json_each(?4))
             ORDER BY number",
        )?
        .execute(params![
            fork.row.id,
            fork.from,
            fork.until,
            serde_json::json!(fork.snapshots).to_string(),
        ])?;
    Ok(())
}

/// Replaces every whole JSON string that is one of the old ids. Ids have no character that JSON
/// escapes, so between two quotes they stand as they are; a quote behind a backslash is inside a text.
fn rename(body: &str, renamed: &HashMap<String, String>) -> String {
    let mut new = String::with_capacity(body.len());
    let mut escaped = false;
    for (index, part) in body.split('"').enumerate() {
        if index > 0 {
            new.push('"');
        }
        let known = (index > 0 && !escaped).then(|| renamed.get(part)).flatten();
        new.push_str(known.map_or(part, String::as_str));
        escaped = part.ends_with('\\');
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_renamed_as_whole_strings_and_nothing_else_is_touched() {
        let map = [("a_1", "b_1"), ("a_2", "b_2")];
        let map: HashMap<String, String> = map
            .into_iter()
            .map(|(old, new)| (old.to_owned(), new.to_owned()))
            .collect();
        for (old, new) in [
            (
                r#"{"id":"a_1","of":["a_2", "a_3"]}"#,
                r#"{"id":"b_1","of":["b_2", "a_3"]}"#,
            ),
            (r#"{"text":"see a_1"}"#, r#"{"text":"see a_1"}"#),
            (r#"{"text":"see \"a_1\" "}"#, r#"{"text":"see \"a_1\" "}"#),
            (r#"{"text":"\\","id":"a_1"}"#, r#"{"text":"\\","id":"b_1"}"#),
            ("a_1", "a_1"),
            ("", ""),
        ] {
            assert_eq!(rename(old, &map), new);
        }
    }
}
