//! The connector of the upstream pool: name, TCP and TLS under one deadline.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use tower_service::Service;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Inner = HttpsConnector<HttpConnector>;

/// Connects within a deadline.
#[derive(Clone)]
pub(crate) struct Connector {
    inner: Inner,
    timeout: Duration,
}

/// The deadline passed before the connection stood.
#[derive(Debug, thiserror::Error)]
#[error("no connection within the deadline")]
pub(crate) struct ConnectTimeout;

impl Connector {
    /// A connector for `upstream`. The host's root certificates are read only
    /// when the upstream needs them: they cost memory.
    pub(crate) fn new(upstream: &Uri, timeout: Duration) -> io::Result<Self> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_keepalive(Some(Duration::from_secs(60)));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = HttpsConnectorBuilder::new();
        let inner = if upstream.scheme() == Some(&Scheme::HTTPS) {
            builder
                .with_provider_and_native_roots(provider)?
                .https_only()
                .enable_http1()
                .wrap_connector(http)
        } else {
            let tls = rustls::ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(io::Error::other)?
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
            builder
                .with_tls_config(tls)
                .https_or_http()
                .enable_http1()
                .wrap_connector(http)
        };
        Ok(Self { inner, timeout })
    }
}

impl Service<Uri> for Connector {
    type Response = <Inner as Service<Uri>>::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.inner.call(uri);
        let timeout = self.timeout;
        Box::pin(async move {
            match tokio::time::timeout(timeout, connecting).await {
                Ok(connected) => connected,
                Err(_) => Err(BoxError::from(ConnectTimeout)),
            }
        })
    }
}
