//! What sessions have used: one row per call to the model, and one per workspace, agent and day, which
//! outlives the sessions. Never holds what was said, only counts.

use chrono::{DateTime, Utc};
use rusqlite::{Connection, Row, params};

use crate::error::is_dangling;
use crate::time::Micros;
use crate::{Store, StoreError};

/// One call to the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelCall {
    /// A fresh id.
    pub id: String,
    /// The session that made it; must exist.
    pub session_id: String,
    /// Whose it is; must exist.
    pub workspace_id: String,
    /// The model's id.
    pub model: String,
    /// When the request left.
    pub started_at: DateTime<Utc>,
    /// The HTTP status of the answer; 0 when there was none.
    pub status: u16,
    /// Milliseconds to the end of the answer.
    pub latency_ms: u64,
    /// Milliseconds to its first byte, if there was one.
    pub ttft_ms: Option<u64>,
    /// Tokens read, not counting cached ones.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// Tokens read from the cache.
    pub cache_read_tokens: u64,
    /// Tokens written to the cache for five minutes.
    pub cache_creation_5m_tokens: u64,
    /// Tokens written to the cache for an hour.
    pub cache_creation_1h_tokens: u64,
    /// Web searches that the model API made on its side.
    pub web_searches: u64,
    /// Cost in millionths of a cent; `None` when the model's price is unknown.
    pub cost_microcents: Option<i64>,
    /// What went wrong, in a few words.
    pub error: Option<String>,
    /// The upstream's id of the request.
    pub request_id: Option<String>,
}

/// The sum of a session's calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Calls.
    pub calls: u64,
    /// Calls with an error.
    pub failed: u64,
    /// Tokens read, not counting cached ones.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// Tokens read from the cache.
    pub cache_read_tokens: u64,
    /// Tokens written to the cache for five minutes.
    pub cache_creation_5m_tokens: u64,
    /// Tokens written to the cache for an hour.
    pub cache_creation_1h_tokens: u64,
    /// Web searches that the model API made on its side; zero in sums of days, which do not have them.
    pub web_searches: u64,
    /// Cost of the calls with a known price, in millionths of a cent.
    pub cost_microcents: i64,
    /// Calls whose price is unknown and missing in the cost.
    pub unpriced: u64,
}

/// Why a call could not be recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The session (or workspace) is gone.
    #[error("the session does not exist")]
    NotFound,
    /// The storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for RecordError {
    fn from(error: rusqlite::Error) -> RecordError {
        if is_dangling(&error) {
            RecordError::NotFound
        } else {
            StoreError::from(error).into()
        }
    }
}

/// Operations on usage; see [`Store::usage`].
#[derive(Clone, Copy)]
pub struct Usage<'a>(pub(crate) &'a Store);

impl Usage<'_> {
    /// Keeps one call. Recording the same id again changes nothing.
    pub async fn record(self, call: ModelCall) -> Result<(), RecordError> {
        self.0
            .write(move |connection| {
                let added = connection
                    .prepare_cached(
                        "INSERT INTO model_calls (id, session_id, workspace_id, model, started_at,
                             status, latency_ms, ttft_ms, input_tokens, output_tokens,
                             cache_read_tokens, cache_creation_5m_tokens, cache_creation_1h_tokens,
                             cost_microcents, error, request_id, web_searches)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
                         ON CONFLICT (id) DO NOTHING",
                    )?
                    .execute(params![
                        call.id,
                        call.session_id,
                        call.workspace_id,
                        call.model,
                        Micros(call.started_at),
                        call.status,
                        call.latency_ms,
                        call.ttft_ms,
                        call.input_tokens,
                        call.output_tokens,
                        call.cache_read_tokens,
                        call.cache_creation_5m_tokens,
                        call.cache_creation_1h_tokens,
                        call.cost_microcents,
                        call.error,
                        call.request_id,
                        call.web_searches,
                    ])?;
                if added > 0 {
                    add_to_day(connection, &call)?;
                }
                Ok(())
            })
            .await
    }

    /// Replaces what was recorded of a call when it left by what came of it, and puts the sum of its day
    /// right. `recorded` is the cost under which it was recorded. A call whose session was deleted since
    /// is settled in the sum of `agent`'s day alone. To be done once.
    pub async fn settle(
        self,
        call: ModelCall,
        agent: &str,
        recorded: Option<i64>,
    ) -> Result<(), StoreError> {
        let agent = agent.to_owned();
        self.0
            .write(move |connection| {
                connection
                    .prepare_cached(
                        "UPDATE model_calls SET model = ?2, status = ?3, latency_ms = ?4,
                             ttft_ms = ?5, input_tokens = ?6, output_tokens = ?7,
                             cache_read_tokens = ?8, cache_creation_5m_tokens = ?9,
                             cache_creation_1h_tokens = ?10, cost_microcents = ?11, error = ?12,
                             request_id = ?13, web_searches = ?14
                         WHERE id = ?1",
                    )?
                    .execute(params![
                        call.id,
                        call.model,
                        call.status,
                        call.latency_ms,
                        call.ttft_ms,
                        call.input_tokens,
                        call.output_tokens,
                        call.cache_read_tokens,
                        call.cache_creation_5m_tokens,
                        call.cache_creation_1h_tokens,
                        call.cost_microcents,
                        call.error,
                        call.request_id,
                        call.web_searches,
                    ])?;
                Ok(settle_day(connection, &call, &agent, recorded)?)
            })
            .await
    }

    /// The calls of a session in the order in which they were recorded.
    pub async fn calls(self, session: &str) -> Result<Vec<ModelCall>, StoreError> {
        let session = session.to_owned();
        self.0
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT id, session_id, workspace_id, model, started_at, status, latency_ms,
                         ttft_ms, input_tokens, output_tokens, cache_read_tokens,
                         cache_creation_5m_tokens, cache_creation_1h_tokens, cost_microcents, error,
                         request_id, web_searches
                     FROM model_calls WHERE session_id = ?1 ORDER BY number",
                )?;
                let rows = statement.query_map([session], parse)?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// The sum of a session's calls; zeros when it has made none.
    pub async fn totals(self, session: &str) -> Result<Totals, StoreError> {
        let session = session.to_owned();
        self.0
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT count(*), count(error), coalesce(sum(input_tokens), 0),
                         coalesce(sum(output_tokens), 0), coalesce(sum(cache_read_tokens), 0),
                         coalesce(sum(cache_creation_5m_tokens), 0),
                         coalesce(sum(cache_creation_1h_tokens), 0),
                         coalesce(sum(cost_microcents), 0), count(*) - count(cost_microcents),
                         coalesce(sum(web_searches), 0)
                     FROM model_calls WHERE session_id = ?1",
                )?;
                Ok(statement.query_row([session], parse_totals)?)
            })
            .await
    }

    /// The sum of a workspace's calls that began on the day (in UTC) of `since` or later, or only those
    /// of one agent's sessions. Calls of sessions that were deleted since count as well.
    pub async fn spent_since(
        self,
        workspace: &str,
        agent: Option<&str>,
        since: DateTime<Utc>,
    ) -> Result<Totals, StoreError> {
        let (workspace, agent) = (workspace.to_owned(), agent.map(str::to_owned));
        self.0
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT coalesce(sum(calls), 0), coalesce(sum(failed), 0),
                         coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0),
                         coalesce(sum(cache_read_tokens), 0),
                         coalesce(sum(cache_creation_5m_tokens), 0),
                         coalesce(sum(cache_creation_1h_tokens), 0),
                         coalesce(sum(cost_microcents), 0), coalesce(sum(unpriced), 0), 0
                     FROM daily_usage
                     WHERE workspace_id = ?1 AND day >= ?2 AND (?3 IS NULL OR agent_id = ?3)",
                )?;
                Ok(statement.query_row(params![workspace, day(since), agent], parse_totals)?)
            })
            .await
    }
}

/// Adds a call to the sums of the day on which it began.
fn add_to_day(connection: &Connection, call: &ModelCall) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO daily_usage (workspace_id, day, agent_id, calls, failed, input_tokens,
                 output_tokens, cache_read_tokens, cache_creation_5m_tokens,
                 cache_creation_1h_tokens, cost_microcents, unpriced)
             SELECT ?1, ?2, agent_id, 1, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11
             FROM sessions WHERE id = ?3
             ON CONFLICT (workspace_id, day, agent_id) DO UPDATE SET
                 calls = calls + 1, failed = failed + excluded.failed,
                 input_tokens = input_tokens + excluded.input_tokens,
                 output_tokens = output_tokens + excluded.output_tokens,
                 cache_read_tokens = cache_read_tokens + excluded.cache_read_tokens,
                 cache_creation_5m_tokens = cache_creation_5m_tokens + excluded.cache_creation_5m_tokens,
                 cache_creation_1h_tokens = cache_creation_1h_tokens + excluded.cache_creation_1h_tokens,
                 cost_microcents = cost_microcents + excluded.cost_microcents,
                 unpriced = unpriced + excluded.unpriced",
        )?
        .execute(params![
            call.workspace_id,
            day(call.started_at),
            call.session_id,
            call.error.is_some(),
            call.input_tokens,
            call.output_tokens,
            call.cache_read_tokens,
            call.cache_creation_5m_tokens,
            call.cache_creation_1h_tokens,
            call.cost_microcents.unwrap_or(0),
            call.cost_microcents.is_none(),
        ])?;
    Ok(())
}

/// Adds to the sums of its day what a call came to beyond what was recorded when it left: a failed call
/// without tokens.
fn settle_day(
    connection: &Connection,
    call: &ModelCall,
    agent: &str,
    recorded: Option<i64>,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE daily_usage SET failed = failed - 1 + ?4, input_tokens = input_tokens + ?5,
                 output_tokens = output_tokens + ?6, cache_read_tokens = cache_read_tokens + ?7,
                 cache_creation_5m_tokens = cache_creation_5m_tokens + ?8,
                 cache_creation_1h_tokens = cache_creation_1h_tokens + ?9,
                 cost_microcents = cost_microcents + ?10, unpriced = unpriced + ?11
             WHERE workspace_id = ?1 AND day = ?2 AND agent_id = ?3",
        )?
        .execute(params![
            call.workspace_id,
            day(call.started_at),
            agent,
            call.error.is_some(),
            call.input_tokens,
            call.output_tokens,
            call.cache_read_tokens,
            call.cache_creation_5m_tokens,
            call.cache_creation_1h_tokens,
            call.cost_microcents.unwrap_or(0) - recorded.unwrap_or(0),
            i64::from(call.cost_microcents.is_none()) - i64::from(recorded.is_none()),
        ])?;
    Ok(())
}

/// The number of a day in UTC, from 1970.
fn day(at: DateTime<Utc>) -> i64 {
    at.timestamp().div_euclid(24 * 3600)
}

fn parse(row: &Row<'_>) -> rusqlite::Result<ModelCall> {
    Ok(ModelCall {
        id: row.get(0)?,
        session_id: row.get(1)?,
        workspace_id: row.get(2)?,
        model: row.get(3)?,
        started_at: row.get::<_, Micros>(4)?.0,
        status: row.get(5)?,
        latency_ms: row.get(6)?,
        ttft_ms: row.get(7)?,
        input_tokens: row.get(8)?,
        output_tokens: row.get(9)?,
        cache_read_tokens: row.get(10)?,
        cache_creation_5m_tokens: row.get(11)?,
        cache_creation_1h_tokens: row.get(12)?,
        cost_microcents: row.get(13)?,
        error: row.get(14)?,
        request_id: row.get(15)?,
        web_searches: row.get(16)?,
    })
}

fn parse_totals(row: &Row<'_>) -> rusqlite::Result<Totals> {
    Ok(Totals {
        calls: row.get(0)?,
        failed: row.get(1)?,
        input_tokens: row.get(2)?,
        output_tokens: row.get(3)?,
        cache_read_tokens: row.get(4)?,
        cache_creation_5m_tokens: row.get(5)?,
        cache_creation_1h_tokens: row.get(6)?,
        cost_microcents: row.get(7)?,
        unpriced: row.get(8)?,
        web_searches: row.get(9)?,
    })
}
