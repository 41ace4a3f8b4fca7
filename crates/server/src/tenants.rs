//! What each workspace may use, in memory: read when the server starts, changed by the API. The limits
//! of what lives are kept by `session::fleet`, those of money by `usage`; here is how fast events come.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api::workspace::Limits;
use tokio::time::Instant;

use crate::rates::{Pace, Wait};

/// The workspaces whose events are limited: no more than there are rows.
#[derive(Default)]
pub struct Tenants(Mutex<HashMap<String, Pace>>);

/// A workspace sends faster than it may.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the workspace sends more than {per_second} events a second; try again in a moment")]
pub struct TooFast {
    /// How many it may send in a second.
    pub per_second: u32,
    /// When it may send again.
    pub wait: Duration,
}

impl Tenants {
    /// What a workspace may use from now on.
    pub fn set(&self, workspace: &str, limits: &Limits) {
        let mut paces = self.lock();
        let Some(per_second) = limits.max_events_per_second else {
            paces.remove(workspace);
            return;
        };
        let fresh = || Pace::new(per_second, Instant::now());
        let pace = paces.entry(workspace.to_owned()).or_insert_with(fresh);
        pace.per_second = per_second;
    }

    /// Lets a workspace send so many events now.
    ///
    /// # Errors
    /// When it has sent as many as it may; none may be sent then.
    pub fn send(&self, workspace: &str, events: usize, now: Instant) -> Result<(), TooFast> {
        let mut paces = self.lock();
        let Some(pace) = paces.get_mut(workspace) else {
            return Ok(());
        };
        pace.take(events, now).map_err(|Wait(wait)| TooFast {
            per_second: pace.per_second,
            wait,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Pace>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(max_events_per_second: Option<u32>) -> Limits {
        Limits {
            max_events_per_second,
            ..Limits::default()
        }
    }

    #[test]
    fn each_workspace_has_its_limit_until_it_is_removed() {
        let tenants = Tenants::default();
        let now = Instant::now();
        tenants.set("a", &limits(Some(1)));
        tenants.send("a", 5, now).unwrap();
        assert_eq!(tenants.send("a", 1, now).unwrap_err().per_second, 1);
        assert_eq!(tenants.send("b", 1000, now), Ok(()), "it has no limit");
        tenants.set("a", &limits(None));
        assert_eq!(tenants.send("a", 1, now), Ok(()));
    }
}
