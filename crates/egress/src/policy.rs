//! What a client may reach, as the operator and the environment say it.

mod packages;
mod rule;

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use crate::bound::Binding;

pub(crate) use packages::REGISTRIES;
pub use rule::{ParsePathError, PathPattern, Rule};

/// What holds for one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The environment's rules; the first that matches decides, and where none does, `networking`.
    pub rules: Vec<Rule>,
    /// The environment's networking.
    pub networking: Networking,
    /// How much the client may use.
    pub limits: Limits,
    /// Whether names may stand for addresses of private networks, where the operator allows it.
    pub private_addresses: bool,
    /// Hosts of the agent's declared MCP servers, one entry per server, the
    /// port always given (from the scheme when the URL has none).
    pub mcp_hosts: Vec<HostPort>,
    /// What the client's credentials are bound to. Whoever asks such a host is looked at.
    pub bound: Arc<[Binding]>,
}

/// How far an environment's network goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Networking {
    /// Every public address, on ports 80 and 443 and the ports of `mcp_hosts`.
    Unrestricted,
    /// Only what is listed.
    Limited {
        /// Hosts that may be reached.
        allowed_hosts: Vec<HostPattern>,
        /// Whether `mcp_hosts` may be reached too.
        allow_mcp_servers: bool,
        /// Whether package registries may be reached too.
        allow_package_managers: bool,
    },
}

/// How much one client may use; `None` is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests and tunnels that begin in one second.
    pub requests_per_second: Option<u32>,
    /// Bytes that come in, ever.
    pub bytes_in: Option<u64>,
    /// Bytes that go out, ever.
    pub bytes_out: Option<u64>,
    /// Connections to hosts at once.
    pub connections: Option<u32>,
}

/// What the operator says for all clients.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Operator {
    /// Private addresses that may be reached nevertheless, each by the exact name (or address) and
    /// port that clients use for it.
    pub private_hosts: Vec<HostPort>,
    /// Package registries beside the public ones.
    pub package_hosts: Vec<HostPattern>,
    /// Whether environments may allow names that stand for addresses of private networks.
    pub private_addresses: bool,
}

impl Policy {
    /// A policy without rules and limits.
    #[must_use]
    pub fn new(networking: Networking) -> Self {
        Self {
            rules: Vec::new(),
            networking,
            limits: Limits::default(),
            private_addresses: false,
            mcp_hosts: Vec::new(),
            bound: Arc::default(),
        }
    }
}

/// A host and port exactly.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// Lower-case name or canonical address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// An entry of `allowed_hosts`: `example.com`, `*.example.com` (any depth of
/// subdomain, not the apex), an address, each with an optional `:port`. Without
/// a port it means 80 and 443.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPattern {
    wildcard: bool,
    host: String,
    port: Option<u16>,
}

/// Where a client wants to go, in one canonical spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Lower-case name without a final dot, or canonical address.
    pub host: String,
    /// The address when `host` is one.
    pub ip: Option<IpAddr>,
    /// TCP port.
    pub port: u16,
}

/// Why a text is not a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseHostError {
    /// Nothing there.
    #[error("a host is missing")]
    Empty,
    /// Not a DNS name or a plain address.
    #[error("{0:?} is neither a DNS name nor an address in its usual spelling")]
    Malformed(String),
    /// A number spelled in a way that some resolvers read as an address.
    #[error("{0:?} is an address in an unusual spelling; write it as a.b.c.d")]
    OddAddress(String),
    /// Not a port.
    #[error("{0:?} has no valid port")]
    Port(String),
}

/// The ports that an entry without a port means.
pub(crate) const WEB_PORTS: [u16; 2] = [80, 443];

impl HostPattern {
    /// Whether the pattern covers the target, port included.
    #[must_use]
    pub fn covers(&self, target: &Target) -> bool {
        let port = match self.port {
            Some(port) => port == target.port,
            None => WEB_PORTS.contains(&target.port),
        };
        port && self.covers_name(target)
    }

    /// The ports it means.
    pub(crate) fn ports(&self) -> Vec<u16> {
        self.port.map_or(WEB_PORTS.to_vec(), |port| vec![port])
    }

    /// Whether the pattern covers the target's name, whatever its port.
    pub(crate) fn covers_name(&self, target: &Target) -> bool {
        if !self.wildcard {
            return self.host == target.host;
        }
        target.ip.is_none()
            && target
                .host
                .strip_suffix(&self.host)
                .and_then(|rest| rest.strip_suffix('.'))
                .is_some_and(|label| !label.is_empty())
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.wildcard {
            f.write_str("*.")?;
        }
        match self.port {
            Some(port) => write!(f, "{}:{port}", bracketed(&self.host)),
            None => f.write_str(&self.host),
        }
    }
}

impl FromStr for HostPattern {
    type Err = ParseHostError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (wildcard, rest) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (host, port) = split_port(rest)?;
        let (host, ip) = canonical_host(host)?;
        if wildcard && ip.is_some() {
            return Err(ParseHostError::Malformed(text.to_owned()));
        }
        Ok(Self {
            wildcard,
            host,
            port,
        })
    }
}

impl HostPort {
    /// Whether the target is exactly this.
    #[must_use]
    pub fn covers(&self, target: &Target) -> bool {
        self.port == target.port && self.host == target.host
    }
}

impl FromStr for HostPort {
    type Err = ParseHostError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, port) = split_port(text)?;
        let port = port.ok_or_else(|| ParseHostError::Port(text.to_owned()))?;
        let (host, _) = canonical_host(host)?;
        Ok(Self { host, port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", bracketed(&self.host), self.port)
    }
}

/// A host as it stands before a port: an address of many colons in brackets.
fn bracketed(host: &str) -> Cow<'_, str> {
    match host.contains(':') {
        true => format!("[{host}]").into(),
        false => host.into(),
    }
}

impl Target {
    /// Reads a host and port as a client wrote them.
    ///
    /// # Errors
    /// When the host is not a DNS name or an address in its usual spelling.
    pub fn new(host: &str, port: u16) -> Result<Self, ParseHostError> {
        let (host, ip) = canonical_host(host)?;
        Ok(Self { host, ip, port })
    }

    /// Reads `host[:port]`, with a default for the port.
    pub(crate) fn parse(text: &str, default_port: Option<u16>) -> Result<Self, ParseHostError> {
        let (host, port) = split_port(text)?;
        let port = port
            .or(default_port)
            .filter(|port| *port != 0)
            .ok_or_else(|| ParseHostError::Port(text.to_owned()))?;
        Self::new(host, port)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            _ => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Splits `host[:port]`; an IPv6 address with a port is in brackets.
fn split_port(text: &str) -> Result<(&str, Option<u16>), ParseHostError> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok((text, None));
    }
    let colon = match text.rfind(']') {
        Some(bracket) => text[bracket..].find(':').map(|at| bracket + at),
        None => text.rfind(':'),
    };
    let Some(colon) = colon else {
        return Ok((text, None));
    };
    let digits = &text[colon + 1..];
    let port = (digits.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| digits.parse().ok())
        .flatten()
        .ok_or_else(|| ParseHostError::Port(text.to_owned()))?;
    Ok((&text[..colon], Some(port)))
}

/// One spelling for each host. Refuses what another program might read as a
/// different host: odd numbers, zones, escapes, characters outside ASCII.
fn canonical_host(text: &str) -> Result<(String, Option<IpAddr>), ParseHostError> {
    if text.is_empty() {
        return Err(ParseHostError::Empty);
    }
    let malformed = || ParseHostError::Malformed(text.to_owned());
    if let Some(inner) = text.strip_prefix('[') {
        let inner = inner.strip_suffix(']').ok_or_else(malformed)?;
        let ip: Ipv6Addr = inner.parse().map_err(|_| malformed())?;
        return Ok((ip.to_string(), Some(IpAddr::V6(ip))));
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok((ip.to_string(), Some(ip)));
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if name.len() > 253 || !name.split('.').all(is_label) {
        return Err(malformed());
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x") {
        return Err(ParseHostError::OddAddress(text.to_owned()));
    }
    Ok((name, None))
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests;
