//! Chance, as an argument: where identifiers and secrets come from.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use api::id::Prefix;

/// A source of identifiers. Clones share it.
#[derive(Debug, Clone)]
pub struct Ids(Source);

#[derive(Debug, Clone)]
enum Source {
    Random,
    Counted(Arc<AtomicU64>),
}

impl Ids {
    /// The system's random numbers.
    #[must_use]
    pub fn random() -> Ids {
        Ids(Source::Random)
    }

    /// Counts up from 1, so that a test knows the ids beforehand. Never for a real server.
    #[must_use]
    pub fn counted() -> Ids {
        Ids(Source::Counted(Arc::default()))
    }

    /// A fresh identifier.
    #[must_use]
    pub fn mint(&self, prefix: Prefix) -> String {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        api::id::mint(prefix, bytes)
    }

    /// A fresh key for a caller: `hostel_` and 32 bytes in hexadecimal.
    #[must_use]
    pub fn key(&self) -> String {
        let mut bytes = [0; 32];
        self.fill(&mut bytes);
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("hostel_{digits}")
    }

    /// What a session sees where a credential's value will be. Long enough that nobody guesses one, and
    /// that it stands nowhere by chance.
    #[must_use]
    pub fn placeholder(&self) -> String {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("hostel_slot_{digits}")
    }

    fn fill(&self, bytes: &mut [u8]) {
        match &self.0 {
            Source::Random => {
                getrandom::fill(bytes).expect("the kernel has random numbers once it has booted");
            }
            Source::Counted(count) => {
                let number = count.fetch_add(1, Ordering::Relaxed) + 1;
                let at = bytes.len() - 8;
                bytes[at..].copy_from_slice(&number.to_be_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_ids_differ_and_counted_ones_are_known() {
        let random = Ids::random();
        assert_ne!(random.mint(Prefix::Event), random.mint(Prefix::Event));
        assert_ne!(random.key(), random.key());
        assert_eq!(
            Ids::counted().mint(Prefix::Agent),
            "agent_011111111111111111111112"
        );
        assert_eq!(random.key().len(), "hostel_".len() + 64);
    }
}
