//! What has outlived its time. How long something is kept is a property of the environment, whose
//! newest word counts. Never deletes by itself: it names what may go.
//!
//! The questions begin with the environments that keep something for a time only (`CROSS JOIN` is how
//! the engine is told the order): where none does, they cost nothing, however much is stored.

use std::time::Duration;

use chrono::{DateTime, Utc};
use rusqlite::params;

use crate::time::Micros;
use crate::{Realm, Sessions, StoreError};

/// How long what belongs to an environment is kept; `None` is for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Sessions, from their end.
    pub sessions: Option<Duration>,
    /// Snapshots, from their creation.
    pub snapshots: Option<Duration>,
    /// Files, from their creation.
    pub files: Option<Duration>,
}

/// A length of time on its way into a column. Beyond some thousand years it is as good as for ever,
/// and small enough that adding it to a date cannot overflow.
pub(crate) fn micros(duration: Option<Duration>) -> Option<i64> {
    const LONGEST: i64 = i64::MAX / 4;
    duration.map(|length| i64::try_from(length.as_micros()).map_or(LONGEST, |m| m.min(LONGEST)))
}

impl Sessions<'_> {
    /// Realm (the whole workspace) and id of ended sessions that their environment keeps no longer, of every workspace,
    /// at most `limit`.
    pub async fn expired(
        self,
        now: DateTime<Utc>,
        limit: usize,
    ) -> Result<Vec<(Realm, String)>, StoreError> {
        self.0
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT sessions.workspace_id, sessions.id FROM environments
                     CROSS JOIN sessions ON sessions.environment_id = environments.id
                     CROSS JOIN session_state ON session_state.session_id = sessions.id
                     WHERE keep_sessions IS NOT NULL AND ended_at + keep_sessions <= ?1
                     ORDER BY sessions.number LIMIT ?2",
                )?;
                let rows = statement.query_map(params![Micros(now), limit as i64], |row| {
                    Ok((Realm::of(row.get::<_, String>(0)?), row.get(1)?))
                })?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// Which of these ids no session of any workspace has.
    pub async fn absent(self, ids: Vec<String>) -> Result<Vec<String>, StoreError> {
        self.0
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT value FROM json_each(?1) WHERE value NOT IN (SELECT id FROM sessions)
                     AND value NOT IN (SELECT environment_id FROM common_snapshots)",
                )?;
                let ids = serde_json::json!(ids).to_string();
                let rows = statement.query_map([ids], |row| row.get(0))?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }
}
