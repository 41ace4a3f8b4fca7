//! How fast something may come: buckets that fill with time and from which whatever comes takes.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// One bucket. It is taken from whole when anything is left, so that one request of many events is no
/// special case; what it takes too much is missing afterwards.
#[derive(Debug)]
pub(crate) struct Pace {
    pub(crate) per_second: u32,
    left: f64,
    at: Instant,
}

/// Too fast: nothing may come before this time has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wait(pub(crate) Duration);

impl Pace {
    /// A full bucket that so much flows into.
    pub(crate) fn new(per_second: u32, now: Instant) -> Pace {
        Pace {
            per_second,
            left: f64::from(per_second),
            at: now,
        }
    }

    pub(crate) fn take(&mut self, count: usize, now: Instant) -> Result<(), Wait> {
        self.fill(now);
        if self.left < 1.0 {
            let missing = (1.0 - self.left) / f64::from(self.per_second);
            return Err(Wait(Duration::from_secs_f64(missing)));
        }
        // Nothing that is counted here is more than an f64 counts exactly.
        self.left -= count as f64;
        Ok(())
    }

    fn fill(&mut self, now: Instant) {
        let full = f64::from(self.per_second);
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * full).min(full);
        self.at = now;
    }

    /// Whether it says nothing that a new one would not.
    fn is_full(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.left >= f64::from(self.per_second)
    }
}

/// Callers whose buckets are kept. With more at once those that are full are forgotten, which changes
/// nothing, and if none is, all of them, which lets each send a second's worth more.
const CALLERS: usize = 16 * 1024;

/// Buckets for many callers, all of one size.
pub(crate) struct Rates {
    /// `None` is no limit.
    per_second: Option<u32>,
    paces: Mutex<HashMap<String, Pace>>,
}

impl Rates {
    pub(crate) fn new(per_second: Option<u32>) -> Rates {
        Rates {
            per_second,
            paces: Mutex::default(),
        }
    }

    /// Lets one more request of a caller come.
    pub(crate) fn take(&self, caller: &str, now: Instant) -> Result<(), Wait> {
        let Some(per_second) = self.per_second else {
            return Ok(());
        };
        let mut paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pace) = paces.get_mut(caller) {
            return pace.take(1, now);
        }
        if paces.len() >= CALLERS {
            paces.retain(|_, pace| !pace.is_full(now));
        }
        if paces.len() >= CALLERS {
            paces.clear();
        }
        let fresh = || Pace::new(per_second, now);
        let pace = paces.entry(caller.to_owned()).or_insert_with(fresh);
        pace.take(1, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_too_much_is_missing_afterwards() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut pace = Pace::new(10, start);
        assert_eq!(pace.take(10, at(0)), Ok(()));
        assert_eq!(pace.take(1, at(0)), Err(Wait(Duration::from_millis(100))));
        // One is left by now, and thirty are taken: for the next one three seconds have to pass.
        assert_eq!(pace.take(30, at(100)), Ok(()));
        assert!(pace.take(1, at(3_000)).is_err());
        assert_eq!(pace.take(1, at(3_101)), Ok(()));
    }

    #[test]
    fn nothing_is_saved_up_beyond_a_second() {
        let start = Instant::now();
        let mut pace = Pace::new(2, start);
        let later = start + Duration::from_secs(3600);
        assert_eq!(pace.take(2, later), Ok(()));
        assert!(pace.take(1, later).is_err());
    }

    #[test]
    fn each_caller_has_its_own_and_a_crowd_is_bounded() {
        let now = Instant::now();
        let rates = Rates::new(Some(1));
        assert_eq!(rates.take("a", now), Ok(()));
        assert!(rates.take("a", now).is_err());
        assert_eq!(rates.take("b", now), Ok(()));
        for caller in 0..CALLERS + 5 {
            rates.take(&caller.to_string(), now).unwrap();
        }
        assert!(rates.paces.lock().unwrap().len() <= CALLERS);
        let unlimited = Rates::new(None);
        for _ in 0..5 {
            assert_eq!(unlimited.take("a", now), Ok(()));
        }
        assert!(unlimited.paces.lock().unwrap().is_empty());
    }
}
