//! What one client has under way and has used, for its limits.
//!
//! It is kept with the client's policy, so it lasts as long as whoever keeps that wants it to, and
//! it never decides what a limit is: that is asked from the policy each time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

/// How long a request waits for its turn and for a place.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Connections of one client at once where its policy names no number, and the most that one can name.
pub(crate) const MAX_CONNECTIONS: usize = 128;

/// What one client has under way and has used.
#[derive(Debug, Default)]
pub struct Traffic {
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    /// Connections that are taken.
    taken: Mutex<usize>,
    /// Rings when one is given back.
    freed: Notify,
    /// When the next request may begin; it may lie up to a second back, which is what a client that
    /// was quiet may do at once.
    next: Mutex<Option<Instant>>,
}

/// A connection that is taken. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Place(Arc<Traffic>);

impl Traffic {
    /// For a client that has used this much before.
    #[must_use]
    pub fn new(bytes_in: u64, bytes_out: u64) -> Self {
        Self {
            bytes_in: AtomicU64::new(bytes_in),
            bytes_out: AtomicU64::new(bytes_out),
            ..Self::default()
        }
    }

    /// Bytes that came in and went out.
    #[must_use]
    pub fn used(&self) -> (u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(&self.bytes_in), read(&self.bytes_out))
    }

    pub(crate) fn came_in(&self, bytes: u64) {
        self.bytes_in.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn went_out(&self, bytes: u64) {
        self.bytes_out.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Waits for the turn of one more request; false when that would take too long.
    pub(crate) async fn turn(&self, per_second: u32) -> bool {
        let second = Duration::from_secs(1);
        let at = {
            let mut next = lock(&self.next);
            let now = Instant::now();
            let earliest = now.checked_sub(second).unwrap_or(now);
            let at = next.unwrap_or(earliest).max(earliest);
            if at > now + PATIENCE {
                return false;
            }
            let after = at + second / per_second.max(1);
            *next = Some(after);
            after
        };
        // A second's worth is there at once; what is beyond it comes one by one.
        sleep_until(at).await;
        true
    }

    /// Waits for a connection; `None` when none becomes free in time.
    pub(crate) async fn place(self: &Arc<Self>, limit: Option<u32>) -> Option<Place> {
        let limit = limit.map_or(MAX_CONNECTIONS, |limit| {
            usize::try_from(limit).map_or(MAX_CONNECTIONS, |limit| limit.min(MAX_CONNECTIONS))
        });
        let taken = async {
            loop {
                let freed = self.freed.notified();
                if self.take(limit) {
                    return Place(Arc::clone(self));
                }
                freed.await;
            }
        };
        timeout(PATIENCE, taken).await.ok()
    }

    fn take(&self, limit: usize) -> bool {
        let mut taken = lock(&self.taken);
        let free = *taken < limit;
        *taken += usize::from(free);
        free
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *lock(&self.0.taken) -= 1;
        self.0.freed.notify_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_above_the_rate_wait_for_their_turn() {
        let traffic = Traffic::default();
        let began = Instant::now();
        for _ in 0..10 {
            assert!(traffic.turn(10).await);
        }
        assert!(began.elapsed() < Duration::from_millis(10), "a burst");
        for _ in 0..10 {
            assert!(traffic.turn(10).await);
        }
        let waited = began.elapsed();
        assert!(waited > Duration::from_millis(900) && waited < Duration::from_millis(1100));
    }

    #[tokio::test(start_paused = true)]
    async fn who_would_wait_too_long_is_refused_at_once() {
        let traffic = Arc::new(Traffic::default());
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..40 {
            let traffic = Arc::clone(&traffic);
            waiting.spawn(async move { traffic.turn(1).await });
        }
        let answers = waiting.join_all().await;
        assert_eq!(answers.iter().filter(|turn| **turn).count(), 32);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_given_back_goes_to_who_waits() {
        let traffic = Arc::new(Traffic::default());
        let first = traffic.place(Some(1)).await.unwrap();
        let other = Arc::clone(&traffic);
        let waiting = tokio::spawn(async move { other.place(Some(1)).await.is_some() });
        tokio::task::yield_now().await;
        drop(first);
        assert!(waiting.await.unwrap());
        let _held = traffic.place(Some(1)).await.unwrap();
        assert!(traffic.place(Some(1)).await.is_none());
    }
}
