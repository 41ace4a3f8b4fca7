//! Credentials and the places they go. A [`Secret`] can be neither printed nor
//! serialised, so it cannot ride in a log, an event or a frame.

use std::fmt;
use std::sync::Arc;

use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderMap, HeaderValue};

/// The name of a place where a credential belongs, as configuration and
/// policies speak of it. Not secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Slot(pub String);

/// The content of a credential. Its `Debug` shows no content, there is no
/// `Display` and no `Serialize`, and its memory is cleared when it is dropped.
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes a credential over from its owner.
    pub fn new(content: impl Into<String>) -> Self {
        Self(content.into().into_bytes())
    }

    /// Whether it is this text; every byte is compared.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        same(&self.0, text.as_bytes())
    }

    /// Takes over bytes that are secret because of what is in them.
    pub(crate) fn of(content: Vec<u8>) -> Self {
        Self(content)
    }

    /// The content, for what is sent to a host.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// A header value `prefix` + secret, marked sensitive.
    pub(crate) fn header(&self, prefix: &str) -> Result<HeaderValue, CredentialError> {
        let mut line = Vec::with_capacity(prefix.len() + self.0.len());
        line.extend_from_slice(prefix.as_bytes());
        line.extend_from_slice(&self.0);
        let value = HeaderValue::from_bytes(&line);
        line.fill(0);
        let mut value = value.map_err(|_| CredentialError::Malformed)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.fill(0);
        // Keeps the compiler from proving the store dead.
        std::hint::black_box(&self.0);
    }
}

/// What a seat of a sandbox shows where a key or another credential would be. It opens nothing but
/// the way out of its own seat: sessions that share a sandbox share its loopback, and
/// one must not spend another's money. Its `Debug` shows no content.
#[derive(Clone, PartialEq, Eq)]
pub struct Placeholder(Arc<[u8]>);

impl Placeholder {
    /// The placeholder with this text, which must not be empty.
    #[must_use]
    pub fn new(content: &str) -> Self {
        Self(content.as_bytes().into())
    }

    /// The text.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether a request shows this placeholder and no other credential.
    pub(crate) fn is_shown(&self, headers: &HeaderMap) -> bool {
        let keys = headers.get_all(HeaderName::from_static("x-api-key"));
        let tokens = headers.get_all(AUTHORIZATION);
        let shown = keys.iter().map(|key| Some(key.as_bytes()));
        let mut shown = shown.chain(tokens.iter().map(|token| bearer(token.as_bytes())));
        let first = shown.next().flatten();
        first.is_some_and(|first| self.is(first))
            && shown.all(|other| other.is_some_and(|other| self.is(other)))
    }

    fn is(&self, other: &[u8]) -> bool {
        same(&self.0, other)
    }
}

/// Compares every byte, so that the time it takes tells nothing of where two texts differ.
fn same(one: &[u8], other: &[u8]) -> bool {
    let differs = |(a, b): (&u8, &u8)| a ^ b;
    let sum = one.iter().zip(other).map(differs).fold(0, |a, b| a | b);
    one.len() == other.len() && std::hint::black_box(sum) == 0
}

impl fmt::Debug for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Placeholder")
    }
}

/// The token of an `authorization` header.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

/// Why a slot gave no credential. No variant carries content.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// Nothing is stored for the slot, or not any more.
    #[error("no credential is set")]
    Missing,
    /// The stored credential cannot be a header value.
    #[error("the credential has characters that cannot be sent in a header")]
    Malformed,
    /// The store of credentials did not answer.
    #[error("the credential store cannot be reached")]
    Unavailable,
    /// It has ended, and no new one could be had.
    #[error("the credential has ended and could not be renewed")]
    NotRenewed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_is_shown_as_key_or_token_and_alone() {
        let placeholder = Placeholder::new("seat-1");
        for (headers, shown) in [
            (&[("x-api-key", "seat-1")][..], true),
            (&[("authorization", "Bearer seat-1")], true),
            (&[("authorization", "bearer seat-1")], true),
            (
                &[("x-api-key", "seat-1"), ("authorization", "Bearer seat-1")],
                true,
            ),
            (&[], false),
            (&[("x-api-key", "")], false),
            (&[("x-api-key", "seat-2")], false),
            (&[("x-api-key", "seat-")], false),
            (&[("x-api-key", "seat-11")], false),
            (&[("authorization", "seat-1")], false),
            (&[("authorization", "Basic seat-1")], false),
            (&[("x-api-key", "seat-1"), ("x-api-key", "seat-2")], false),
            (
                &[("x-api-key", "seat-1"), ("authorization", "Bearer seat-2")],
                false,
            ),
            (
                &[("x-api-key", "seat-1"), ("authorization", "Basic x")],
                false,
            ),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(*name, HeaderValue::from_static(value));
            }
            assert_eq!(placeholder.is_shown(&map), shown, "{headers:?}");
        }
    }
}
