//! The book of one session: what it has used, and what holds for it while it is live.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::money::{BudgetLimit, MonetaryAmount};
use api::session::usage::{CacheCreation, ServerToolUse, Usage as Shown};
use egress::Policy;
use store::{ModelCall, Totals};
use tokio::sync::Notify;

use super::accounts::Name;
use super::budgets::Budgets;
use super::{MICROCENTS, Opening, microcents};

/// The book of one session.
pub struct Book {
    pub(super) session: Arc<str>,
    pub(super) workspace: Arc<str>,
    pub(super) agent: Arc<str>,
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

impl Book {
    pub(super) fn new(opening: &Opening<'_>, totals: Totals, budgets: Budgets) -> Book {
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

    pub(super) fn open(&self, opening: Opening<'_>, daily: Vec<(Name, i64, i64)>, today: i64) {
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

    /// What the session has used.
    pub(super) fn totals(&self) -> Totals {
        self.lock().totals
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

    pub(super) fn refuse(&self, why: String) {
        self.lock().refusal = Some(why);
        self.refused.notify_one();
    }

    pub(super) fn policy(&self) -> Arc<Policy> {
        self.lock().policy.clone()
    }

    pub(super) fn budgets(&self) -> Vec<Name> {
        self.lock().names.clone()
    }

    /// Whether there is a budget, and what is left of it cannot be known.
    pub(super) fn has_unknown_costs(&self) -> bool {
        let state = self.lock();
        state.cap().is_some() && state.totals.unpriced > 0
    }

    /// Whether it is the environment that sets the session's cap.
    pub(super) fn limited_by_environment(&self) -> bool {
        let state = self.lock();
        state.max_cost.is_some() && state.cap() == state.max_cost
    }

    /// Adds a call that has ended.
    pub(super) fn add(&self, call: &ModelCall) {
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
pub(super) fn shown(totals: &Totals, active_seconds: f64) -> Shown {
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
