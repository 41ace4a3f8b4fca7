//! What sessions use and may use: egress sets money aside here before each model call and settles it
//! after.
//!
//! The book of a live session is in memory, so that asking costs nothing; each call is on disk before it
//! leaves, and the books are opened again from there. A session that nobody has opened has no book and
//! costs no memory. A call of an unknown price is counted as unpriced, never as free.
//!
//! | where | what |
//! | --- | --- |
//! | `accounts` | budgets, as a function |
//! | `budgets` | who waits for them |
//! | `reserve` | what egress asks, and how refusals read |
//! | `entry` | one call: its row, before and after |

mod accounts;
mod budgets;
mod entry;
mod reserve;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use api::agent::AgentLimits;
use api::money::{BudgetLimit, MonetaryAmount};
use api::session::usage::{CacheCreation, ServerToolUse, Usage as Shown};
use chrono::DateTime;
use egress::{ClientId, Policy};
use store::{ModelCall, Store, StoreError, Totals};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use self::accounts::Name;
use self::budgets::Budgets;
use self::entry::Pen;
use crate::clock::Clock;
use crate::ids::Ids;

/// Millionths of a cent in a cent.
const MICROCENTS: i64 = 1_000_000;

/// What a day (in UTC) may cost at list prices; `None` is without end.
#[derive(Debug, Clone, Default)]
pub struct Daily {
    /// All sessions of a workspace together.
    pub workspace: Option<MonetaryAmount>,
    /// All sessions of an agent together, unless the agent says otherwise.
    pub agent: Option<MonetaryAmount>,
}

/// The books of all live sessions.
pub struct Ledger {
    books: Mutex<HashMap<String, Shelf>>,
    budgets: Budgets,
    daily: Daily,
    pen: Pen,
    ids: Ids,
    clock: Clock,
}

/// Where a book is.
enum Shelf {
    /// Its session is live.
    Open(Arc<Book>),
    /// Its session is not, but a call of it may not be settled or written yet. A session that is opened
    /// again then goes on with it, so that nothing is counted twice.
    Closed(Weak<Book>),
}

/// What a book is opened with.
pub struct Opening<'a> {
    /// The session.
    pub session: &'a str,
    /// Its workspace.
    pub workspace: &'a str,
    /// Its agent.
    pub agent: &'a str,
    /// What its sandbox may reach.
    pub policy: Policy,
    /// Its budget.
    pub budget: Option<&'a BudgetLimit>,
    /// What its environment allows it to cost.
    pub max_cost: Option<&'a MonetaryAmount>,
}

/// The book of one session.
pub struct Book {
    session: Arc<str>,
    workspace: Arc<str>,
    agent: Arc<str>,
    state: Mutex<State>,
    budgets: Budgets,
    /// Rings when a budget refused a call.
    pub refused: Notify,
}

struct State {
    totals: Totals,
    policy: Arc<Policy>,
    /// The budgets that hold.
    names: Vec<Name>,
    budget: Option<i64>,
    max_cost: Option<i64>,
    refusal: Option<String>,
}

impl Ledger {
    /// Empty books; calls are written to `store` by tasks of `runtime`.
    #[must_use]
    pub fn new(store: Arc<Store>, ids: Ids, clock: Clock, runtime: Handle, daily: Daily) -> Ledger {
        Ledger {
            books: Mutex::default(),
            budgets: Budgets::default(),
            daily,
            pen: Pen {
                store,
                runtime,
                writes: TaskTracker::new(),
            },
            ids,
            clock,
        }
    }

    /// Opens a session's book with what it has used before. One that is open already is opened anew.
    ///
    /// # Errors
    /// When the store cannot say what was used.
    pub async fn open(&self, opening: Opening<'_>) -> Result<Arc<Book>, StoreError> {
        self.close(opening.session);
        let today = reserve::day(self.clock.now().into());
        let daily = self.daily(&opening, today).await?;
        // What is not settled or not written yet is in the book alone.
        let kept = match self.lock().get(opening.session) {
            Some(Shelf::Closed(book)) => book.upgrade(),
            _ => None,
        };
        let book = match kept {
            Some(book) => book,
            None => {
                let totals = self.pen.store.usage().totals(opening.session).await?;
                Arc::new(Book::new(&opening, totals, self.budgets.clone()))
            }
        };
        book.open(opening, daily, today);
        let mut books = self.lock();
        books.insert(book.session.to_string(), Shelf::Open(book.clone()));
        Ok(book)
    }

    /// Closes a session's book; its sandbox is refused everything from now on. Calls under way are
    /// settled nevertheless.
    pub fn close(&self, session: &str) {
        let mut books = self.lock();
        books.retain(|_, shelf| match shelf {
            Shelf::Open(_) => true,
            Shelf::Closed(book) => book.strong_count() > 0,
        });
        let Some(shelf) = books.get_mut(session) else {
            return;
        };
        let Shelf::Open(book) = &*shelf else { return };
        let (book, names) = (Arc::downgrade(book), book.budgets());
        *shelf = Shelf::Closed(book);
        drop(books);
        let today = reserve::day(self.clock.now().into());
        self.budgets
            .change(|accounts| accounts.close(&names, today));
    }

    /// What a session has used up to now, live or not, as the contract shows it; `None` when it has made
    /// no call.
    ///
    /// # Errors
    /// When the store cannot say what was used.
    pub async fn shown(
        &self,
        session: &str,
        active_seconds: f64,
    ) -> Result<Option<Shown>, StoreError> {
        let book = match self.lock().get(session) {
            Some(Shelf::Open(book)) => Some(book.clone()),
            Some(Shelf::Closed(book)) => book.upgrade(),
            None => None,
        };
        let totals = match book {
            Some(book) => book.lock().totals,
            None => self.pen.store.usage().totals(session).await?,
        };
        Ok((totals.calls > 0).then(|| shown(&totals, active_seconds)))
    }

    /// Waits until every call so far is written.
    pub async fn flush(&self) {
        self.pen.writes.close();
        self.pen.writes.wait().await;
    }

    /// The daily budgets that hold for a session: whose, how much, and what is spent today.
    async fn daily(
        &self,
        opening: &Opening<'_>,
        today: i64,
    ) -> Result<Vec<(Name, i64, i64)>, StoreError> {
        let (workspace, agent) = (opening.workspace, opening.agent);
        let caps = [
            (
                Name::Workspace(workspace.into()),
                None,
                self.daily.workspace.as_ref().map(microcents),
            ),
            (
                Name::Agent(agent.into()),
                Some(agent),
                self.agent_cap(workspace, agent).await?,
            ),
        ];
        let mut daily = Vec::new();
        for (name, agent, cap) in caps {
            let Some(cap) = cap else { continue };
            let spent = match self.budgets.change(|accounts| accounts.has(&name)) {
                true => 0,
                false => self.spent(workspace, agent, today).await?,
            };
            daily.push((name, cap, spent));
        }
        Ok(daily)
    }

    async fn spent(
        &self,
        workspace: &str,
        agent: Option<&str>,
        today: i64,
    ) -> Result<i64, StoreError> {
        let midnight = DateTime::from_timestamp(today.saturating_mul(24 * 3600), 0);
        let since = midnight.unwrap_or(DateTime::UNIX_EPOCH);
        let usage = self.pen.store.usage();
        let totals = usage.spent_since(workspace, agent, since).await?;
        Ok(totals.cost_microcents)
    }

    /// What a day of an agent may cost: by its newest version, or by the settings.
    async fn agent_cap(&self, workspace: &str, agent: &str) -> Result<Option<i64>, StoreError> {
        #[derive(serde::Deserialize)]
        struct Limited {
            limits: Option<AgentLimits>,
        }
        let row = self.pen.store.agents().get(workspace, agent, None).await?;
        let body = row.and_then(|row| serde_json::from_str::<Limited>(&row.body).ok());
        let own = body
            .and_then(|body| body.limits)
            .and_then(|limits| limits.max_cost_per_day);
        let cap = own.as_ref().or(self.daily.agent.as_ref());
        Ok(cap.map(microcents))
    }

    fn book(&self, client: &ClientId) -> Option<Arc<Book>> {
        match self.lock().get(&client.0)? {
            Shelf::Open(book) => Some(book.clone()),
            Shelf::Closed(_) => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Shelf>> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn new(opening: &Opening<'_>, totals: Totals, budgets: Budgets) -> Book {
        Book {
            session: opening.session.into(),
            workspace: opening.workspace.into(),
            agent: opening.agent.into(),
            state: Mutex::new(State {
                totals,
                policy: Arc::new(opening.policy.clone()),
                names: Vec::new(),
                budget: None,
                max_cost: None,
                refusal: None,
            }),
            budgets,
            refused: Notify::new(),
        }
    }

    fn open(&self, opening: Opening<'_>, daily: Vec<(Name, i64, i64)>, today: i64) {
        let own = Name::Session(self.session.clone());
        let mut state = self.lock();
        state.policy = Arc::new(opening.policy);
        state.budget = opening
            .budget
            .map(|budget| microcents(&budget.max_list_cost));
        state.max_cost = opening.max_cost.map(microcents);
        state.names = daily.iter().map(|(name, ..)| name.clone()).collect();
        state.names.insert(0, own.clone());
        let (cap, spent) = (state.cap(), state.totals.cost_microcents);
        self.budgets.change(|accounts| {
            accounts.open(own, cap, spent, today);
            for (name, cap, spent) in daily {
                accounts.open(name, Some(cap), spent, today);
            }
        });
    }

    /// What the session has used, as the contract shows it.
    #[must_use]
    pub fn shown(&self, active_seconds: f64) -> Shown {
        shown(&self.lock().totals, active_seconds)
    }

    /// Sets or removes the budget.
    pub fn set_budget(&self, budget: Option<&BudgetLimit>) {
        let mut state = self.lock();
        state.budget = budget.map(|budget| microcents(&budget.max_list_cost));
        let cap = state.cap();
        let own = Name::Session(self.session.clone());
        self.budgets.change(|accounts| accounts.set_cap(&own, cap));
    }

    /// Why the last call that was refused was refused, in a sentence for people; taken once.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        self.lock().refusal.take()
    }

    fn refuse(&self, why: String) {
        self.lock().refusal = Some(why);
        self.refused.notify_one();
    }

    fn policy(&self) -> Arc<Policy> {
        self.lock().policy.clone()
    }

    fn budgets(&self) -> Vec<Name> {
        self.lock().names.clone()
    }

    /// Whether there is a budget, and what is left of it cannot be known.
    fn has_unknown_costs(&self) -> bool {
        let state = self.lock();
        state.cap().is_some() && state.totals.unpriced > 0
    }

    /// Whether it is the environment that sets the session's cap.
    fn limited_by_environment(&self) -> bool {
        let state = self.lock();
        state.max_cost.is_some() && state.cap() == state.max_cost
    }

    /// Adds a call that has ended.
    fn add(&self, call: &ModelCall) {
        let totals = &mut self.lock().totals;
        totals.calls += 1;
        totals.failed += u64::from(call.error.is_some());
        totals.input_tokens += call.input_tokens;
        totals.output_tokens += call.output_tokens;
        totals.cache_read_tokens += call.cache_read_tokens;
        totals.cache_creation_5m_tokens += call.cache_creation_5m_tokens;
        totals.cache_creation_1h_tokens += call.cache_creation_1h_tokens;
        totals.web_searches += call.web_searches;
        match call.cost_microcents {
            Some(cost) => totals.cost_microcents = totals.cost_microcents.saturating_add(cost),
            None => totals.unpriced += 1,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What the session may cost in all.
    fn cap(&self) -> Option<i64> {
        let caps = [self.budget, self.max_cost];
        caps.into_iter().flatten().min()
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
        server_tool_use: (totals.web_searches > 0).then_some(ServerToolUse {
            web_search_requests: totals.web_searches,
            web_fetch_requests: 0,
        }),
    }
}

fn microcents(amount: &MonetaryAmount) -> i64 {
    i64::try_from(amount.cents())
        .unwrap_or(i64::MAX)
        .saturating_mul(MICROCENTS)
}

#[cfg(test)]
mod tests;
