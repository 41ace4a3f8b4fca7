//! What was decided on the way out of sandboxes: one row per decision. Rows outlive their session and go
//! when they are old. Never holds what was said, only where to and how much.

use chrono::{DateTime, Utc};
use rusqlite::{Row, named_params, params};

use crate::cursor::List;
use crate::page::Dated;
use crate::time::Micros;
use crate::{ListError, Order, Page, PageQuery, Realm, Store, StoreError, TimeRange};

/// One decision and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Its place in the order in which decisions were kept; given by the store.
    pub number: i64,
    /// Whose it is.
    pub workspace_id: String,
    /// The environment of the session.
    pub environment_id: String,
    /// The session that asked.
    pub session_id: String,
    /// When it asked; to the microsecond.
    pub created_at: DateTime<Utc>,
    /// Milliseconds from there to its end.
    pub latency_ms: u64,
    /// Where to, as far as that could be read.
    pub host: Option<String>,
    /// Its port.
    pub port: Option<u16>,
    /// The method of HTTP.
    pub method: Option<String>,
    /// The path without its query.
    pub path: Option<String>,
    /// What was decided, in a word.
    pub verdict: String,
    /// The rule that said so.
    pub rule: String,
    /// The status that the client got.
    pub status: Option<u16>,
    /// Bytes that came in.
    pub bytes_in: u64,
    /// Bytes that went out.
    pub bytes_out: u64,
    /// The credential that was put in.
    pub credential_id: Option<String>,
    /// What ended it early.
    pub cut: Option<String>,
    /// How many decisions this row stands for, where it is not one: attempts that are kept together,
    /// or decisions that could not be kept.
    pub count: Option<u64>,
}

/// What [`Audits::list`] shows.
#[derive(Clone, Debug, Default)]
pub struct AuditQuery {
    /// Only those of this session.
    pub session_id: Option<String>,
    /// Only those with this verdict.
    pub verdict: Option<String>,
    /// Only those for this host.
    pub host: Option<String>,
    /// Only those from this time.
    pub created: TimeRange,
    /// Oldest or newest first.
    pub order: Order,
    /// Which page.
    pub page: PageQuery,
}

const COLUMNS: &str = "SELECT audit.number, audit.workspace_id, audit.environment_id, audit.session_id, audit.created_at,
    audit.latency_ms, audit.host, audit.port, audit.method, audit.path, audit.verdict, audit.rule,
    audit.status, audit.bytes_in, audit.bytes_out, audit.credential_id, audit.cut, audit.lost
    FROM audit";

/// Operations on decisions; see [`Store::audit`].
#[derive(Clone, Copy)]
pub struct Audits<'a>(pub(crate) &'a Store);

impl Audits<'_> {
    /// Keeps decisions, all or none, in their order; gives them back with their numbers.
    pub async fn insert(self, rows: Vec<AuditRow>) -> Result<Vec<AuditRow>, StoreError> {
        self.0
            .write(move |connection| {
                let mut statement = connection.prepare_cached(
                    "INSERT INTO audit (workspace_id, environment_id, session_id, created_at, latency_ms,
                         host, port, method, path, verdict, rule, status, bytes_in, bytes_out, credential_id,
                         cut, lost)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
                )?;
                let mut kept = rows.clone();
                for row in &mut kept {
                    statement.execute(params![
                        row.workspace_id,
                        row.environment_id,
                        row.session_id,
                        Micros(row.created_at),
                        row.latency_ms,
                        row.host,
                        row.port,
                        row.method,
                        row.path,
                        row.verdict,
                        row.rule,
                        row.status,
                        row.bytes_in,
                        row.bytes_out,
                        row.credential_id,
                        row.cut,
                        row.count,
                    ])?;
                    row.number = connection.last_insert_rowid();
                }
                Ok(kept)
            })
            .await
    }

    /// A realm's decisions.
    pub async fn list(self, realm: &Realm, query: AuditQuery) -> Result<Page<AuditRow>, ListError> {
        let realm = realm.clone();
        self.0
            .read(move |connection| {
                // Each has an index of its own, which a condition that may be absent would not use.
                let condition = match &query.session_id {
                    Some(_) => "session_id = :session AND workspace_id = :workspace",
                    None => "workspace_id = :workspace AND :session IS NULL",
                };
                let condition = format!(
                    "{condition} AND (:verdict IS NULL OR verdict = :verdict)
                     AND (:host IS NULL OR host = :host)
                     AND (:environment IS NULL OR environment_id = :environment)"
                );
                let dated = Dated {
                    list: List::Audit,
                    order: query.order,
                    select: COLUMNS,
                    base: "audit",
                    condition: &condition,
                    values: named_params! {
                        ":workspace": realm.workspace(),
                        ":environment": realm.environment(),
                        ":session": query.session_id,
                        ":verdict": query.verdict,
                        ":host": query.host,
                    },
                    created: query.created,
                };
                dated.page(connection, &query.page, parse)
            })
            .await
    }

    /// The bytes that came in and went out for a session, as far as its decisions are kept.
    pub async fn bytes(self, session: &str) -> Result<(u64, u64), StoreError> {
        let session = session.to_owned();
        self.0
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT coalesce(sum(bytes_in), 0), coalesce(sum(bytes_out), 0) FROM audit
                     WHERE session_id = ?1",
                )?;
                Ok(statement.query_row([session], |row| Ok((row.get(0)?, row.get(1)?)))?)
            })
            .await
    }

    /// Deletes the oldest that are from before `before`, at most `limit`; says how many.
    pub async fn expire(self, before: DateTime<Utc>, limit: usize) -> Result<usize, StoreError> {
        self.0
            .write(move |connection| {
                let mut statement = connection.prepare_cached(
                    "DELETE FROM audit WHERE created_at < ?1
                     AND number IN (SELECT number FROM audit ORDER BY number LIMIT ?2)",
                )?;
                Ok(statement.execute(params![Micros(before), limit as i64])?)
            })
            .await
    }
}

fn parse(row: &Row<'_>) -> rusqlite::Result<AuditRow> {
    Ok(AuditRow {
        number: row.get(0)?,
        workspace_id: row.get(1)?,
        environment_id: row.get(2)?,
        session_id: row.get(3)?,
        created_at: row.get::<_, Micros>(4)?.0,
        latency_ms: row.get(5)?,
        host: row.get(6)?,
        port: row.get(7)?,
        method: row.get(8)?,
        path: row.get(9)?,
        verdict: row.get(10)?,
        rule: row.get(11)?,
        status: row.get(12)?,
        bytes_in: row.get(13)?,
        bytes_out: row.get(14)?,
        credential_id: row.get(15)?,
        cut: row.get(16)?,
        count: row.get(17)?,
    })
}
