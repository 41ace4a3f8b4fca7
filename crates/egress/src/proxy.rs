//! The proxy way: an HTTP proxy that a sandbox reaches on its loopback.
//!
//! It takes `CONNECT host:port` and absolute-form `http://` requests, one a
//! connection. Where they may go is decided by [`decide`](crate::decide), first
//! by name, then for each address the name stands for, and the address that was
//! decided about is the one that is dialled. Without an entry that names another
//! port, only 80 and 443 are open, so that a sandbox cannot send mail or scan.
//!
//! Bounds: 128 requests of a client at once (the next waits for up to 30 s, then
//! gets 503), 30 s for a request head, the connect timeout for name and dial
//! together, the idle timeout for everything after.
//!
//! It never looks into a tunnel and never follows a redirect.

mod dial;
mod plain;
mod target;

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tracing::{debug, info};

use crate::answer::Refusal;
use crate::config::Config;
use crate::decide::{Verdict, decide};
use crate::head::{self, Head, Rewound};
use crate::idle::{Activity, Watched};
use crate::policy::{HostPort, Target};
use crate::turnstile::Turnstile;
use crate::usage::ClientId;
use crate::windows::{Policies, Resolver, Windows};

/// Requests of one client under way at once.
const MAX_REQUESTS: usize = 128;

/// How long a request may wait for a place, and a head for its end.
const PLACE_TIMEOUT: Duration = Duration::from_secs(30);
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Buffer of a tunnel, each way.
const TUNNEL_BUFFER: usize = 16 * 1024;

/// Everything the proxy way needs.
pub(crate) struct ProxyWay {
    policies: Arc<dyn Policies>,
    resolver: Arc<dyn Resolver>,
    private: Vec<HostPort>,
    connect_timeout: Duration,
    idle_timeout: Duration,
    turnstile: Turnstile,
}

impl ProxyWay {
    pub(crate) fn new(config: &Config, windows: &Windows) -> Self {
        Self {
            policies: Arc::clone(&windows.policies),
            resolver: Arc::clone(&windows.resolver),
            private: config.private_hosts_allowed.clone(),
            connect_timeout: config.connect_timeout,
            idle_timeout: config.proxy_idle_timeout,
            turnstile: Turnstile::new(MAX_REQUESTS),
        }
    }
}

/// Serves one connection until its end.
pub(crate) async fn serve<I>(way: &ProxyWay, client: ClientId, mut io: I)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let opened = match timeout(HEAD_TIMEOUT, head::read(&mut io)).await {
        Ok(Ok(Some(head))) => open(way, &client, head).await,
        Ok(Ok(None)) | Err(_) => return,
        Ok(Err(refusal)) => Err(refusal),
    };
    match opened {
        Ok(opened) => carry(way, opened, io).await,
        Err(refusal) => {
            // Refusals about a known host are logged where they are decided.
            if matches!(refusal.cause, "request-form" | "request-head") {
                info!(
                    client.id = %client, rule = refusal.cause, verdict = "refused",
                    "{client} sent the proxy a request that breaks rule {}", refusal.cause
                );
            }
            // The client may be gone; then nobody misses the answer.
            let _ = io.write_all(&refusal.bytes()).await;
            let _ = io.shutdown().await;
        }
    }
}

/// A request that was allowed and its connection to the host it named.
struct Opened {
    head: Head,
    target: Target,
    tunnel: bool,
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
}

async fn open(way: &ProxyWay, client: &ClientId, head: Head) -> Result<Opened, Refusal> {
    let (target, tunnel) = target::of(&head)?;
    let (rule, place, stream) = reach(way, client, &target).await.inspect_err(|refusal| {
        info!(
            client.id = %client, host = %target, rule = refusal.cause, verdict = "refused",
            "{client} does not reach {target} by rule {}", refusal.cause
        );
    })?;
    info!(
        client.id = %client, host = %target, rule, verdict = "allowed",
        "{client} reaches {target} by rule {rule}"
    );
    Ok(Opened {
        head,
        target,
        tunnel,
        stream,
        _place: place,
    })
}

/// Decides about a target and connects to it.
async fn reach(
    way: &ProxyWay,
    client: &ClientId,
    target: &Target,
) -> Result<(String, OwnedSemaphorePermit, TcpStream), Refusal> {
    let policy = way
        .policies
        .of(client)
        .ok_or_else(|| denied(target, "unknown-client", "this sandbox has no policy"))?;
    let rule = match decide(&policy, &way.private, target) {
        Verdict::Allow { rule } => rule,
        Verdict::Deny { rule, reason } => return Err(denied(target, rule, &reason)),
    };
    let places = way.turnstile.of(client);
    let place = timeout(PLACE_TIMEOUT, places.acquire_owned())
        .await
        .map_err(|_| crowded(target))?
        .expect("the semaphore is never closed");
    let stream = dial::dial(way, target).await?;
    Ok((rule, place, stream))
}

/// Carries bytes until either side ends or nothing moves for too long.
async fn carry<I>(way: &ProxyWay, mut opened: Opened, io: I)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let activity = Activity::new();
    let io = Watched::new(io, activity.clone());
    let carried = async {
        match opened.tunnel {
            true => tunnel(&mut opened, io).await,
            false => plain::exchange(&mut opened, io).await,
        }
    };
    tokio::select! {
        () = carried => {}
        () = activity.silent_for(way.idle_timeout) => debug!("a proxy connection was idle for too long"),
    }
}

async fn tunnel<I: AsyncRead + AsyncWrite + Unpin>(opened: &mut Opened, mut io: I) {
    const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";
    if io.write_all(ESTABLISHED).await.is_err() {
        return;
    }
    let after_head = opened.head.bytes.slice(opened.head.length..);
    let mut io = Rewound::new(after_head, io);
    // An error here is one side breaking off; dropping both ends tells the other.
    let _ =
        copy_bidirectional_with_sizes(&mut io, &mut opened.stream, TUNNEL_BUFFER, TUNNEL_BUFFER)
            .await;
}

/// A refusal by a rule, naming host and rule.
fn denied(target: &Target, rule: &'static str, reason: &str) -> Refusal {
    let message = format!("{target} may not be reached from this sandbox: {reason} (rule: {rule})");
    Refusal::new(StatusCode::FORBIDDEN, "permission_error", rule, message)
}

fn crowded(target: &Target) -> Refusal {
    let message = format!(
        "{target} was not tried: {MAX_REQUESTS} proxy requests of this sandbox are under way (rule: concurrency)"
    );
    Refusal::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "overloaded_error",
        "concurrency",
        message,
    )
}
