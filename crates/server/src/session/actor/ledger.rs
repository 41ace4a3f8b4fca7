//! How long a session has worked.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use store::SessionRow;
use tokio::time::Instant;

use crate::session::machine::Status;

/// Seconds in which the session was running.
#[derive(Debug)]
pub struct Active {
    before: f64,
    since: Option<Instant>,
    created_at: DateTime<Utc>,
}

impl Active {
    /// Goes on from what the store has.
    pub fn of(row: &SessionRow) -> Active {
        let stats: Value = serde_json::from_str(&row.stats).unwrap_or_default();
        Active {
            before: stats["active_seconds"].as_f64().unwrap_or(0.0),
            since: None,
            created_at: row.created_at,
        }
    }

    /// The session's status changed.
    pub fn status(&mut self, status: Status) {
        match status {
            Status::Running => {
                self.since.get_or_insert_with(Instant::now);
            }
            Status::Idle | Status::Rescheduling | Status::Terminated => {
                self.before = self.seconds();
                self.since = None;
            }
        }
    }

    /// Seconds up to now.
    pub fn seconds(&self) -> f64 {
        let now = self
            .since
            .map_or(0.0, |since| since.elapsed().as_secs_f64());
        // Milliseconds are as fine as anybody wants to read them.
        ((self.before + now) * 1000.0).round() / 1000.0
    }

    /// The contract's `stats`.
    pub fn stats(&self, now: DateTime<Utc>) -> Value {
        let duration = (now - self.created_at).num_milliseconds().max(0);
        json!({"active_seconds": self.seconds(), "duration_seconds": duration as f64 / 1000.0})
    }
}
