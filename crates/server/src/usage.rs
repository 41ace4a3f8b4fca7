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
//! | `book` | what one session has used |
//! | `entry` | one call: its row, before and after |

mod accounts;
mod book;
mod budgets;
mod entry;
mod reserve;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use api::agent::AgentLimits;
use api::money::{BudgetLimit, MonetaryAmount};
use api::session::usage::Usage as Shown;
use api::workspace::Limits;
use chrono::DateTime;
use egress::{ClientId, Policy, Slot};
use store::{Reach, Realm, Store, StoreError};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use self::accounts::Name;
use self::book::shown;
pub use self::book::{Book, Failed};
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
    /// Its environment.
    pub environment: &'a str,
    /// What its sandbox may reach, until its environment says something else.
    pub policy: Policy,
    /// Its budget.
    pub budget: Option<&'a BudgetLimit>,
    /// What its environment allows it to cost.
    pub max_cost: Option<&'a MonetaryAmount>,
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
                let bytes = self.pen.store.audit().bytes(opening.session).await?;
                let budgets = self.budgets.clone();
                Arc::new(Book::new(&opening, totals, bytes, budgets))
            }
        };
        book.open(opening, daily, today);
        let mut books = self.lock();
        books.insert(book.session.to_string(), Shelf::Open(book.clone()));
        Ok(book)
    }

    /// From now on an environment says this to all of its sessions that are live, or to one of them.
    /// What they have under way and is no longer allowed is cut.
    pub fn environment_says(
        &self,
        environment: &str,
        only: Option<&str>,
        revision: u32,
        policy: &Policy,
    ) {
        for shelf in self.lock().values() {
            if let Shelf::Open(book) = shelf
                && book.owner.environment == environment
                && only.is_none_or(|session| *book.session == *session)
            {
                book.environment_says(revision, policy);
            }
        }
    }

    /// The sessions that are live and that `wanted` says yes to.
    pub fn live(&self, wanted: impl Fn(&Book) -> bool) -> Vec<Arc<Book>> {
        let books = self.lock();
        let open = books.values().filter_map(|shelf| match shelf {
            Shelf::Open(book) if wanted(book) => Some(book.clone()),
            Shelf::Open(_) | Shelf::Closed(_) => None,
        });
        open.collect()
    }

    /// A credential of one of a session's MCP servers failed; its log will say so.
    pub fn credential_failed(&self, session: &ClientId, slot: &Slot, why: &str) {
        if let Some(book) = self.book(session) {
            book.fail(slot, why);
        }
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
            Some(book) => book.totals(),
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
                self.workspace_cap(workspace).await?,
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

    /// What a day of a workspace may cost: by its own limits, or by the settings.
    async fn workspace_cap(&self, workspace: &str) -> Result<Option<i64>, StoreError> {
        let workspaces = self.pen.store.workspaces();
        let row = workspaces.get(&Reach::Server, workspace).await?;
        let limits = row.and_then(|row| serde_json::from_str::<Limits>(&row.limits).ok());
        let own = limits.and_then(|limits| limits.max_cost_per_day);
        let cap = own.as_ref().or(self.daily.workspace.as_ref());
        Ok(cap.map(microcents))
    }

    /// What a day of an agent may cost: by its newest version, or by the settings.
    async fn agent_cap(&self, workspace: &str, agent: &str) -> Result<Option<i64>, StoreError> {
        #[derive(serde::Deserialize)]
        struct Limited {
            limits: Option<AgentLimits>,
        }
        let realm = Realm::of(workspace);
        let row = self.pen.store.agents().get(&realm, agent, None).await?;
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

fn microcents(amount: &MonetaryAmount) -> i64 {
    i64::try_from(amount.cents())
        .unwrap_or(i64::MAX)
        .saturating_mul(MICROCENTS)
}

#[cfg(test)]
mod tests;
