//! The published hash of a package: what it must be, and whether it is.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha512};

/// Bytes of a SHA-512.
const LENGTH: usize = 64;

/// The SHA-512 hashes of which one must match; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Integrity(Vec<Vec<u8>>);

impl Integrity {
    /// Reads a subresource integrity text. Only `sha512` counts: nothing that is installed may
    /// rest on a weaker hash. None when there is no such hash.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let hashes: Vec<Vec<u8>> = text
            .split_ascii_whitespace()
            .filter_map(|part| part.strip_prefix("sha512-"))
            .map(|hash| hash.split('?').next().unwrap_or_default())
            .filter_map(|hash| STANDARD.decode(hash).ok())
            .filter(|hash| hash.len() == LENGTH)
            .collect();
        (!hashes.is_empty()).then_some(Self(hashes))
    }

    pub(super) fn matches(&self, hash: Sha512) -> bool {
        let hash = hash.finalize();
        self.0.iter().any(|expected| expected[..] == hash[..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_several_hashes_must_match() {
        let hash = |text: &str| Sha512::new_with_prefix(text);
        let sri = |text: &str| format!("sha512-{}", STANDARD.encode(hash(text).finalize()));
        let integrity =
            Integrity::parse(&format!("sha1-AAAA {}?x {}", sri("a"), sri("b"))).unwrap();
        assert!(integrity.matches(hash("a")) && integrity.matches(hash("b")));
        assert!(!integrity.matches(hash("c")));
    }

    #[test]
    fn weaker_or_broken_hashes_are_no_integrity() {
        for text in [
            "",
            "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=",
            "sha512-",
            "sha512-AAAA",
            "sha512-%%",
        ] {
            assert_eq!(Integrity::parse(text), None, "{text}");
        }
    }
}
