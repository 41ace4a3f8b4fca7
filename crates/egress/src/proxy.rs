//! The proxy way: an HTTP proxy that a sandbox reaches on its loopback.
//!
//! It takes `CONNECT host:port` and absolute-form `http://` requests, and connections that programs which
//! know no proxy made to a name. Where they may go is decided by
//! [`decide`](mod@crate::decide): by host and port, by method and path where a rule of the environment
//! names one, and for each address the name stands for. The address that was decided about is the one
//! that is dialled, for every connection anew.
//!
//! ```text
//!   CONNECT ── decided as a whole ──▶ carried unread, when what begins in it agrees
//!      │
//!      └─ decided by request ──▶ TLS ended here ──▶ requests ──▶ TLS to the host
//!   http:// ──────────────────────────────────────▶ requests ──▶ the host
//! ```
//!
//! Bounds: connections of a client at once as its policy says, 128 at most (the next waits for up to
//! 30 s, then gets 503), 30 s for a request head, the connect timeout for name, dial and TLS together,
//! the idle timeout for everything after.
//!
//! It never follows a redirect, and keeps no connection for another client or another connection of
//! the same one.

mod body;
mod dial;
mod first;
mod guard;
mod keys;
mod requests;
mod target;
mod tasks;
mod tunnel;
mod upgrade;
mod upstream;

#[cfg(test)]
pub(crate) use guard::guarded;
#[cfg(test)]
pub(crate) use requests::Mode;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tracing::debug;

use crate::answer::Refusal;
use crate::attempts::{Attempts, Stray};
use crate::audit::Entry;
use crate::config::{Config, ConfigError};
use crate::decide::ports;
use crate::head;
use crate::idle::{Activity, Watched};
use crate::policy::{Operator, Policy, Target};
use crate::tls::{Authority, Trust};
use crate::usage::ClientId;
use crate::windows::{Audit, Credentials, Policies, Resolver, Standing, Windows};

/// How long a request head may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Everything the proxy way needs.
pub(crate) struct ProxyWay {
    policies: Arc<dyn Policies>,
    resolver: Arc<dyn Resolver>,
    credentials: Arc<dyn Credentials>,
    audit: Arc<dyn Audit>,
    clock: fn() -> SystemTime,
    operator: Operator,
    pub(crate) trust: Trust,
    pub(crate) attempts: Attempts,
    connect_timeout: Duration,
    idle_timeout: Duration,
}

/// One connection of a client.
#[derive(Clone)]
pub(crate) struct Visit {
    pub(crate) way: Arc<ProxyWay>,
    pub(crate) client: ClientId,
    pub(crate) authority: Arc<Authority>,
}

impl ProxyWay {
    pub(crate) fn new(config: &Config, windows: &Windows) -> Result<Self, ConfigError> {
        Ok(Self {
            policies: Arc::clone(&windows.policies),
            resolver: Arc::clone(&windows.resolver),
            credentials: Arc::clone(&windows.credentials),
            audit: Arc::clone(&windows.audit),
            clock: windows.clock,
            operator: config.operator.clone(),
            trust: Trust::new(&config.authorities)?,
            attempts: Attempts::new(Arc::clone(&windows.audit), windows.clock),
            connect_timeout: config.connect_timeout,
            idle_timeout: config.proxy_idle_timeout,
        })
    }
}

/// The type of a record of DNS that holds an address.
const ADDRESS: u16 = 1;

impl ProxyWay {
    /// The ports on which a client may reach a name; `None` when it may not.
    pub(crate) fn name(&self, client: &ClientId, name: &str, kind: u16) -> Option<Vec<u16>> {
        let standing = self.policies.of(client)?;
        let refuse = |rule: &str| self.attempts.name(client, &standing, name, rule);
        if !self.attempts.may_ask(client, &standing) {
            refuse("dns-rate");
            return None;
        }
        if kind != ADDRESS {
            refuse("dns-type");
            return None;
        }
        // The port is of no meaning yet; an address is no name.
        let target = Target::new(name, 443).ok().filter(|name| name.ip.is_none());
        let Some(target) = target else {
            refuse("dns-name");
            return None;
        };
        match ports(&standing.now(), &self.operator, &target) {
            Ok(ports) => Some(ports),
            Err(rule) => {
                refuse(&rule);
                None
            }
        }
    }

    /// Programs of a client sent what was refused.
    pub(crate) fn strays(&self, client: &ClientId, strays: &[Stray], more: u64) {
        if let Some(standing) = self.policies.of(client) {
            self.attempts.strays(client, &standing, strays, more);
        }
    }
}

impl Visit {
    /// A record that begins now.
    fn entry(&self, standing: Option<&Standing>) -> Arc<Entry> {
        let (audit, now) = (Arc::clone(&self.way.audit), (self.way.clock)());
        Arc::new(Entry::new(
            audit,
            self.client.clone(),
            standing.cloned(),
            now,
        ))
    }
}

/// Serves one connection until its end. With a target it came for that, without a word of a proxy's.
pub(crate) async fn serve<I>(visit: Visit, target: Option<Target>, io: I)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let activity = Activity::new();
    let io = Watched::new(io, activity.clone());
    let idle = visit.way.idle_timeout;
    let served = async {
        match target {
            None => begin(visit, io).await,
            Some(target) => transparent(visit, target, io).await,
        }
    };
    tokio::select! {
        () = Box::pin(served) => {}
        () = activity.silent_for(idle) => debug!("a proxy connection was idle for too long"),
    }
}

async fn transparent<I>(visit: Visit, target: Target, io: I)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    // Without a policy nobody asked: its end is the answer.
    if let Some(standing) = visit.way.policies.of(&visit.client) {
        tunnel::transparent(visit, standing, target, io).await;
    }
}

async fn begin<I>(visit: Visit, mut io: I)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (head, bytes) = match timeout(HEAD_TIMEOUT, head::read(&mut io)).await {
        Ok(Ok(Some(read))) => read,
        Ok(Ok(None)) | Err(_) => return,
        Ok(Err(refusal)) => {
            visit.entry(None).refused(&refusal);
            return end_with(io, &refusal).await;
        }
    };
    let Some(standing) = visit.way.policies.of(&visit.client) else {
        let message = "this sandbox has no policy (rule: unknown-client)";
        let refusal = forbidden("unknown-client", message);
        visit.entry(None).refused(&refusal);
        return end_with(io, &refusal).await;
    };
    if head.method == "CONNECT" {
        let after = bytes.slice(head.length..);
        return tunnel::serve(visit, standing, &head, after, io).await;
    }
    let io = head::Rewound::new(bytes, io);
    requests::serve(visit, standing, requests::Mode::Forward, None, false, io).await;
}

/// Answers with a refusal and ends the connection.
async fn end_with<I: AsyncWrite + Unpin>(mut io: I, refusal: &Refusal) {
    // The client may be gone; then nobody misses the answer.
    let _ = io.write_all(&refusal.bytes()).await;
    let _ = io.shutdown().await;
}

/// Resolves once the policy changed to one that `still` does not agree with.
async fn revoked(standing: &Standing, still: impl Fn(&Policy) -> bool) {
    let mut policy = standing.policy.clone();
    loop {
        if policy.changed().await.is_err() {
            // Nobody will change it any more; the session ends with its sandbox.
            return std::future::pending().await;
        }
        if !still(&policy.borrow_and_update()) {
            return;
        }
    }
}

/// Waits for the turn of a request; refuses it when a limit is used up.
async fn turn(standing: &Standing, target: &Target) -> Result<(), Refusal> {
    if let Some(spent) = standing.spent() {
        let message = format!("{target} was not tried: {spent} (rule: {})", spent.0);
        return Err(forbidden(spent.0, message));
    }
    let rate = standing.policy.borrow().limits.requests_per_second;
    let Some(rate) = rate else { return Ok(()) };
    if standing.traffic.turn(rate).await {
        return Ok(());
    }
    const RULE: &str = "limits.requests_per_second";
    let message = format!(
        "{target} was not tried: this session may make {rate} requests a second (rule: {RULE})"
    );
    Err(Refusal::new(
        StatusCode::TOO_MANY_REQUESTS,
        "rate_limit_error",
        RULE,
        message,
    ))
}

/// A refusal by a rule, naming host and rule.
fn denied(target: &Target, rule: &str, reason: &str) -> Refusal {
    let message = format!("{target} may not be reached from this sandbox: {reason} (rule: {rule})");
    forbidden("policy", message).by(rule.to_owned())
}

fn forbidden(cause: &'static str, message: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, "permission_error", cause, message)
}
