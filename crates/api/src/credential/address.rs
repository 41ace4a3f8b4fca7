//! Addresses that a secret is sent to: in one spelling, and never in the clear over a network.

use crate::error::Invalid;
use crate::limits;
use crate::read::{At, quoted};

/// One spelling for each address: scheme and host in lower case, without the usual port and without a
/// slash at the end. `None` when it is no http or https address, or has a user in it.
#[must_use]
pub fn normal(url: &str) -> Option<String> {
    if url.chars().any(|c| c.is_whitespace() || c.is_control()) || url.contains('#') {
        return None;
    }
    let (scheme, rest) = url.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let usual = match scheme.as_str() {
        "https" => ":443",
        "http" => ":80",
        _ => return None,
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let authority = authority.to_ascii_lowercase();
    if authority.is_empty() || authority.contains('@') {
        return None;
    }
    let authority = authority.strip_suffix(usual).unwrap_or(&authority);
    Some(format!(
        "{scheme}://{authority}{}",
        path.trim_end_matches('/')
    ))
}

/// Checks an address that a secret is sent to.
pub(super) fn check(url: &str, at: At<'_>) -> Result<(), Invalid> {
    limits::text(url, 1, limits::CREDENTIAL_URL, at)?;
    let Some(normal) = normal(url) else {
        let rule = "must be an https address without user and fragment";
        return Err(at.invalid(format!("{rule}, got {}", quoted(url))));
    };
    if normal.starts_with("https://") || is_loopback(&normal) {
        return Ok(());
    }
    Err(at.invalid("must be an https address: a secret would travel in the clear"))
}

/// Whether it stays on this machine, by its own words.
fn is_loopback(normal: &str) -> bool {
    let rest = normal.strip_prefix("http://").unwrap_or_default();
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let ip = host.parse::<std::net::IpAddr>();
    ip.is_ok_and(|ip| ip.is_loopback())
}
