//! One call in the books, from the moment it is let go to its end.
//!
//! Its row is on disk before the call leaves, with its worst case as its cost and `unsettled` as its
//! error; its end replaces that by what it came to. So a server that is killed in between loses no
//! money: such a call stays counted at what was set aside for it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use egress::{Estimate, Reservation, Usage};
use store::{ModelCall, RecordError, Store};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use super::Book;
use super::budgets::Aside;

/// The error of a call that is under way, or whose server ended before it did.
const UNSETTLED: &str = "unsettled";

/// Writes rows, each in a task of its own.
#[derive(Clone)]
pub struct Pen {
    pub(super) store: Arc<Store>,
    pub(super) runtime: Handle,
    // At most two writes per model call under way, and egress bounds those.
    pub(super) writes: TaskTracker,
}

/// A call that was let go. Dropped without an end it was not made, and cost nothing.
pub struct Entry {
    pen: Pen,
    /// Keeps the book, so that a session that is opened again in between goes on with it.
    book: Arc<Book>,
    aside: Option<Aside>,
    row: ModelCall,
    begun: Begun,
}

/// What is known of the row that is written before the call leaves.
enum Begun {
    /// There is none: the call is free, or the row was refused.
    No,
    /// It is being written.
    Writing(JoinHandle<Result<(), RecordError>>),
    /// It is on disk.
    Yes,
}

impl Entry {
    /// A call for which `aside` was set aside.
    pub fn new(pen: Pen, book: Arc<Book>, aside: Aside, call: &Estimate, id: String) -> Entry {
        let row = row(&book, call, aside.worst(), id);
        Entry {
            pen,
            book,
            aside: Some(aside),
            row,
            begun: Begun::No,
        }
    }

    /// Writes its row.
    ///
    /// # Errors
    /// When that fails; then the call must not be made.
    pub async fn begin(&mut self) -> Result<(), RecordError> {
        if self.row.cost_microcents == Some(0) {
            // It cannot cost anything, so nothing can be lost.
            return Ok(());
        }
        let (store, row) = (self.pen.store.clone(), self.row.clone());
        let write = async move { store.usage().record(row).await };
        // In a task of its own, so that it is known to be written or not when the client leaves.
        self.begun = Begun::Writing(self.pen.writes.spawn_on(write, &self.pen.runtime));
        let Begun::Writing(writing) = &mut self.begun else {
            return Ok(());
        };
        let written = joined(writing.await);
        self.begun = match written {
            Ok(()) => Begun::Yes,
            Err(_) => Begun::No,
        };
        written
    }

    /// Puts what it came to into the book, the budgets and the store.
    fn end(&mut self, usage: Option<Usage>) {
        let Some(aside) = self.aside.take() else {
            return;
        };
        let recorded = self.row.cost_microcents;
        match usage {
            Some(usage) => fill(&mut self.row, usage, aside.worst()),
            None => {
                self.row.cost_microcents = Some(0);
                self.row.error = Some("not_sent".to_owned());
            }
        }
        self.book.add(&self.row);
        aside.settle(self.row.cost_microcents.unwrap_or(0));
        let begun = std::mem::replace(&mut self.begun, Begun::No);
        let (store, book, row) = (self.pen.store.clone(), self.book.clone(), self.row.clone());
        let write = async move {
            let kept = match begun {
                Begun::Writing(writing) => joined(writing.await).is_ok(),
                Begun::Yes => true,
                Begun::No => false,
            };
            let written = match kept {
                true => {
                    let settled = store.usage().settle(row, &book.agent, recorded).await;
                    settled.map_err(RecordError::Store)
                }
                false if row.cost_microcents == Some(0) && row.status == 0 => Ok(()),
                false => store.usage().record(row).await,
            };
            if let Err(error) = written {
                tracing::error!(
                    session.id = &*book.session,
                    error = &error as &dyn std::error::Error,
                    "a model call of session {} could not be settled; it stays as it was recorded when it left",
                    book.session
                );
            }
        };
        self.pen.writes.spawn_on(write, &self.pen.runtime);
    }
}

impl Reservation for Entry {
    fn settle(mut self: Box<Self>, usage: Usage) {
        self.end(Some(usage));
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.end(None);
    }
}

fn joined(
    written: Result<Result<(), RecordError>, tokio::task::JoinError>,
) -> Result<(), RecordError> {
    written.unwrap_or(Err(RecordError::Store(store::StoreError::Closed)))
}

/// The row of a call that has not ended.
fn row(book: &Book, call: &Estimate, worst: Option<i64>, id: String) -> ModelCall {
    ModelCall {
        id,
        session_id: book.session.to_string(),
        workspace_id: book.workspace.to_string(),
        model: call.model.clone(),
        started_at: whole(call.started_at).into(),
        status: 0,
        latency_ms: 0,
        ttft_ms: None,
        input_tokens: 0,
        output_tokens: 0,
        cache_read_tokens: 0,
        cache_creation_5m_tokens: 0,
        cache_creation_1h_tokens: 0,
        cost_microcents: worst,
        error: Some(UNSETTLED.to_owned()),
        request_id: None,
        web_searches: 0,
    }
}

/// Puts into a row what its call came to. A call whose cost cannot be told costs what was set aside.
fn fill(row: &mut ModelCall, usage: Usage, worst: Option<i64>) {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let cost = usage
        .cost
        .map(|cost| i64::try_from(cost.0).unwrap_or(i64::MAX));
    row.model = usage.model;
    row.status = usage.status;
    row.latency_ms = millis(usage.latency);
    row.ttft_ms = usage.time_to_first_byte.map(millis);
    row.input_tokens = usage.tokens.input;
    row.output_tokens = usage.tokens.output;
    row.cache_read_tokens = usage.tokens.cache_read;
    row.cache_creation_5m_tokens = usage.tokens.cache_write_5m;
    row.cache_creation_1h_tokens = usage.tokens.cache_write_1h;
    row.web_searches = usage.tokens.web_searches;
    row.cost_microcents = cost.or(worst);
    row.error = usage.error;
    row.request_id = usage.request_id;
}

/// A clock before 1970 is one that was never set.
fn whole(at: SystemTime) -> SystemTime {
    UNIX_EPOCH + at.duration_since(UNIX_EPOCH).unwrap_or_default()
}
