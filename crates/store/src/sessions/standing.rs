//! What a starting server brings back before anybody asks.

use rusqlite::named_params;

use super::row::{self, SessionRow};
use crate::{Realm, Sessions, StoreError};

impl Sessions<'_> {
    /// Realm (the whole workspace) and id of idle sessions whose sandboxes are to stay, because their
    /// environment hosts them as `long_running` or `shared`: those that have had a turn, the last
    /// changed first, `most` of them.
    pub async fn long_running(self, most: u32) -> Result<Vec<(Realm, String)>, StoreError> {
        self.0
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT workspace_id, id FROM sessions
                     JOIN session_state ON session_state.session_id = sessions.id
                     WHERE status = 'idle' AND archived_at IS NULL
                         AND environment ->> '$.hosting.pattern' IN ('long_running', 'shared')
                         AND EXISTS (SELECT 1 FROM transcripts WHERE session_id = sessions.id)
                     ORDER BY updated_at DESC LIMIT :most",
                )?;
                let rows = statement.query_map(named_params! {":most": most}, |row| {
                    Ok((Realm::of(row.get::<_, String>(0)?), row.get(1)?))
                })?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// The last session of each environment with a pool and each of its agents, the newest first,
    /// `most` of them.
    pub async fn latest_with_pool(self, most: u32) -> Result<Vec<SessionRow>, StoreError> {
        self.0
            .read(move |connection| {
                let sql = format!(
                    "{} WHERE number IN (
                         SELECT max(number) FROM sessions
                         WHERE environment ->> '$.hosting.pool.max' > 0 AND environment_id IN (
                             SELECT id FROM environments WHERE archived_at IS NULL
                         ) GROUP BY environment_id, agent_id
                     ) ORDER BY number DESC LIMIT :most",
                    row::SELECT
                );
                let mut statement = connection.prepare_cached(&sql)?;
                let rows = statement.query_map(named_params! {":most": most}, row::parse)?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }
}
