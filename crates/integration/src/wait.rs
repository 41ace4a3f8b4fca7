//! Waiting for a state: looks until it is there, and fails with what was waited for.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// How long anything may take. Far more than it takes, because machines that test are busy.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// How often we look.
const LOOK: Duration = Duration::from_millis(5);

/// What `look` finds, as soon as it finds something.
///
/// # Panics
/// When it never does.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> impl Future<Output = T> {
    let place = std::panic::Location::caller();
    async move {
        let started = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            let waited = started.elapsed();
            assert!(waited < PATIENCE, "{place}: {waited:?} without {what}");
            sleep(LOOK).await;
        }
    }
}

/// What `future` gives, unless it takes too long.
///
/// # Panics
/// When it does.
#[track_caller]
pub fn soon<T>(what: &str, future: impl Future<Output = T>) -> impl Future<Output = T> {
    let place = std::panic::Location::caller();
    async move {
        timeout(PATIENCE, future)
            .await
            .unwrap_or_else(|_| panic!("{place}: {PATIENCE:?} without {what}"))
    }
}
