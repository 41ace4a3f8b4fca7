//! When keys were last used: written behind the request's back, and once a minute for each key at most.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use store::Store;

use crate::lifecycle::Lifecycle;

/// How exact the last use is. A write for every request would cost as much as the request.
const EVERY: TimeDelta = TimeDelta::minutes(1);

/// Keys whose last write is remembered. With more in use all are forgotten at once, and the next request
/// of each is written again: more writes, nothing else.
const REMEMBERED: usize = 4096;

/// Who was seen when. Clones share it.
#[derive(Clone)]
pub(super) struct Uses {
    store: Arc<Store>,
    lifecycle: Lifecycle,
    written: Arc<Mutex<HashMap<String, DateTime<Utc>>>>,
}

impl Uses {
    pub(super) fn new(store: Arc<Store>, lifecycle: Lifecycle) -> Uses {
        Uses {
            store,
            lifecycle,
            written: Arc::default(),
        }
    }

    /// Notes a use. A stopping server waits for the write.
    pub(super) fn note(&self, key: &str, at: DateTime<Utc>) {
        if !self.is_due(key, at) {
            return;
        }
        let (store, key) = (self.store.clone(), key.to_owned());
        tokio::spawn(self.lifecycle.track(async move {
            if let Err(error) = store.keys().used(&key, at).await {
                tracing::warn!(
                    key.id = key,
                    error = &error as &dyn std::error::Error,
                    "cannot write when key {key} was last used"
                );
            }
        }));
    }

    fn is_due(&self, key: &str, at: DateTime<Utc>) -> bool {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.get(key).is_some_and(|last| at - *last < EVERY) {
            return false;
        }
        if written.len() >= REMEMBERED {
            written.clear();
        }
        written.insert(key.to_owned(), at);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_written_once_a_minute() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(dir.path()).unwrap());
        let uses = Uses::new(store, Lifecycle::default());
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        let due = [("a", 0), ("a", 59), ("b", 59), ("a", 60), ("a", 61)]
            .map(|(key, seconds)| uses.is_due(key, at(seconds)));
        assert_eq!(due, [true, false, true, true, false]);
        for key in 0..REMEMBERED {
            uses.is_due(&key.to_string(), at(61));
        }
        assert!(uses.written.lock().unwrap().len() <= REMEMBERED);
    }
}
