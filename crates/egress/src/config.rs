//! What the operator sets.

use std::time::Duration;

use http::Uri;
use http::uri::Scheme;

use crate::policy::Operator;
use crate::prices::Prices;
use crate::secret::Slot;

/// How the key is shown to the model API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyHeader {
    /// `x-api-key: …`, for a key from `ANTHROPIC_API_KEY`.
    ApiKey,
    /// `authorization: Bearer …`, for a token from `ANTHROPIC_AUTH_TOKEN`.
    Bearer,
}

/// Settings of the way out.
#[derive(Debug, Clone)]
pub struct Config {
    /// Base address of the model API; a path prefix is kept.
    pub upstream: Uri,
    /// The slot of the model key.
    pub key: Slot,
    /// How the key is sent.
    pub key_header: KeyHeader,
    /// Limit for reaching a host: name, TCP and TLS together.
    pub connect_timeout: Duration,
    /// A model call with no byte in either direction for this long is ended.
    pub idle_timeout: Duration,
    /// A tunnel or plain request of the proxy with no byte in either direction
    /// for this long is ended.
    pub proxy_idle_timeout: Duration,
    /// What the operator says for all policies.
    pub operator: Operator,
    /// Certificates of authorities in PEM that hosts may show a certificate of, beside those that the
    /// machine trusts.
    pub authorities: String,
    /// What tokens cost.
    pub prices: Prices,
}

/// Why the way out cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The upstream is not an absolute http or https address.
    #[error("the model address must be an absolute http:// or https:// address")]
    UpstreamScheme,
    /// The upstream has a user or password in it.
    #[error("the model address must not contain credentials")]
    UpstreamCredentials,
    /// The upstream has a query.
    #[error("the model address must not have a query")]
    UpstreamQuery,
    /// The host's root certificates cannot be read.
    #[error("cannot read the root certificates of this host")]
    RootCertificates(#[source] std::io::Error),
    /// The authorities of the settings are not certificates.
    #[error("the authorities are not certificates in PEM: {0}")]
    Authorities(String),
}

impl Config {
    /// The defaults: 10 s to connect; 10 min of silence in a model call, which
    /// is what the public API's own clients wait; 5 min in the proxy.
    #[must_use]
    pub fn new(upstream: Uri, key: Slot) -> Self {
        Self {
            upstream,
            key,
            key_header: KeyHeader::ApiKey,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(600),
            proxy_idle_timeout: Duration::from_secs(300),
            operator: Operator::default(),
            authorities: String::new(),
            prices: Prices::builtin(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let scheme = self.upstream.scheme();
        if scheme != Some(&Scheme::HTTP) && scheme != Some(&Scheme::HTTPS) {
            return Err(ConfigError::UpstreamScheme);
        }
        let authority = self
            .upstream
            .authority()
            .ok_or(ConfigError::UpstreamScheme)?;
        if authority.as_str().contains('@') {
            return Err(ConfigError::UpstreamCredentials);
        }
        if self.upstream.query().is_some() {
            return Err(ConfigError::UpstreamQuery);
        }
        Ok(())
    }
}
