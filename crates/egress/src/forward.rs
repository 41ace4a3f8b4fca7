//! One model call on its way: sent upstream under limits, streamed back as it
//! comes, recorded exactly once.

mod body;
mod call;

use std::error::Error;
use std::time::Duration;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};

pub(crate) use self::body::{Outgoing, Passing};
pub(crate) use self::call::{Call, Sold};
use crate::answer::Refusal;
use crate::config::{Config, ConfigError};
use crate::connect::{ConnectTimeout, Connector};
use crate::idle::Activity;

/// Idle upstream connections kept, and for how long: below the keep-alive of
/// usual load balancers, so that a kept connection is mostly still good.
const POOL_IDLE: usize = 64;
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// The model API, with its pool of connections.
pub(crate) struct Upstream {
    client: Client<Connector, Outgoing>,
    scheme: Scheme,
    authority: Authority,
    /// Path prefix without a final slash.
    prefix: String,
    idle_timeout: Duration,
}

impl Upstream {
    pub(crate) fn new(config: &Config) -> Result<Self, ConfigError> {
        let parts = config.upstream.clone().into_parts();
        let connector = Connector::new(&config.upstream, config.connect_timeout)
            .map_err(ConfigError::RootCertificates)?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .pool_max_idle_per_host(POOL_IDLE)
            .build(connector);
        Ok(Self {
            client,
            scheme: parts.scheme.ok_or(ConfigError::UpstreamScheme)?,
            authority: parts.authority.ok_or(ConfigError::UpstreamScheme)?,
            prefix: config.upstream.path().trim_end_matches('/').to_owned(),
            idle_timeout: config.idle_timeout,
        })
    }

    pub(crate) fn idle_timeout(&self) -> Duration {
        self.idle_timeout
    }

    /// Sends a request whose headers are ready and waits for the head of the
    /// answer. Dropping the future ends the upstream request.
    pub(crate) async fn send(
        &self,
        mut request: Request<Outgoing>,
        activity: &Activity,
    ) -> Result<Response<Incoming>, Refusal> {
        *request.uri_mut() = self.address(request.uri());
        *request.version_mut() = Version::HTTP_11;
        tokio::select! {
            answer = self.client.request(request) => answer.map_err(|error| self.refusal(&error)),
            () = activity.silent_for(self.idle_timeout) => Err(self.silent()),
        }
    }

    /// The upstream address of a path that a route let through.
    fn address(&self, asked: &Uri) -> Uri {
        let path = format!(
            "{}{}",
            self.prefix,
            asked.path_and_query().map_or("/", PathAndQuery::as_str)
        );
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path)
            .build()
            .expect("a checked base address and a parsed path make an address")
    }

    fn refusal(&self, error: &hyper_util::client::legacy::Error) -> Refusal {
        let host = self.authority.as_str();
        if find::<ConnectTimeout>(error).is_some() {
            let message = format!("the model API at {host} did not accept a connection in time");
            return Refusal::new(
                StatusCode::GATEWAY_TIMEOUT,
                "timeout_error",
                "upstream_connect_timeout",
                message,
            );
        }
        if error.is_connect() {
            let message = format!("the model API at {host} cannot be reached");
            return Refusal::new(
                StatusCode::BAD_GATEWAY,
                "api_error",
                "upstream_unreachable",
                message,
            );
        }
        let message = format!("the model API at {host} closed the connection without an answer");
        Refusal::new(
            StatusCode::BAD_GATEWAY,
            "api_error",
            "upstream_cut",
            message,
        )
    }

    fn silent(&self) -> Refusal {
        let message = format!(
            "the model API at {} said nothing for {} s",
            self.authority,
            self.idle_timeout.as_secs()
        );
        Refusal::new(
            StatusCode::GATEWAY_TIMEOUT,
            "timeout_error",
            "upstream_idle",
            message,
        )
    }
}

/// The first error of type `E` in a chain.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
