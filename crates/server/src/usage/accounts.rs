//! Budgets as a function of plain values: what is spent, what is set aside, and whether one more call
//! may be made. Knows no clock, no tasks and no store.
//!
//! A call is made when what is spent is below the cap, and what is spent, what is set aside for calls
//! under way and its own worst case stay within it. What does not fit waits for calls under way: they
//! cost less than was set aside for them. The only call under way always fits, so that a budget can be
//! used up to its end, as the contract says: the call that crosses it completes. So a budget is
//! exceeded by at most one call, however many are made at once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Whose budget.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Name {
    /// A session's, for its whole life.
    Session(Arc<str>),
    /// An agent's, per day.
    Agent(Arc<str>),
    /// A workspace's, per day.
    Workspace(Arc<str>),
}

/// What one call would take from which budgets. Amounts are millionths of a cent.
#[derive(Debug, Clone)]
pub struct Bid {
    /// The budgets.
    pub names: Vec<Name>,
    /// Its worst case; `None` when it has no price.
    pub worst: Option<i64>,
    /// The day on which it is made, in days since 1970 in UTC.
    pub day: i64,
}

/// Why a call may not be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// This budget is used up.
    Spent {
        /// Whose.
        name: Name,
        /// What it allows.
        cap: i64,
    },
    /// A budget holds, and the call has no price.
    Unpriced,
}

/// The place of a bid that waits.
pub type Ticket = u64;

/// What became of a bid.
#[derive(Debug, PartialEq, Eq)]
pub enum Judged {
    /// Its worst case is set aside.
    Taken,
    /// It waits at this place.
    Waits(Ticket),
    /// It may not be made.
    Refused(Refused),
}

/// All budgets that somebody may use now.
#[derive(Debug, Default)]
pub struct Accounts {
    accounts: HashMap<Name, Account>,
    /// Bids that wait, in order, each with the budget that it waits for.
    waiting: BTreeMap<Ticket, Name>,
    last: Ticket,
}

#[derive(Debug)]
struct Account {
    cap: Option<i64>,
    spent: i64,
    /// Worst cases of calls under way.
    aside: i64,
    /// Calls under way that cost something.
    under_way: u32,
    /// The day that `spent` is of.
    day: i64,
    /// Open books that may use it.
    users: u32,
}

/// The day of an account that knows no days.
const FOR_LIFE: i64 = i64::MAX;

impl Accounts {
    /// Whether a budget's account is here; its `spent` is wanted when it is not.
    pub fn has(&self, name: &Name) -> bool {
        self.accounts.contains_key(name)
    }

    /// One more book may use this budget. `spent` counts when the account is not here yet.
    pub fn open(&mut self, name: Name, cap: Option<i64>, spent: i64, day: i64) {
        let daily = !matches!(name, Name::Session(_));
        let account = self.accounts.entry(name).or_insert(Account {
            cap,
            spent,
            aside: 0,
            under_way: 0,
            day: if daily { day } else { FOR_LIFE },
            users: 0,
        });
        account.cap = cap;
        account.users += 1;
    }

    /// One book less may use these budgets. Accounts that say nothing any more are forgotten: those of
    /// sessions at once, daily ones after their day.
    pub fn close(&mut self, names: &[Name], day: i64) {
        for name in names {
            if let Some(account) = self.accounts.get_mut(name) {
                account.users = account.users.saturating_sub(1);
            }
        }
        self.accounts.retain(|_, account| {
            let current = account.day >= day && account.day != FOR_LIFE;
            account.users > 0 || account.under_way > 0 || current
        });
    }

    /// Changes what a budget allows; `None` is without end.
    pub fn set_cap(&mut self, name: &Name, cap: Option<i64>) {
        if let Some(account) = self.accounts.get_mut(name) {
            account.cap = cap;
        }
    }

    /// Sets a call's worst case aside if it fits. `ticket` is the place that it had before.
    pub fn take(&mut self, bid: &Bid, ticket: Option<Ticket>) -> Judged {
        self.each(bid, |account| account.turn_page(bid.day));
        match self.judge(bid, ticket) {
            Err(refused) => Judged::Refused(refused),
            Ok(None) => {
                let worst = bid.worst.unwrap_or(0);
                self.each(bid, |account| {
                    account.aside = account.aside.saturating_add(worst);
                    account.under_way += u32::from(worst > 0);
                });
                Judged::Taken
            }
            Ok(Some(name)) => {
                let ticket = ticket.unwrap_or_else(|| {
                    self.last += 1;
                    self.last
                });
                self.waiting.insert(ticket, name);
                Judged::Waits(ticket)
            }
        }
    }

    /// Whoever waited at this place waits no more.
    pub fn leave(&mut self, ticket: Ticket) {
        self.waiting.remove(&ticket);
    }

    /// A call that was taken has cost this.
    pub fn settle(&mut self, bid: &Bid, cost: i64) {
        let worst = bid.worst.unwrap_or(0);
        self.each(bid, |account| {
            account.aside = account.aside.saturating_sub(worst);
            account.under_way = account.under_way.saturating_sub(u32::from(worst > 0));
            // A call of yesterday is settled with yesterday's money.
            if account.day == bid.day || account.day == FOR_LIFE {
                account.spent = account.spent.saturating_add(cost);
            }
        });
    }

    /// The budget that a bid has to wait for; `None` when it fits.
    fn judge(&self, bid: &Bid, ticket: Option<Ticket>) -> Result<Option<Name>, Refused> {
        let mut waits_for = None;
        for name in &bid.names {
            let Some(account) = self.accounts.get(name) else {
                continue;
            };
            let Some(cap) = account.cap else { continue };
            if account.spent >= cap {
                let name = name.clone();
                return Err(Refused::Spent { name, cap });
            }
            let Some(worst) = bid.worst else {
                return Err(Refused::Unpriced);
            };
            let sum = account.spent.saturating_add(account.aside);
            let fits = account.under_way == 0 || sum.saturating_add(worst) <= cap;
            // Whoever waits for this budget already goes first.
            let before = ticket.unwrap_or(Ticket::MAX);
            let first = !self.waiting.range(..before).any(|(_, other)| other == name);
            if worst > 0 && !(fits && first) && waits_for.is_none() {
                waits_for = Some(name.clone());
            }
        }
        Ok(waits_for)
    }

    fn each(&mut self, bid: &Bid, change: impl Fn(&mut Account)) {
        for name in &bid.names {
            if let Some(account) = self.accounts.get_mut(name) {
                change(account);
            }
        }
    }
}

impl Account {
    /// A new day begins with nothing spent. A clock that goes back stays on its day.
    fn turn_page(&mut self, day: i64) {
        if day > self.day {
            (self.day, self.spent) = (day, 0);
        }
    }
}

#[cfg(test)]
mod tests;
