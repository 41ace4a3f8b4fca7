//! What each workspace may use, in memory: read when the server starts, changed by the API. The limits
//! of what lives are kept by `session::fleet`, those of money by `usage`; here is how fast events come.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api::workspace::Limits;
use tokio::time::Instant;

/// The workspaces that have limits: no more than there are rows.
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

/// A bucket that fills with time and from which sends take. A send is taken whole when anything is left, so
/// that one of many events is no special case; what it takes too much is missing afterwards.
#[derive(Debug)]
struct Pace {
    per_second: u32,
    left: f64,
    at: Instant,
}

impl Tenants {
    /// What a workspace may use from now on.
    pub fn set(&self, workspace: &str, limits: &Limits) {
        let mut paces = self.lock();
        let Some(per_second) = limits.max_events_per_second else {
            paces.remove(workspace);
            return;
        };
        let fresh = || Pace {
            per_second,
            left: f64::from(per_second),
            at: Instant::now(),
        };
        let pace = paces.entry(workspace.to_owned()).or_insert_with(fresh);
        pace.per_second = per_second;
    }

    /// Lets a workspace send so many events now.
    ///
    /// # Errors
    /// When it has sent as many as it may; none may be sent then.
    pub fn send(&self, workspace: &str, events: usize, now: Instant) -> Result<(), TooFast> {
        match self.lock().get_mut(workspace) {
            Some(pace) => pace.take(events, now),
            None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Pace>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pace {
    fn take(&mut self, events: usize, now: Instant) -> Result<(), TooFast> {
        let full = f64::from(self.per_second);
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * full).min(full);
        self.at = now;
        if self.left < 1.0 {
            return Err(TooFast {
                per_second: self.per_second,
                wait: Duration::from_secs_f64((1.0 - self.left) / full),
            });
        }
        // A request has no more events than an f64 counts exactly.
        self.left -= events as f64;
        Ok(())
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
    fn a_workspace_sends_as_fast_as_it_may_on_average() {
        let tenants = Tenants::default();
        tenants.set("a", &limits(Some(10)));
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(tenants.send("a", 10, at(0)), Ok(()));
        let refused = tenants.send("a", 1, at(0)).unwrap_err();
        assert_eq!(
            (refused.per_second, refused.wait),
            (10, Duration::from_millis(100))
        );
        assert_eq!(tenants.send("b", 1000, at(0)), Ok(()), "it has no limit");
        // One is left by now, and thirty are taken: for the next one three seconds have to pass.
        assert_eq!(tenants.send("a", 30, at(100)), Ok(()));
        assert!(tenants.send("a", 1, at(3_000)).is_err());
        assert_eq!(tenants.send("a", 1, at(3_101)), Ok(()));
    }

    #[test]
    fn nothing_is_saved_up_beyond_a_second() {
        let tenants = Tenants::default();
        tenants.set("a", &limits(Some(2)));
        let later = Instant::now() + Duration::from_secs(3600);
        assert_eq!(tenants.send("a", 2, later), Ok(()));
        assert!(tenants.send("a", 1, later).is_err());
    }

    #[test]
    fn a_limit_that_is_removed_holds_no_more() {
        let tenants = Tenants::default();
        let now = Instant::now();
        tenants.set("a", &limits(Some(1)));
        tenants.send("a", 5, now).unwrap();
        assert!(tenants.send("a", 1, now).is_err());
        tenants.set("a", &limits(None));
        assert_eq!(tenants.send("a", 1, now), Ok(()));
    }
}
