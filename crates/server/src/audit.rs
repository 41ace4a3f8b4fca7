//! Keeps what egress decided: in the store, and as lines of JSON in a file or on standard output when
//! the settings say so.
//!
//! ```text
//!   egress ──record──▶ queue (bounded) ──▶ one task ──▶ store, then lines
//!                        └─ full ─▶ counted ─▶ a record of how many were lost
//! ```
//!
//! Deciding never waits for this. While the store cannot keep records (a full disk), the task tries
//! again every second and the queue fills; what does not fit any more is counted for each session, and
//! the count is kept as a record in its place as soon as something can be. When the process is killed,
//! what is in the queue is lost (a commit takes milliseconds), and of what is under way the last minute:
//! egress makes a record of it each minute.

mod lines;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use api::audit::{AuditRecord, AuditTag, Verdict};
use api::time::Timestamp;
use chrono::{DateTime, Utc};
use egress::{Audit, Owner, Record};
use store::{AuditRow, Store};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::clock::Clock;

pub use lines::{Lines, LinesError};

/// Records that may wait. At a thousand decisions a second this is four seconds of a store that stands
/// still; beyond it they are counted and lost.
const QUEUE: usize = 4096;
/// Records in one transaction.
const GROUP: usize = 256;
/// Between two tries to keep the same records.
const AGAIN: Duration = Duration::from_secs(1);

/// Where egress hands its records in.
pub struct Auditor {
    clock: Clock,
    queue: mpsc::Sender<Message>,
    lost: Arc<Lost>,
    task: JoinHandle<()>,
}

enum Message {
    Row(Box<AuditRow>),
    /// Answered when everything before it is kept.
    Flush(oneshot::Sender<()>),
}

/// How many records were lost, by workspace, environment and session. There are no more of them than sessions that
/// were live since something could be kept.
#[derive(Default)]
struct Lost(Mutex<BTreeMap<[String; 3], u64>>);

impl Auditor {
    /// Starts the task that keeps records, which ends when this is dropped.
    #[must_use]
    pub fn start(store: Arc<Store>, clock: Clock, lines: Option<Lines>) -> Auditor {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let lost = Arc::<Lost>::default();
        let scribe = Scribe {
            store: Arc::downgrade(&store),
            clock: clock.clone(),
            lost: lost.clone(),
            lines,
        };
        Auditor {
            clock,
            queue,
            lost,
            task: tokio::spawn(scribe.run(waiting)),
        }
    }

    /// Waits until every record so far is kept.
    pub async fn flush(&self) {
        let (kept, wait) = oneshot::channel();
        if self.queue.send(Message::Flush(kept)).await.is_ok() {
            let _ = wait.await;
        }
    }
}

impl Drop for Auditor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Audit for Auditor {
    fn record(&self, record: Record) {
        // Nobody's records are nobody's to ask for; egress has refused and logged it.
        let Some(owner) = record.owner.clone() else {
            return;
        };
        let row = row(record, &owner, self.clock.now());
        if let Err(error) = self.queue.try_send(Message::Row(Box::new(row)))
            && let Message::Row(row) = error.into_inner()
        {
            self.lost
                .count([row.workspace_id, row.environment_id, row.session_id]);
        }
    }
}

impl Lost {
    fn count(&self, whose: [String; 3]) {
        *self.lock().entry(whose).or_default() += 1;
    }

    /// A record for each session that lost some. They are not lost any more.
    fn take(&self, now: DateTime<Utc>) -> Vec<AuditRow> {
        let lost = std::mem::take(&mut *self.lock());
        let row = |(whose, count): ([String; 3], u64)| {
            let [workspace_id, environment_id, session_id] = whose;
            AuditRow {
                number: 0,
                workspace_id,
                environment_id,
                session_id,
                created_at: now,
                latency_ms: 0,
                host: None,
                port: None,
                method: None,
                path: None,
                verdict: Verdict::Lost.name().to_owned(),
                rule: "audit-queue-full".to_owned(),
                status: None,
                bytes_in: 0,
                bytes_out: 0,
                credential_id: None,
                cut: None,
                count: Some(count),
            }
        };
        lost.into_iter().map(row).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<[String; 3], u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Scribe {
    /// Not kept open by who only waits: a server that stopped leaves its data directory to the next.
    store: Weak<Store>,
    clock: Clock,
    lost: Arc<Lost>,
    lines: Option<Lines>,
}

impl Scribe {
    async fn run(mut self, mut waiting: mpsc::Receiver<Message>) {
        let mut group = Vec::with_capacity(GROUP);
        while waiting.recv_many(&mut group, GROUP).await > 0 {
            let (mut rows, mut flushed) = (self.lost.take(self.clock.now()), Vec::new());
            for message in group.drain(..) {
                match message {
                    Message::Row(row) => rows.push(*row),
                    Message::Flush(kept) => flushed.push(kept),
                }
            }
            self.keep(rows).await;
            for kept in flushed {
                let _ = kept.send(());
            }
        }
    }

    async fn keep(&mut self, rows: Vec<AuditRow>) {
        if rows.is_empty() {
            return;
        }
        let mut told = false;
        let kept = loop {
            let Some(store) = self.store.upgrade() else {
                return;
            };
            match store.audit().insert(rows.clone()).await {
                Ok(kept) => break kept,
                Err(error) if !told => tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "cannot keep the audit; it is tried again every second, and what does not fit into memory meanwhile is counted and lost"
                ),
                Err(_) => {}
            }
            drop(store);
            told = true;
            tokio::time::sleep(AGAIN).await;
        };
        if let Some(lines) = &mut self.lines {
            lines.write(kept.iter().map(view)).await;
        }
    }
}

fn row(record: Record, owner: &Owner, now: DateTime<Utc>) -> AuditRow {
    let latency = u64::try_from(record.latency.as_millis()).unwrap_or(u64::MAX);
    let created_at =
        DateTime::from_timestamp_micros(DateTime::<Utc>::from(record.at).timestamp_micros());
    let verdict = if record.allowed {
        Verdict::Allow
    } else {
        Verdict::Deny
    };
    AuditRow {
        number: 0,
        workspace_id: owner.workspace.clone(),
        environment_id: owner.environment.clone(),
        session_id: record.client.0,
        created_at: created_at.unwrap_or(now),
        latency_ms: latency,
        host: record.host,
        port: record.port,
        method: record.method,
        path: record.path,
        verdict: verdict.name().to_owned(),
        rule: record.rule,
        status: record.status,
        bytes_in: record.bytes_in,
        bytes_out: record.bytes_out,
        credential_id: record.credential,
        cut: record.cut.map(str::to_owned),
        count: record.attempts,
    }
}

/// A record as clients see it.
#[must_use]
pub fn view(row: &AuditRow) -> AuditRecord {
    // What an older or newer server wrote is at least no permission.
    let verdict = Verdict::of(&row.verdict).unwrap_or(Verdict::Deny);
    let is_lost = verdict == Verdict::Lost;
    AuditRecord {
        id: format!("audit_{}", row.number),
        kind: AuditTag::Value,
        session_id: row.session_id.clone(),
        created_at: Timestamp(row.created_at),
        latency_ms: row.latency_ms,
        host: row.host.clone(),
        port: row.port,
        method: row.method.clone(),
        path: row.path.clone(),
        verdict,
        rule: row.rule.clone(),
        status: row.status,
        bytes_in: row.bytes_in,
        bytes_out: row.bytes_out,
        credential_id: row.credential_id.clone(),
        ended_early: row.cut.clone(),
        attempts: row.count.filter(|_| !is_lost),
        lost: row.count.filter(|_| is_lost),
    }
}

#[cfg(test)]
mod tests;
