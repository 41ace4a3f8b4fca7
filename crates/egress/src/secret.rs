//! Credentials and the places they go. A [`Secret`] can be neither printed nor
//! serialised, so it cannot ride in a log, an event or a frame.

use std::fmt;

use http::HeaderValue;

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

/// Why a slot gave no credential. No variant carries content.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// Nothing is stored for the slot.
    #[error("no credential is set")]
    Missing,
    /// The stored credential cannot be a header value.
    #[error("the credential has characters that cannot be sent in a header")]
    Malformed,
    /// The store of credentials did not answer.
    #[error("the credential store cannot be reached")]
    Unavailable,
}
