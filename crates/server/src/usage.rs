//! What sessions use and may use: egress asks here before each model call and reports here after it.
//!
//! The books of a live session are in memory, so that asking costs nothing; each call is also written
//! to the store, from which the books are opened again. A call of an unknown price is counted as
//! unpriced, never as free.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use api::money::{BudgetLimit, MonetaryAmount};
use api::session::usage::{CacheCreation, Usage as Shown};
use egress::{Admission, ClientId, Policies, Policy, Usage, UsageSink};
use store::{ModelCall, Store, Totals};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use crate::ids::Ids;

/// Millionths of a cent in a cent.
const MICROCENTS: i64 = 1_000_000;

/// The books of all live sessions.
pub struct Ledger {
    books: Mutex<HashMap<String, Arc<Book>>>,
    store: Arc<Store>,
    ids: Ids,
    runtime: Handle,
    // At most one write per model call under way, and egress bounds those.
    writes: TaskTracker,
}

/// The books of one session.
pub struct Book {
    session: String,
    workspace: String,
    policy: Arc<Policy>,
    state: Mutex<State>,
    /// Rings when the budget refused a call.
    pub refused: Notify,
}

struct State {
    totals: Totals,
    cap: Option<i64>,
}

impl Ledger {
    /// Empty books; calls are written to `store` by tasks of `runtime`.
    #[must_use]
    pub fn new(store: Arc<Store>, ids: Ids, runtime: Handle) -> Ledger {
        Ledger {
            books: Mutex::default(),
            store,
            ids,
            runtime,
            writes: TaskTracker::new(),
        }
    }

    /// Opens a session's books with what it has used before.
    pub fn open(
        &self,
        session: &str,
        workspace: &str,
        policy: Policy,
        totals: Totals,
        budget: Option<&BudgetLimit>,
    ) -> Arc<Book> {
        let book = Arc::new(Book {
            session: session.to_owned(),
            workspace: workspace.to_owned(),
            policy: Arc::new(policy),
            state: Mutex::new(State {
                totals,
                cap: budget.map(cap),
            }),
            refused: Notify::new(),
        });
        self.lock().insert(session.to_owned(), book.clone());
        book
    }

    /// Closes a session's books; its sandbox is refused everything from now on.
    pub fn close(&self, session: &str) {
        self.lock().remove(session);
    }

    /// Waits until every call so far is written.
    pub async fn flush(&self) {
        self.writes.close();
        self.writes.wait().await;
    }

    fn book(&self, client: &ClientId) -> Option<Arc<Book>> {
        self.lock().get(&client.0).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Book>>> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// What the session has used, as the contract shows it.
    #[must_use]
    pub fn shown(&self, active_seconds: f64) -> Shown {
        shown(&self.lock().totals, active_seconds)
    }

    /// Sets or removes the budget.
    pub fn set_budget(&self, budget: Option<&BudgetLimit>) {
        self.lock().cap = budget.map(cap);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Totals as the contract shows them; a cost only when every call had a price.
#[must_use]
pub fn shown(totals: &Totals, active_seconds: f64) -> Shown {
    // A started cent is a cent: a budget must not look unspent when it is not.
    let cents = u64::try_from(totals.cost_microcents)
        .unwrap_or(0)
        .div_ceil(MICROCENTS.unsigned_abs());
    Shown {
        input_tokens: totals.input_tokens,
        output_tokens: totals.output_tokens,
        cache_read_input_tokens: totals.cache_read_tokens,
        cache_creation: CacheCreation {
            ephemeral_5m_input_tokens: totals.cache_creation_5m_tokens,
            ephemeral_1h_input_tokens: totals.cache_creation_1h_tokens,
        },
        active_seconds,
        list_cost: (totals.unpriced == 0).then(|| MonetaryAmount::from_cents(cents)),
        server_tool_use: None,
    }
}

fn cap(budget: &BudgetLimit) -> i64 {
    i64::try_from(budget.max_list_cost.cents())
        .unwrap_or(i64::MAX)
        .saturating_mul(MICROCENTS)
}

impl Policies for Ledger {
    fn of(&self, client: &ClientId) -> Option<Arc<Policy>> {
        self.book(client).map(|book| book.policy.clone())
    }
}

impl UsageSink for Ledger {
    fn record(&self, usage: Usage) {
        let Some(book) = self.book(&usage.client) else {
            tracing::warn!(session.id = %usage.client, "a model call ended after its session {}", usage.client);
            return;
        };
        add(&mut book.lock().totals, &usage);
        let call = call(&usage, &book, self.ids.mint(api::id::Prefix::Request));
        let store = self.store.clone();
        self.writes.spawn_on(
            async move {
                if let Err(error) = store.usage().record(call).await {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "a model call could not be recorded"
                    );
                }
            },
            &self.runtime,
        );
    }

    fn admit(&self, client: &ClientId) -> Admission {
        let refuse = |status, error_type, message: String| Admission::Refuse {
            status,
            error_type,
            message,
        };
        let Some(book) = self.book(client) else {
            return refuse(
                403,
                "permission_error",
                format!("session {client} is not live"),
            );
        };
        let state = book.lock();
        match state.cap {
            Some(cap) if state.totals.unpriced > 0 || state.totals.cost_microcents >= cap => {
                let why = match state.totals.unpriced {
                    0 => "the session's budget is used up; raise it to go on",
                    _ => "the session has a budget, and its model has no price in the price table",
                };
                drop(state);
                book.refused.notify_one();
                refuse(402, "billing_error", why.to_owned())
            }
            _ => Admission::Allow,
        }
    }
}

fn add(totals: &mut Totals, usage: &Usage) {
    totals.calls += 1;
    totals.failed += u64::from(usage.error.is_some());
    totals.input_tokens += usage.tokens.input;
    totals.output_tokens += usage.tokens.output;
    totals.cache_read_tokens += usage.tokens.cache_read;
    totals.cache_creation_5m_tokens += usage.tokens.cache_write_5m;
    totals.cache_creation_1h_tokens += usage.tokens.cache_write_1h;
    match cost(usage) {
        Some(cost) => totals.cost_microcents = totals.cost_microcents.saturating_add(cost),
        None => totals.unpriced += 1,
    }
}

/// A call that used nothing cost nothing, whatever the model.
fn cost(usage: &Usage) -> Option<i64> {
    if usage.tokens == egress::Tokens::default() {
        return Some(0);
    }
    usage
        .cost
        .map(|cost| i64::try_from(cost.0).unwrap_or(i64::MAX))
}

fn call(usage: &Usage, book: &Book, id: String) -> ModelCall {
    let millis =
        |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let started = usage
        .started_at
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    ModelCall {
        id,
        session_id: book.session.clone(),
        workspace_id: book.workspace.clone(),
        model: usage.model.clone(),
        started_at: (UNIX_EPOCH + started).into(),
        status: usage.status,
        latency_ms: millis(usage.latency),
        ttft_ms: usage.time_to_first_byte.map(millis),
        input_tokens: usage.tokens.input,
        output_tokens: usage.tokens.output,
        cache_read_tokens: usage.tokens.cache_read,
        cache_creation_5m_tokens: usage.tokens.cache_write_5m,
        cache_creation_1h_tokens: usage.tokens.cache_write_1h,
        cost_microcents: cost(usage),
        error: usage.error.clone(),
        request_id: usage.request_id.clone(),
    }
}
