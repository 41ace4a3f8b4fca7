//! The book of one session: what it has used, and what holds for it while it is live.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::money::{BudgetLimit, MonetaryAmount};
use api::session::usage::{CacheCreation, ServerToolUse, Usage as Shown};
use egress::{Binding, Owner, Policy, Slot, Standing, Traffic};
use store::{ModelCall, Totals};
use tokio::sync::{Notify, watch};

use super::accounts::Name;
use super::budgets::Budgets;
use super::{MICROCENTS, Opening, microcents};

/// The book of one session.
pub struct Book {
    pub(super) session: Arc<str>,
    pub(super) workspace: Arc<str>,
    pub(super) agent: Arc<str>,
    pub(super) owner: Arc<Owner>,
    /// What its sandbox may reach. Who is on the way out is told of every change.
    policy: watch::Sender<Arc<Policy>>,
    traffic: Arc<Traffic>,
    state: Mutex<State>,
    budgets: Budgets,
    /// Rings when a budget refused a call.
    pub refused: Notify,
    /// Rings when a credential failed.
    pub failed: Notify,
}

/// A credential that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// The MCP server that it is for, by the agent's name for it.
    pub server: String,
    /// In one sentence for people.
    pub message: String,
}

/// Failures that wait to be told. More are dropped: the log of the server has all of them.
const FAILURES: usize = 16;

struct State {
    totals: Totals,
    /// The revision of the environment that the policy is of.
    revision: u32,
    /// The budgets that hold.
    names: Vec<Name>,
    budget: Option<i64>,
    max_cost: Option<i64>,
    refusal: Option<String>,
    /// The agent's names for the servers that its credentials are for.
    servers: Vec<(Slot, String)>,
    failures: Vec<Failed>,
    /// What was told already, and not again until the credentials change.
    told: Vec<Failed>,
}

impl Book {
    /// `bytes` is what came in and went out before.
    pub(super) fn new(
        opening: &Opening<'_>,
        totals: Totals,
        bytes: (u64, u64),
        budgets: Budgets,
    ) -> Book {
        Book {
            session: opening.session.into(),
            workspace: opening.workspace.into(),
            agent: opening.agent.into(),
            owner: Arc::new(Owner {
                workspace: opening.workspace.to_owned(),
                environment: opening.environment.to_owned(),
            }),
            policy: watch::Sender::new(Arc::new(opening.policy.clone())),
            traffic: Arc::new(Traffic::new(bytes.0, bytes.1)),
            state: Mutex::new(State {
                totals,
                revision: 0,
                names: Vec::new(),
                budget: None,
                max_cost: None,
                refusal: None,
                servers: Vec::new(),
                failures: Vec::new(),
                told: Vec::new(),
            }),
            budgets,
            refused: Notify::new(),
            failed: Notify::new(),
        }
    }

    pub(super) fn open(&self, opening: Opening<'_>, daily: Vec<(Name, i64, i64)>, today: i64) {
        let own = Name::Session(self.session.clone());
        let mut state = self.lock();
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

    pub(super) fn standing(&self) -> Standing {
        Standing {
            policy: self.policy.subscribe(),
            traffic: self.traffic.clone(),
            owner: self.owner.clone(),
        }
    }

    /// From now on the environment says this, unless a later revision has spoken already. The agent's
    /// MCP servers stay what they are.
    pub(super) fn environment_says(&self, revision: u32, policy: &Policy) {
        let mut state = self.lock();
        if revision < state.revision {
            return;
        }
        state.revision = revision;
        self.policy.send_if_modified(|held| {
            let new = Policy {
                mcp_hosts: held.mcp_hosts.clone(),
                bound: held.bound.clone(),
                ..policy.clone()
            };
            let changed = **held != new;
            if changed {
                *held = Arc::new(new);
            }
            changed
        });
    }

    /// From now on these are the session's credentials. What is under way is cut where they changed.
    pub fn bind(&self, bindings: Vec<Binding>, servers: Vec<(Slot, String)>) {
        let mut state = self.lock();
        state.servers = servers;
        state.told.clear();
        self.policy.send_if_modified(|held| {
            let changed = *held.bound != *bindings;
            if changed {
                *held = Arc::new(Policy {
                    bound: bindings.into(),
                    ..(**held).clone()
                });
            }
            changed
        });
    }

    /// A credential of an MCP server failed.
    pub(super) fn fail(&self, slot: &Slot, why: &str) {
        let mut state = self.lock();
        let Some((_, server)) = state.servers.iter().find(|(known, _)| known == slot) else {
            return;
        };
        let failed = Failed {
            message: format!(
                "the credential {} of the MCP server {server} does not work: {why}",
                slot.0
            ),
            server: server.clone(),
        };
        if state.told.contains(&failed) || state.failures.len() >= FAILURES {
            return;
        }
        state.told.push(failed.clone());
        state.failures.push(failed);
        self.failed.notify_one();
    }

    /// Credentials that failed; each is given once.
    #[must_use]
    pub fn failures(&self) -> Vec<Failed> {
        std::mem::take(&mut self.lock().failures)
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

    /// The session.
    #[must_use]
    pub fn session(&self) -> &str {
        &self.session
    }

    /// Its workspace.
    #[must_use]
    pub fn workspace(&self) -> &str {
        &self.workspace
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
