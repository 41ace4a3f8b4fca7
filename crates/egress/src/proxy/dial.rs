//! From an allowed name to a connection with an address that was checked.

use std::net::{IpAddr, SocketAddr};

use http::StatusCode;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{ProxyWay, denied};
use crate::answer::Refusal;
use crate::decide::{Verdict, decide_address};
use crate::policy::Target;

/// Addresses of one name that are tried, in the resolver's order.
const MAX_ADDRESSES: usize = 4;

/// Resolves, decides about each address, and connects to the first that is
/// allowed and answers. There is no second resolution, so a name that changes
/// its mind in between changes nothing.
pub(super) async fn dial(way: &ProxyWay, target: &Target) -> Result<TcpStream, Refusal> {
    match timeout(way.connect_timeout, connect(way, target)).await {
        Ok(connected) => connected,
        Err(_) => Err(Refusal::new(
            StatusCode::GATEWAY_TIMEOUT,
            "timeout_error",
            "connect-timeout",
            format!(
                "{target} did not accept a connection within {} s",
                way.connect_timeout.as_secs()
            ),
        )),
    }
}

async fn connect(way: &ProxyWay, target: &Target) -> Result<TcpStream, Refusal> {
    let addresses = match target.ip {
        Some(ip) => vec![ip],
        None => way
            .resolver
            .resolve(&target.host)
            .await
            .map_err(|_| unreachable_host(target, "its name cannot be resolved"))?,
    };
    for ip in allowed(way, target, &addresses)? {
        if let Ok(stream) = TcpStream::connect(SocketAddr::new(ip, target.port)).await {
            // Only a matter of latency.
            let _ = stream.set_nodelay(true);
            return Ok(stream);
        }
    }
    Err(unreachable_host(target, "it refused the connection"))
}

/// The addresses that may be dialled; a refusal when there is none.
fn allowed(way: &ProxyWay, target: &Target, all: &[IpAddr]) -> Result<Vec<IpAddr>, Refusal> {
    let mut allowed = Vec::new();
    let mut refusal = unreachable_host(target, "its name has no address");
    for ip in all {
        match decide_address(&way.private, target, *ip) {
            Verdict::Allow { .. } => allowed.push(*ip),
            Verdict::Deny { rule, reason } => refusal = denied(target, rule, &reason),
        }
    }
    allowed.truncate(MAX_ADDRESSES);
    if allowed.is_empty() {
        Err(refusal)
    } else {
        Ok(allowed)
    }
}

fn unreachable_host(target: &Target, why: &str) -> Refusal {
    let message = format!("{target} cannot be reached: {why}");
    Refusal::new(StatusCode::BAD_GATEWAY, "api_error", "unreachable", message)
}
