//! Who may go where: pure functions of policy and target to a [`Verdict`].
//!
//! They are asked in this order, and all must allow: by host and port, before anything is resolved
//! ([`reach`]); by method and path, for hosts whose rules name one ([`decide`]); for each address the
//! name stands for ([`decide_address`]). Only an address that was asked about is dialled. What a path
//! means is settled before: see [`crate::path`].

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::address::{Private, private_range};
use crate::policy::{
    HostPattern, HostPort, Networking, Operator, Policy, REGISTRIES, Target, WEB_PORTS,
};

/// The answer, with the name of the rule that gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Go.
    Allow {
        /// The rule that allowed it.
        rule: String,
    },
    /// Stop.
    Deny {
        /// The rule that refused it.
        rule: String,
        /// What the rule says, for the person who meets it.
        reason: String,
    },
}

/// What is known before there is a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Whatever is asked there is decided.
    Whole(Verdict),
    /// Each request is decided by itself, or gets a credential, so each must be seen.
    Requests,
}

/// Decides by host and port.
pub(crate) fn reach(policy: &Policy, operator: &Operator, target: &Target) -> Reach {
    let bound = || {
        let mut all = policy.bound.iter();
        all.any(|binding| binding.covers(policy, target))
    };
    match by_host(policy, operator, target) {
        Reach::Whole(Verdict::Allow { .. }) if bound() => Reach::Requests,
        reach => reach,
    }
}

fn by_host(policy: &Policy, operator: &Operator, target: &Target) -> Reach {
    // Whether requests are told apart, and whether one of them may be allowed.
    let (mut apart, mut some) = (false, false);
    let rules = policy.rules.iter().enumerate();
    for (index, rule) in rules.filter(|(_, rule)| rule.covers(target)) {
        if rule.is_whole() {
            return match (apart, rule.allow || some) {
                (true, true) => Reach::Requests,
                _ => Reach::Whole(by_rule(index, rule.allow)),
            };
        }
        apart = true;
        some |= rule.allow;
    }
    match networking(policy, operator, target) {
        Verdict::Allow { .. } if apart => Reach::Requests,
        Verdict::Deny { .. } if some => Reach::Requests,
        whole => Reach::Whole(whole),
    }
}

/// The ports on which a name may be reached, at least by some requests; without any, the rule that
/// refuses it on the usual one.
pub(crate) fn ports(
    policy: &Policy,
    operator: &Operator,
    name: &Target,
) -> Result<Vec<u16>, String> {
    let rules = policy.rules.iter().flat_map(|rule| rule.ports.clone());
    let exact = policy.mcp_hosts.iter().chain(&operator.private_hosts);
    let exact = exact.filter(|host| host.host == name.host);
    let mut patterns: Vec<&HostPattern> = operator.package_hosts.iter().collect();
    if let Networking::Limited { allowed_hosts, .. } = &policy.networking {
        patterns.extend(allowed_hosts);
    }
    let patterns = patterns.into_iter().filter(|host| host.covers_name(name));
    let candidates: BTreeSet<u16> = WEB_PORTS
        .into_iter()
        .chain(rules)
        .chain(exact.map(|host| host.port))
        .chain(patterns.flat_map(HostPattern::ports))
        .collect();
    let on = |port| Target {
        port,
        ..name.clone()
    };
    let is_open = |port: &u16| {
        let reach = reach(policy, operator, &on(*port));
        !matches!(reach, Reach::Whole(Verdict::Deny { .. }))
    };
    let open: Vec<u16> = candidates.into_iter().filter(is_open).collect();
    if !open.is_empty() {
        return Ok(open);
    }
    match reach(policy, operator, &on(WEB_PORTS[1])) {
        Reach::Whole(Verdict::Deny { rule, .. }) => Err(rule),
        _ => Ok(open),
    }
}

/// Decides about one request.
#[must_use]
pub fn decide(
    policy: &Policy,
    operator: &Operator,
    target: &Target,
    method: &str,
    path: &str,
) -> Verdict {
    let mut rules = policy.rules.iter().enumerate();
    let found = rules.find(|(_, rule)| rule.covers(target) && rule.matches(method, path));
    match found {
        Some((index, rule)) => by_rule(index, rule.allow),
        None => networking(policy, operator, target),
    }
}

fn by_rule(index: usize, allowed: bool) -> Verdict {
    let rule = format!("rules.{index}");
    match allowed {
        true => Verdict::Allow { rule },
        false => Verdict::Deny {
            reason: "a rule of the environment denies it".to_owned(),
            rule,
        },
    }
}

/// Decides where no rule does. The operator's private hosts open ports but do not widen a limited
/// environment.
fn networking(policy: &Policy, operator: &Operator, target: &Target) -> Verdict {
    let mcp = policy.mcp_hosts.iter().any(|host| host.covers(target));
    match &policy.networking {
        Networking::Unrestricted => {
            if mcp {
                return allow("mcp-server");
            }
            if WEB_PORTS.contains(&target.port) || listed(&operator.private_hosts, target) {
                return allow("unrestricted");
            }
            deny(
                "port",
                "only ports 80, 443 and those of declared MCP servers and of rules are open",
            )
        }
        Networking::Limited {
            allowed_hosts,
            allow_mcp_servers,
            allow_package_managers,
        } => {
            if let Some(entry) = allowed_hosts.iter().find(|entry| entry.covers(target)) {
                return allow(format!("allowed-hosts {entry}"));
            }
            if mcp && *allow_mcp_servers {
                return allow("mcp-server");
            }
            if *allow_package_managers && is_registry(operator, target) {
                return allow("package-manager");
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

fn is_registry(operator: &Operator, target: &Target) -> bool {
    let public = WEB_PORTS.contains(&target.port) && REGISTRIES.contains(&target.host.as_str());
    public || (operator.package_hosts.iter()).any(|host| host.covers(target))
}

/// Decides about one address that the target's name stands for.
pub(crate) fn decide_address(
    policy: &Policy,
    operator: &Operator,
    target: &Target,
    ip: IpAddr,
) -> Verdict {
    let Some(Private { range, network }) = private_range(ip) else {
        return allow("public-address");
    };
    if listed(&operator.private_hosts, target) {
        return allow("private-hosts");
    }
    if policy.private_addresses && network {
        if operator.private_addresses {
            return allow("private-addresses");
        }
        return deny(
            "private-address",
            "the environment allows private addresses, but the server's operator does not",
        );
    }
    deny(
        "private-address",
        &format!("it stands for an address in the {range} range"),
    )
}

fn listed(private: &[HostPort], target: &Target) -> bool {
    private.iter().any(|host| host.covers(target))
}

fn allow(rule: impl Into<String>) -> Verdict {
    Verdict::Allow { rule: rule.into() }
}

fn deny(rule: &str, reason: &str) -> Verdict {
    Verdict::Deny {
        rule: rule.to_owned(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests;
