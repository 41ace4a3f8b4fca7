//! From an allowed name to a connection with an address that was checked.

use std::net::{IpAddr, SocketAddr};

use http::StatusCode;
use tokio::net::TcpStream;

use super::{Visit, denied};
use crate::answer::Refusal;
use crate::decide::{Verdict, decide_address};
use crate::policy::{Policy, Target};
use crate::traffic::{MAX_CONNECTIONS, Place};
use crate::windows::Standing;

/// Addresses of one name that are tried, in the resolver's order.
const MAX_ADDRESSES: usize = 4;

/// A connection to a host.
pub(super) struct Dialled {
    pub(super) stream: TcpStream,
    /// The address that was decided about and dialled.
    pub(super) ip: IpAddr,
    /// Its place in the bound on connections.
    pub(super) place: Place,
}

/// Resolves, decides about each address, and connects to the first that is
/// allowed and answers. There is no second resolution, so a name that changes
/// its mind in between changes nothing.
pub(super) async fn dial(
    visit: &Visit,
    standing: &Standing,
    target: &Target,
) -> Result<Dialled, Refusal> {
    let limit = standing.policy.borrow().limits.connections;
    let place = standing.traffic.place(limit).await;
    let place = place.ok_or_else(|| crowded(target, limit))?;
    let connecting = connect(visit, standing, target);
    let limit = visit.way.connect_timeout;
    let (stream, ip) = tokio::time::timeout(limit, connecting)
        .await
        .map_err(|_| late(visit, target))??;
    Ok(Dialled { stream, ip, place })
}

async fn connect(
    visit: &Visit,
    standing: &Standing,
    target: &Target,
) -> Result<(TcpStream, IpAddr), Refusal> {
    let addresses = match target.ip {
        Some(ip) => vec![ip],
        None => (visit.way.resolver.resolve(&target.host).await)
            .map_err(|_| unreachable_host(target, "its name cannot be resolved"))?,
    };
    // The policy is asked after the name was resolved, which may have taken a while.
    for ip in allowed(visit, &standing.now(), target, &addresses)? {
        if let Ok(stream) = TcpStream::connect(SocketAddr::new(ip, target.port)).await {
            // Only a matter of latency.
            let _ = stream.set_nodelay(true);
            return Ok((stream, ip));
        }
    }
    Err(unreachable_host(target, "it refused the connection"))
}

/// The addresses that may be dialled; a refusal when there is none.
fn allowed(
    visit: &Visit,
    policy: &Policy,
    target: &Target,
    all: &[IpAddr],
) -> Result<Vec<IpAddr>, Refusal> {
    let mut allowed = Vec::new();
    let mut refusal = unreachable_host(target, "its name has no address");
    for ip in all {
        match decide_address(policy, &visit.way.operator, target, *ip) {
            Verdict::Allow { .. } => allowed.push(*ip),
            Verdict::Deny { rule, reason } => refusal = denied(target, &rule, &reason),
        }
    }
    allowed.truncate(MAX_ADDRESSES);
    if allowed.is_empty() {
        Err(refusal)
    } else {
        Ok(allowed)
    }
}

pub(super) fn unreachable_host(target: &Target, why: &str) -> Refusal {
    let message = format!("{target} cannot be reached: {why}");
    Refusal::new(StatusCode::BAD_GATEWAY, "api_error", "unreachable", message)
}

pub(super) fn late(visit: &Visit, target: &Target) -> Refusal {
    let limit = visit.way.connect_timeout.as_secs();
    Refusal::new(
        StatusCode::GATEWAY_TIMEOUT,
        "timeout_error",
        "connect-timeout",
        format!("{target} did not accept a connection within {limit} s"),
    )
}

fn crowded(target: &Target, limit: Option<u32>) -> Refusal {
    const RULE: &str = "limits.connections";
    let limit = limit.map_or(MAX_CONNECTIONS as u64, u64::from);
    let message = format!(
        "{target} was not tried: {limit} connections of this session are under way (rule: {RULE})"
    );
    let status = StatusCode::SERVICE_UNAVAILABLE;
    Refusal::new(status, "overloaded_error", RULE, message).denying()
}
