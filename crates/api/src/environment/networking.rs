//! What a sandbox may reach.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Invalid;
use crate::limits;
use crate::patch::Patch;
use crate::read::{At, Fields, Read, quoted};

/// What a sandbox may reach, resolved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Networking {
    /// Every public host.
    #[default]
    Unrestricted,
    /// The named hosts only.
    Limited(Limited),
}

/// The hosts that a limited sandbox may reach.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limited {
    /// Host names, or `*.` and a domain for every name below it (not the domain itself).
    pub allowed_hosts: Vec<String>,
    /// Whether the hosts of the agent's MCP servers are allowed as well.
    pub allow_mcp_servers: bool,
    /// Whether the public package registries, and those that the server's operator names, are allowed
    /// as well.
    pub allow_package_managers: bool,
}

/// `networking` as a request gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkingParams {
    /// Every public host.
    Unrestricted,
    /// The named hosts only; keys that are absent keep what is stored, null resets them.
    Limited {
        /// Host names.
        allowed_hosts: Patch<Vec<String>>,
        /// Whether the hosts of MCP servers are allowed.
        allow_mcp_servers: Patch<bool>,
        /// Whether package registries are allowed.
        allow_package_managers: Patch<bool>,
    },
}

impl Read for NetworkingParams {
    fn read(value: Value, at: At<'_>) -> Result<NetworkingParams, Invalid> {
        let mut fields = Fields::of(value, at)?;
        match fields.tag("type")?.as_str() {
            "unrestricted" => fields.finish().map(|()| NetworkingParams::Unrestricted),
            "limited" => {
                let allowed_hosts = fields.patch::<Vec<String>>("allowed_hosts")?;
                let allow_mcp_servers = fields.patch("allow_mcp_servers")?;
                let allow_package_managers = fields.patch("allow_package_managers")?;
                fields.finish()?;
                if let Patch::Value(hosts) = &allowed_hosts {
                    check_hosts(hosts, at.key("allowed_hosts"))?;
                }
                Ok(NetworkingParams::Limited {
                    allowed_hosts,
                    allow_mcp_servers,
                    allow_package_managers,
                })
            }
            other => Err(at.key("type").invalid(format!(
                "must be `unrestricted` or `limited`, got {}",
                quoted(other)
            ))),
        }
    }
}

impl NetworkingParams {
    /// What holds after merging into what is stored.
    #[must_use]
    pub fn merge(self, stored: &Networking) -> Networking {
        match self {
            NetworkingParams::Unrestricted => Networking::Unrestricted,
            NetworkingParams::Limited {
                allowed_hosts,
                allow_mcp_servers,
                allow_package_managers,
            } => {
                let mut limited = match stored {
                    Networking::Limited(limited) => limited.clone(),
                    Networking::Unrestricted => Limited::default(),
                };
                allowed_hosts.apply_or_default(&mut limited.allowed_hosts);
                allow_mcp_servers.apply_or_default(&mut limited.allow_mcp_servers);
                allow_package_managers.apply_or_default(&mut limited.allow_package_managers);
                Networking::Limited(limited)
            }
        }
    }
}

fn check_hosts(hosts: &[String], at: At<'_>) -> Result<(), Invalid> {
    limits::items(hosts.len(), limits::ALLOWED_HOSTS, at)?;
    for (index, host) in hosts.iter().enumerate() {
        if !is_host_pattern(host) {
            let rule = "must be a host name, or `*.` and a domain, without scheme, port or path";
            return Err(at
                .index(index)
                .invalid(format!("{rule}, got {}", quoted(host))));
        }
    }
    Ok(())
}

/// Whether it is a host, or `*.` and a domain.
pub(crate) fn is_host_pattern(host: &str) -> bool {
    match host.strip_prefix("*.") {
        Some(domain) => is_name(domain),
        None => is_name(host) || host.parse::<Ipv4Addr>().is_ok(),
    }
}

/// Whether it is a DNS name. One that ends in a number is none: some readers take it for an address.
fn is_name(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let last = host.rsplit('.').next().unwrap_or_default();
    let number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last
            .get(..2)
            .is_some_and(|start| start.eq_ignore_ascii_case("0x"));
    host.len() <= 253 && host.split('.').all(label) && !number
}
