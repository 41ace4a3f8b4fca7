//! Who may go where: a pure function of policy and target to a [`Verdict`].
//!
//! It is asked twice for each request of the proxy: by name before anything is
//! resolved ([`decide`]), then for each address the name stands for
//! ([`decide_address`]). Both must allow, and only an address that was asked
//! about is dialled.

use std::net::IpAddr;

use crate::address::private_range;
use crate::policy::{HostPort, Networking, Policy, Target, WEB_PORTS};

/// The answer, with the name of the rule that gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Go.
    Allow {
        /// The rule that allowed it.
        rule: String,
    },
    /// Stop.
    Deny {
        /// The rule that refused it.
        rule: &'static str,
        /// What the rule says, for the person who meets it.
        reason: String,
    },
}

/// Decides by name and port. `private` is the operator's list of private hosts:
/// it opens ports for its entries but does not widen a limited environment.
pub(crate) fn decide(policy: &Policy, private: &[HostPort], target: &Target) -> Verdict {
    let mcp = policy.mcp_hosts.iter().any(|host| host.covers(target));
    match &policy.networking {
        Networking::Unrestricted => {
            if mcp {
                return allow("mcp-server");
            }
            if WEB_PORTS.contains(&target.port) || listed(private, target) {
                return allow("unrestricted");
            }
            deny(
                "port",
                "only ports 80, 443 and those of declared MCP servers are open",
            )
        }
        Networking::Limited {
            allowed_hosts,
            allow_mcp_servers,
        } => {
            if let Some(entry) = allowed_hosts.iter().find(|entry| entry.covers(target)) {
                return allow(format!("allowed-hosts {entry}"));
            }
            if mcp && *allow_mcp_servers {
                return allow("mcp-server");
            }
            if mcp {
                return deny("mcp-servers", "the environment does not allow MCP servers");
            }
            if allowed_hosts.iter().any(|entry| entry.covers_name(target)) {
                return deny(
                    "port",
                    "the environment allows this host on other ports only",
                );
            }
            deny(
                "allowed-hosts",
                "the host is not among the environment's allowed hosts",
            )
        }
    }
}

/// Decides about one address that the target's name stands for.
pub(crate) fn decide_address(private: &[HostPort], target: &Target, ip: IpAddr) -> Verdict {
    match private_range(ip) {
        None => allow("public-address"),
        Some(_) if listed(private, target) => allow("private-hosts-allowed"),
        Some(range) => deny(
            "private-address",
            &format!("it stands for an address in the {range} range"),
        ),
    }
}

fn listed(private: &[HostPort], target: &Target) -> bool {
    private.iter().any(|host| host.covers(target))
}

fn allow(rule: impl Into<String>) -> Verdict {
    Verdict::Allow { rule: rule.into() }
}

fn deny(rule: &'static str, reason: &str) -> Verdict {
    Verdict::Deny {
        rule,
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(networking: Networking) -> Policy {
        Policy {
            networking,
            mcp_hosts: vec!["mcp.example.net:8443".parse().unwrap()],
        }
    }

    fn limited(hosts: &[&str], allow_mcp_servers: bool) -> Policy {
        policy(Networking::Limited {
            allowed_hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
            allow_mcp_servers,
        })
    }

    fn rule(policy: &Policy, target: &str) -> String {
        let private = ["git.corp:3000".parse().unwrap()];
        let target = Target::parse(target, Some(443)).unwrap();
        match decide(policy, &private, &target) {
            Verdict::Allow { rule } => format!("+{rule}"),
            Verdict::Deny { rule, .. } => format!("-{rule}"),
        }
    }

    #[test]
    fn unrestricted_means_web_ports_and_what_was_declared() {
        let policy = policy(Networking::Unrestricted);
        for (target, expected) in [
            ("example.com", "+unrestricted"),
            ("example.com:80", "+unrestricted"),
            ("example.com:22", "-port"),
            ("mcp.example.net:8443", "+mcp-server"),
            ("other.example.net:8443", "-port"),
            ("git.corp:3000", "+unrestricted"),
            ("git.corp:3001", "-port"),
        ] {
            assert_eq!(rule(&policy, target), expected, "{target}");
        }
    }

    #[test]
    fn limited_means_the_list() {
        let policy = limited(
            &[
                "example.com",
                "*.github.com",
                "db.example.org:5432",
                "1.1.1.1",
            ],
            true,
        );
        for (target, expected) in [
            ("example.com", "+allowed-hosts example.com"),
            ("EXAMPLE.com.", "+allowed-hosts example.com"),
            ("www.example.com", "-allowed-hosts"),
            ("notexample.com", "-allowed-hosts"),
            ("example.com:8080", "-port"),
            ("api.github.com", "+allowed-hosts *.github.com"),
            ("a.b.github.com", "+allowed-hosts *.github.com"),
            ("github.com", "-allowed-hosts"),
            ("evilgithub.com", "-allowed-hosts"),
            ("db.example.org:5432", "+allowed-hosts db.example.org:5432"),
            ("db.example.org", "-port"),
            ("1.1.1.1", "+allowed-hosts 1.1.1.1"),
            ("mcp.example.net:8443", "+mcp-server"),
            ("mcp.example.net", "-allowed-hosts"),
            ("git.corp:3000", "-allowed-hosts"),
        ] {
            assert_eq!(rule(&policy, target), expected, "{target}");
        }
    }

    #[test]
    fn mcp_servers_are_closed_when_the_environment_says_so() {
        assert_eq!(
            rule(&limited(&[], false), "mcp.example.net:8443"),
            "-mcp-servers"
        );
    }

    #[test]
    fn a_private_address_needs_the_operators_word_for_that_name_and_port() {
        let private = ["git.corp:3000".parse().unwrap()];
        let ip = "10.0.0.7".parse().unwrap();
        let allowed = |target: &str| {
            let target = Target::parse(target, Some(443)).unwrap();
            matches!(decide_address(&private, &target, ip), Verdict::Allow { .. })
        };
        assert!(allowed("git.corp:3000"));
        assert!(!allowed("git.corp:443"));
        assert!(!allowed("rebinding.example.com:3000"));
    }
}
