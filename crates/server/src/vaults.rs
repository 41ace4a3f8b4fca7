//! Vaults: credentials sealed in the store, and opened for the requests of the sessions that were given
//! them.
//!
//! | where | what |
//! | --- | --- |
//! | `key` | the keys that seal, and where they come from |
//! | `seal` | sealing and opening, bound to the row |
//! | `records` | making and changing credentials |
//! | `given` | which credentials a session has, and what it sees of them |
//! | `open` | what egress asks: the value now, and a newer one |
//! | `renew` | new tokens of OAuth credentials, one at a time |
//! | `validate` | a trial of an OAuth credential |
//!
//! A value is opened anew for each request, so what is changed, archived or deleted holds at once. Nothing
//! here returns a secret to a caller of the API, or writes one to a log, an event or an error.

mod given;
pub mod key;
mod open;
mod records;
mod renew;
mod seal;
mod validate;

use std::sync::Arc;

use egress::Errands;
use store::{Store, StoreError};

pub use given::{Given, Unnamed};
pub use key::Keyring;
pub use records::ChangeError;
pub use seal::SealError;

use crate::clock::Clock;
use crate::ids::Ids;
use crate::usage::Ledger;
use renew::Renewing;

/// What vaults are made of.
pub struct Parts {
    /// Where they are.
    pub store: Arc<Store>,
    /// What seals them.
    pub keys: Keyring,
    /// How token endpoints and MCP servers are asked.
    pub errands: Errands,
    /// The books of live sessions, which are told of credentials that fail.
    pub ledger: Arc<Ledger>,
    /// What time it is.
    pub clock: Clock,
    /// Where placeholders come from.
    pub ids: Ids,
}

/// All vaults of this server.
pub struct Vaults {
    parts: Parts,
    renewing: Renewing,
}

/// Credentials that are looked at at once.
const PAGE: u32 = 100;

/// What became of sealing under the present key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resealed {
    /// So many were sealed anew.
    pub done: usize,
    /// So many cannot be opened with any key that is configured.
    pub closed: usize,
}

impl Vaults {
    /// Vaults of these parts.
    #[must_use]
    pub fn new(parts: Parts) -> Vaults {
        Vaults {
            parts,
            renewing: Renewing::default(),
        }
    }

    /// Seals under the present key what is sealed under a former one, row by row. Killed at any moment, each
    /// row is sealed under the one or the other, and the next start goes on.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn reseal(&self) -> Result<Resealed, StoreError> {
        let credentials = self.parts.store.credentials();
        let present = &self.parts.keys.present().id;
        let (mut resealed, mut after) = (Resealed::default(), String::new());
        loop {
            let rows = credentials.sealed_otherwise(present, &after, PAGE).await?;
            let Some(last) = rows.last() else { break };
            after.clone_from(&last.id);
            for row in &rows {
                let Ok(secrets) = seal::open(&self.parts.keys, row) else {
                    resealed.closed += 1;
                    continue;
                };
                let sealed = seal::seal(&self.parts.keys, row, &secrets);
                let kept = credentials.reseal(&row.id, row.revision, sealed).await?;
                // One that was changed meanwhile was sealed under the present key by that.
                resealed.done += usize::from(kept);
            }
        }
        Ok(resealed)
    }
}
