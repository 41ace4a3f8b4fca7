//! Egress asks before each model call: what it may cost is set aside in every budget that holds, or it
//! is refused in words that say which budget that is and who can raise it.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use egress::{Admission, ClientId, Estimate, Policies, Standing, UsageSink};
use store::RecordError;

use super::accounts::{Bid, Name, Refused};
use super::budgets::Aside;
use super::entry::Entry;
use super::{Book, Ledger, MICROCENTS};

/// Seconds of a day.
const DAY: u64 = 24 * 3600;

/// The day of a time, in days since 1970 in UTC.
pub fn day(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs() / DAY).unwrap_or(i64::MAX)
}

impl Policies for Ledger {
    fn of(&self, client: &ClientId) -> Option<Standing> {
        self.book(client).map(|book| book.standing())
    }
}

#[async_trait]
impl UsageSink for Ledger {
    fn payer(&self, client: &ClientId) -> Option<Arc<str>> {
        self.book(client).map(|book| book.workspace.clone())
    }

    async fn reserve(&self, call: Estimate) -> Admission {
        let Some(book) = self.book(&call.client) else {
            let message = format!("session {} is not live", call.client);
            return refuse(403, "permission_error", message);
        };
        let aside = match self.set_aside(&book, &call).await {
            Ok(aside) => aside,
            Err(refused) => {
                let message = explain(&refused, &book, &call.model);
                book.refuse(message.clone());
                return refuse(402, "billing_error", message);
            }
        };
        let id = self.ids.mint(api::id::Prefix::Request);
        let mut entry = Entry::new(self.pen.clone(), book, aside, &call, id);
        match entry.begin().await {
            Ok(()) => Admission::Allow(Box::new(entry)),
            Err(RecordError::NotFound) => {
                let message = format!("session {} was deleted", call.client);
                refuse(403, "permission_error", message)
            }
            Err(RecordError::Store(error)) => {
                tracing::error!(session.id = %call.client, error = &error as &dyn std::error::Error, "a model call could not be recorded, so it is not made");
                let message = "the call cannot be recorded now, so it is not made".to_owned();
                refuse(503, "api_error", message)
            }
        }
    }
}

impl Ledger {
    /// Sets aside what a call may cost. A budget of a day that refuses is read again first: it may have
    /// been raised since the session began.
    async fn set_aside(&self, book: &Arc<Book>, call: &Estimate) -> Result<Aside, Refused> {
        if book.has_unknown_costs() {
            return Err(Refused::Unpriced);
        }
        let bid = Bid {
            names: book.budgets(),
            worst: call
                .worst
                .map(|worst| i64::try_from(worst.0).unwrap_or(i64::MAX)),
            day: day(call.started_at),
        };
        let (name, cap) = match self.budgets.take(bid.clone()).await {
            Err(Refused::Spent { name, cap }) => (name, cap),
            judged => return judged,
        };
        let now = match &name {
            Name::Session(_) => return Err(Refused::Spent { name, cap }),
            Name::Agent(_) => self.agent_cap(&book.workspace, &book.agent).await,
            Name::Workspace(_) => self.workspace_cap(&book.workspace).await,
        };
        match now {
            Ok(now) if now != Some(cap) => {
                self.budgets.change(|accounts| accounts.set_cap(&name, now));
                self.budgets.take(bid).await
            }
            _ => Err(Refused::Spent { name, cap }),
        }
    }
}

fn refuse(status: u16, error_type: &'static str, message: String) -> Admission {
    Admission::Refuse {
        status,
        error_type,
        message,
    }
}

/// What the person behind the session reads.
fn explain(refused: &Refused, book: &Book, model: &str) -> String {
    let (name, cap) = match refused {
        Refused::Unpriced if book.has_unknown_costs() => {
            return "the session has a budget, but some of its calls had no price, so what is left of it is not known; remove the budget to go on".to_owned();
        }
        Refused::Unpriced => {
            return format!(
                "a budget holds, and model {model:?} has no price in the price table; add it to the file of setting prices.file, or set prices.unknown"
            );
        }
        Refused::Spent { name, cap } => (name, dollars(*cap)),
    };
    match name {
        Name::Session(_) => match book.limited_by_environment() {
            false => {
                format!("the session's budget of {cap} is used up; raise or remove it to go on")
            }
            true => format!(
                "the session has cost what limits.max_cost of its environment allows, {cap}; raise it there and begin a new session"
            ),
        },
        Name::Agent(agent) => format!(
            "the daily budget of agent {agent}, {cap}, is used up; it begins anew at 00:00 UTC, or raise limits.max_cost_per_day of the agent (setting budgets.agent_per_day when it has none of its own)"
        ),
        Name::Workspace(workspace) => format!(
            "the daily budget of workspace {workspace}, {cap}, is used up; it begins anew at 00:00 UTC, or raise limits.max_cost_per_day of the workspace (setting budgets.workspace_per_day when it has none of its own)"
        ),
    }
}

fn dollars(microcents: i64) -> String {
    let cents = microcents / MICROCENTS;
    format!("${}.{:02}", cents / 100, cents % 100)
}
