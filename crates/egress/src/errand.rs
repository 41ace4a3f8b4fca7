//! Errands: requests of the server's own to addresses that a tenant named, such as a token endpoint. What
//! holds for sandboxes holds for them: no address that is not public, but for the operator's private hosts;
//! the address that was decided about is dialled; certificates verify; no redirect is followed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, HOST};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::config::{Config, ConfigError};
use crate::decide::{Verdict, decide_address};
use crate::policy::{Networking, Operator, Policy, Target};
use crate::tls::Trust;
use crate::windows::Resolver;

/// All of an errand, from the name to the last byte that is read.
const DEADLINE: Duration = Duration::from_secs(20);

/// Sends requests of the server's own.
pub struct Errands {
    resolver: Arc<dyn Resolver>,
    operator: Operator,
    trust: Trust,
}

/// What an errand brought back.
pub struct Answered {
    /// Its head and the beginning of its body.
    pub response: Response<Bytes>,
    /// Whether there was more.
    pub truncated: bool,
}

/// Why an errand brought nothing back. Nothing in it is of the request.
#[derive(Debug, thiserror::Error)]
pub enum ErrandError {
    /// The address is not one of a host.
    #[error("its address is not that of a host")]
    Address,
    /// The host's addresses may not be reached.
    #[error("{host} stands for an address that is not public (rule: {rule})")]
    Refused {
        /// Which host.
        host: String,
        /// The rule.
        rule: String,
    },
    /// There is no connection.
    #[error("{host} cannot be reached")]
    Unreachable {
        /// Which host.
        host: String,
    },
    /// Its certificate does not verify, or it speaks no TLS.
    #[error("{host} is not to be trusted: its TLS does not verify")]
    Untrusted {
        /// Which host.
        host: String,
    },
    /// It broke off, or took too long.
    #[error("{host} did not answer")]
    Silent {
        /// Which host.
        host: String,
    },
}

impl Errands {
    /// Errands under the operator's settings.
    ///
    /// # Errors
    /// When the operator's authorities are not certificates.
    pub fn new(config: &Config, resolver: Arc<dyn Resolver>) -> Result<Self, ConfigError> {
        Ok(Self {
            resolver,
            operator: config.operator.clone(),
            trust: Trust::new(&config.authorities)?,
        })
    }

    /// Sends a request whose address is whole, and reads up to `most` bytes of the answer's body.
    ///
    /// # Errors
    /// When the host may not be reached, cannot be, or does not answer.
    pub async fn send(
        &self,
        request: Request<Bytes>,
        most: usize,
    ) -> Result<Answered, ErrandError> {
        let uri = request.uri();
        let tls = uri.scheme() == Some(&Scheme::HTTPS);
        let authority = uri.authority().ok_or(ErrandError::Address)?;
        let port = if tls { 443 } else { 80 };
        let target = Target::parse(authority.as_str(), Some(port));
        let target = target.map_err(|_| ErrandError::Address)?;
        let host = target.to_string();
        let sent = timeout(DEADLINE, Box::pin(self.run(request, target, tls, most))).await;
        sent.map_err(|_| ErrandError::Silent { host })?
    }

    async fn run(
        &self,
        request: Request<Bytes>,
        target: Target,
        tls: bool,
        most: usize,
    ) -> Result<Answered, ErrandError> {
        let stream = self.dial(&target).await?;
        if !tls {
            return exchange(stream, request, &target, most).await;
        }
        let untrusted = || ErrandError::Untrusted {
            host: target.to_string(),
        };
        let name = match target.ip {
            Some(ip) => ServerName::from(ip),
            None => ServerName::try_from(target.host.clone()).map_err(|_| untrusted())?,
        };
        let config = self.trust.connecting(false).await;
        let config = config.map_err(|_| untrusted())?;
        let stream = TlsConnector::from(config).connect(name, stream).await;
        let stream = stream.map_err(|_| untrusted())?;
        exchange(stream, request, &target, most).await
    }

    async fn dial(&self, target: &Target) -> Result<TcpStream, ErrandError> {
        let host = || target.to_string();
        let unreachable = || ErrandError::Unreachable { host: host() };
        let addresses = match target.ip {
            Some(ip) => vec![ip],
            None => (self.resolver.resolve(&target.host).await).map_err(|_| unreachable())?,
        };
        let policy = Policy::new(Networking::Unrestricted);
        let mut error = unreachable();
        for ip in addresses {
            match decide_address(&policy, &self.operator, target, ip) {
                Verdict::Deny { rule, .. } => error = ErrandError::Refused { host: host(), rule },
                Verdict::Allow { .. } => {
                    if let Ok(stream) = TcpStream::connect(SocketAddr::new(ip, target.port)).await {
                        return Ok(stream);
                    }
                }
            }
        }
        Err(error)
    }
}

async fn exchange<I>(
    io: I,
    request: Request<Bytes>,
    target: &Target,
    most: usize,
) -> Result<Answered, ErrandError>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let silent = |_| ErrandError::Silent {
        host: target.to_string(),
    };
    let (mut parts, body) = request.into_parts();
    if let Some(authority) = parts.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        parts.headers.insert(HOST, host);
    }
    let close = HeaderValue::from_static("close");
    parts.headers.insert(CONNECTION, close);
    let path = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    parts.uri = Uri::try_from(path).map_err(|_| ErrandError::Address)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(silent)?;
    // It ends with this function.
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    let request = Request::from_parts(parts, Full::new(body));
    let response = sender.send_request(request).await.map_err(silent)?;
    read(response, most).await.map_err(silent)
}

async fn read(response: Response<Incoming>, most: usize) -> Result<Answered, hyper::Error> {
    let (parts, mut body) = response.into_parts();
    let mut bytes = BytesMut::new();
    let mut truncated = false;
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame?.data_ref() {
            let room = most - bytes.len();
            bytes.extend_from_slice(&data[..data.len().min(room)]);
            truncated = data.len() > room;
        }
        if truncated {
            break;
        }
    }
    Ok(Answered {
        response: Response::from_parts(parts, bytes.freeze()),
        truncated,
    })
}
