//! A bound per client on what is under way at once.
//!
//! Who comes when all places are taken waits in order, without its request
//! being read further, until a place is free or it leaves.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Semaphore;

use crate::usage::ClientId;

/// The places of all clients.
pub(crate) struct Turnstile {
    places: usize,
    clients: Mutex<HashMap<ClientId, Weak<Semaphore>>>,
}

impl Turnstile {
    pub(crate) fn new(places: usize) -> Self {
        Self {
            places,
            clients: Mutex::new(HashMap::new()),
        }
    }

    /// The places of one client. They are shared by all who hold them and
    /// forgotten when nobody does, so the map stays as large as the number of
    /// clients with open connections.
    pub(crate) fn of(&self, client: &ClientId) -> Arc<Semaphore> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(places) = clients.get(client).and_then(Weak::upgrade) {
            return places;
        }
        clients.retain(|_, places| places.strong_count() > 0);
        let places = Arc::new(Semaphore::new(self.places));
        clients.insert(client.clone(), Arc::downgrade(&places));
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_do_not_share_places_and_leave_no_trace() {
        let turnstile = Turnstile::new(1);
        let client = |name: &str| ClientId(name.to_owned());
        let (a, b) = (turnstile.of(&client("a")), turnstile.of(&client("b")));
        let held = Arc::clone(&a).try_acquire_owned().unwrap();
        assert!(turnstile.of(&client("a")).try_acquire_owned().is_err());
        assert!(b.try_acquire_owned().is_ok());
        drop((a, held));
        let _c = turnstile.of(&client("c"));
        assert_eq!(turnstile.clients.lock().unwrap().len(), 1);
    }
}
