//! Setting money aside: who may make a call now, who waits for calls under way, and who may not.
//!
//! The rules are [`Accounts`]; here is the waiting. Nothing is held across it but a place in the line.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::accounts::{Accounts, Bid, Judged, Refused, Ticket};

/// All budgets of the server. Clones are the same.
#[derive(Clone, Default)]
pub struct Budgets(Arc<Shared>);

#[derive(Default)]
struct Shared {
    accounts: Mutex<Accounts>,
    /// Rings when something was settled or changed, so that whoever waits looks again.
    changed: Notify,
}

/// What is set aside for one call. Dropped without [`Aside::settle`] it goes back whole.
pub struct Aside {
    budgets: Budgets,
    bid: Bid,
    cost: i64,
}

/// A place in the line; dropping it leaves.
struct Place<'a> {
    budgets: &'a Budgets,
    ticket: Ticket,
}

impl Budgets {
    /// Sets aside what a call may cost, as soon as it fits.
    pub async fn take(&self, bid: Bid) -> Result<Aside, Refused> {
        let mut place: Option<Place<'_>> = None;
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            // From here on no change is missed.
            changed.as_mut().enable();
            let ticket = place.as_ref().map(|place| place.ticket);
            let judged = self.lock().take(&bid, ticket);
            match judged {
                Judged::Refused(refused) => return Err(refused),
                Judged::Taken => {
                    return Ok(Aside {
                        budgets: self.clone(),
                        bid,
                        cost: 0,
                    });
                }
                Judged::Waits(ticket) => {
                    place.get_or_insert_with(|| Place {
                        budgets: self,
                        ticket,
                    });
                }
            }
            changed.await;
        }
    }

    /// Changes the accounts, and lets whoever waits look again.
    pub fn change<T>(&self, change: impl FnOnce(&mut Accounts) -> T) -> T {
        let changed = change(&mut self.lock());
        self.0.changed.notify_waiters();
        changed
    }

    fn lock(&self) -> MutexGuard<'_, Accounts> {
        self.0
            .accounts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Aside {
    /// The call has cost this.
    pub fn settle(mut self, cost: i64) {
        self.cost = cost;
    }

    /// What was set aside; `None` when the call has no price.
    pub fn worst(&self) -> Option<i64> {
        self.bid.worst
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        let cost = self.cost;
        let bid = &self.bid;
        self.budgets.change(|accounts| accounts.settle(bid, cost));
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.budgets.change(|accounts| accounts.leave(self.ticket));
    }
}
