//! What the sandboxes of an environment may reach: its `networking` and `egress`, as egress has them.
//!
//! Never decides, and never opens more than was said: what cannot be read allows nothing.

use api::environment;
use api::environment::Networking as Declared;
use api::environment::egress::{Action, PrivateAddresses};
use egress::{HostPattern, HostPort, Networking, PathPattern, Policy, Rule};
use serde::Deserialize as _;
use serde_json::Value;

/// What a sandbox of this environment may reach, by its configuration. A host that cannot be read is
/// left out, which refuses it: hosts are checked when the environment is made.
#[must_use]
pub fn environment_policy(config: &Value) -> Policy {
    let networking = match Declared::deserialize(&config["networking"]) {
        Ok(Declared::Unrestricted) => Networking::Unrestricted,
        Ok(Declared::Limited(limited)) => Networking::Limited {
            allowed_hosts: parsed::<HostPattern>(limited.allowed_hosts.iter().map(String::as_str)),
            allow_mcp_servers: limited.allow_mcp_servers,
            allow_package_managers: limited.allow_package_managers,
        },
        // What cannot be read opens nothing.
        Err(_) => Networking::Limited {
            allowed_hosts: Vec::new(),
            allow_mcp_servers: false,
            allow_package_managers: false,
        },
    };
    let egress = environment::Egress::deserialize(&config["egress"]).unwrap_or_default();
    let limits = egress.limits;
    Policy {
        rules: egress.rules.into_iter().map(rule).collect(),
        limits: egress::Limits {
            requests_per_second: limits.requests_per_second,
            bytes_in: limits.bytes_in,
            bytes_out: limits.bytes_out,
            connections: limits.connections,
        },
        private_addresses: egress.private_addresses == PrivateAddresses::Allow,
        ..Policy::new(networking)
    }
}

/// What the environment's sandbox may reach with this agent.
#[must_use]
pub fn policy(environment: &Value, agent: &Value) -> Policy {
    let servers = agent["mcp_servers"].as_array().into_iter().flatten();
    let hosts: Vec<String> = servers
        .filter_map(|server| host_port(server["url"].as_str()?))
        .collect();
    Policy {
        mcp_hosts: parsed::<HostPort>(hosts.iter().map(String::as_str)),
        ..environment_policy(environment)
    }
}

/// A rule as egress has it. One that allows and cannot be read allows nothing, one that denies denies
/// every host.
fn rule(rule: environment::egress::Rule) -> Rule {
    let allow = rule.action == Action::Allow;
    let any = rule.host == "*";
    let host: Option<HostPattern> = rule.host.parse().ok();
    let path = rule.path.map(|path| path.parse::<PathPattern>());
    let unread = (!any && host.is_none()) || matches!(path, Some(Err(_)));
    Rule {
        allow: allow && !unread,
        host: host.filter(|_| !any),
        ports: rule.ports,
        methods: rule.methods,
        path: path.and_then(Result::ok),
    }
}

fn parsed<'a, T: std::str::FromStr>(texts: impl Iterator<Item = &'a str>) -> Vec<T> {
    texts.filter_map(|text| text.parse().ok()).collect()
}

/// `host:port` of a URL, the port from its scheme when it names none.
fn host_port(url: &str) -> Option<String> {
    let uri: http::Uri = url.parse().ok()?;
    let port = uri
        .port_u16()
        .unwrap_or(if uri.scheme_str() == Some("http") {
            80
        } else {
            443
        });
    Some(format!("{}:{port}", uri.host()?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_limited_environment_reaches_what_it_lists() {
        let environment = json!({"networking": {"type": "limited", "allowed_hosts": ["*.example.com"], "allow_mcp_servers": true, "allow_package_managers": true},
            "egress": {"rules": [
                {"action": "deny", "host": "*", "ports": [], "methods": ["PUT"], "path": "/a*"},
                {"action": "allow", "host": "b.example", "ports": [22], "methods": [], "path": null}],
                "limits": {"bytes_out": 7}, "private_addresses": "allow"}});
        let agent = json!({"mcp_servers": [{"name": "a", "url": "https://mcp.example/x"}, {"name": "b", "url": "http://10.0.0.1:81/"}]});
        let policy = policy(&environment, &agent);
        assert_eq!(
            policy
                .mcp_hosts
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>(),
            ["mcp.example:443", "10.0.0.1:81"]
        );
        assert_eq!(
            (policy.rules[0].allow, &policy.rules[0].host),
            (false, &None)
        );
        assert_eq!(
            (policy.rules[1].allow, policy.rules[1].ports.as_slice()),
            (true, &[22][..])
        );
        assert!(policy.private_addresses && policy.limits.bytes_out == Some(7));
        let Networking::Limited {
            allowed_hosts,
            allow_mcp_servers: true,
            allow_package_managers: true,
        } = policy.networking
        else {
            panic!()
        };
        assert_eq!(allowed_hosts.len(), 1);
    }
}
