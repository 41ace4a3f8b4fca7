//! A bounded queue from async callers to plain threads. When it is full, callers wait their turn;
//! nothing is dropped or refused. Never blocks an async caller's thread beyond a short lock.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

/// The queue; share it in an `Arc`.
pub(crate) struct Queue<T> {
    /// One permit per free place. Taking an item gives its permit back.
    places: Semaphore,
    state: Mutex<State<T>>,
    filled: Condvar,
}

struct State<T> {
    waiting: VecDeque<T>,
    closed: bool,
}

/// The queue takes nothing more.
pub(crate) struct Closed;

impl<T> Queue<T> {
    pub(crate) fn new(places: usize) -> Queue<T> {
        Queue {
            places: Semaphore::new(places),
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                closed: false,
            }),
            filled: Condvar::new(),
        }
    }

    /// Puts an item at the end, waiting for a place when there is none.
    pub(crate) async fn push(&self, item: T) -> Result<(), Closed> {
        self.places.acquire().await.map_err(|_| Closed)?.forget();
        let mut state = self.lock();
        if state.closed {
            return Err(Closed);
        }
        state.waiting.push_back(item);
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Takes the oldest item; blocks the thread while there is none. `None` once closed and empty.
    pub(crate) fn take(&self) -> Option<T> {
        let mut state = self.wait();
        let item = state.waiting.pop_front()?;
        drop(state);
        self.places.add_permits(1);
        Some(item)
    }

    /// Moves what is waiting, up to `most`, to the end of `into`; blocks the thread while there is
    /// none. False once closed and empty.
    pub(crate) fn drain(&self, most: usize, into: &mut Vec<T>) -> bool {
        let mut state = self.wait();
        let count = state.waiting.len().min(most);
        into.extend(state.waiting.drain(..count));
        drop(state);
        self.places.add_permits(count);
        count > 0
    }

    /// Takes nothing more; what is waiting can still be taken.
    pub(crate) fn close(&self) {
        self.places.close();
        self.lock().closed = true;
        self.filled.notify_all();
    }

    fn wait(&self) -> MutexGuard<'_, State<T>> {
        self.filled
            .wait_while(self.lock(), |state| {
                state.waiting.is_empty() && !state.closed
            })
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// No code that can panic runs under the lock, so a poisoned one is still sound.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    #[tokio::test]
    async fn a_full_queue_makes_callers_wait_and_keeps_their_order() {
        let queue = Arc::new(Queue::new(2));
        for item in 0..2 {
            assert!(queue.push(item).await.is_ok());
        }
        let waiting = queue.push(2);
        tokio::pin!(waiting);
        let early = tokio::time::timeout(Duration::from_millis(20), &mut waiting).await;
        assert!(early.is_err(), "a third item found a place");
        assert_eq!(queue.take(), Some(0));
        assert!(waiting.await.is_ok());
        let mut rest = Vec::new();
        assert!(queue.drain(8, &mut rest));
        assert_eq!(rest, [1, 2]);
    }

    #[tokio::test]
    async fn a_closed_queue_refuses_but_gives_out_what_it_has() {
        let queue = Queue::new(2);
        assert!(queue.push(1).await.is_ok());
        queue.close();
        assert!(queue.push(2).await.is_err());
        assert_eq!(queue.take(), Some(1));
        assert_eq!(queue.take(), None);
    }
}
