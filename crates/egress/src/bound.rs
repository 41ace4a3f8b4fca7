//! What a client's credentials are bound to: which hosts get them, and where in a request.
//!
//! Nothing here is secret. The value behind a [`Slot`] is asked for at each request, so that a rotated
//! one takes effect at once and an archived one never again.

use crate::policy::{HostPattern, HostPort, Networking, Policy, Target};
use crate::secret::{Placeholder, Slot};

/// One credential of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// Its name.
    pub slot: Slot,
    /// What it is put in for.
    pub put: Put,
}

/// How a credential gets into a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Put {
    /// In the place of a placeholder that a program of the sandbox sends.
    Swap {
        /// What the sandbox sees.
        placeholder: Placeholder,
        /// Which hosts get it.
        hosts: Hosts,
        /// Whether it may stand in a header.
        header: bool,
        /// Whether it may stand in the body.
        body: bool,
    },
    /// As bearer token of requests to a server of the agent's, whatever they say themselves.
    Bearer {
        /// The server.
        server: HostPort,
        /// Its path, without a slash at the end; what lies below belongs to it.
        path: String,
    },
}

/// Which hosts get a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hosts {
    /// Those that the environment names: never one that may be reached only because every host may be.
    Named,
    /// These.
    Listed(Vec<HostPattern>),
}

impl Binding {
    /// Whether requests to this host may get it.
    pub(crate) fn covers(&self, policy: &Policy, target: &Target) -> bool {
        match &self.put {
            Put::Swap { hosts, .. } => match hosts {
                Hosts::Named => names(policy, target),
                Hosts::Listed(hosts) => hosts.iter().any(|host| host.covers(target)),
            },
            Put::Bearer { server, .. } => server.covers(target),
        }
    }

    /// What the sandbox sees of it, if anything.
    pub(crate) fn placeholder(&self) -> Option<&Placeholder> {
        match &self.put {
            Put::Swap { placeholder, .. } => Some(placeholder),
            Put::Bearer { .. } => None,
        }
    }
}

/// The credentials that requests to a host may get.
pub(crate) fn of<'a>(policy: &'a Policy, target: &'a Target) -> impl Iterator<Item = &'a Binding> {
    let bound = policy.bound.iter();
    bound.filter(move |binding| binding.covers(policy, target))
}

/// Whether the environment names this host.
fn names(policy: &Policy, target: &Target) -> bool {
    let listed = match &policy.networking {
        Networking::Limited { allowed_hosts, .. } => {
            allowed_hosts.iter().any(|host| host.covers(target))
        }
        Networking::Unrestricted => false,
    };
    let allows = |rule: &crate::Rule| rule.allow && rule.host.is_some() && rule.covers(target);
    listed || policy.rules.iter().any(allows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        Target::parse(text, None).unwrap()
    }

    #[test]
    fn a_credential_without_hosts_goes_to_hosts_that_the_environment_names_alone() {
        let binding = Binding {
            slot: Slot("vcrd_1".into()),
            put: Put::Swap {
                placeholder: Placeholder::new("p"),
                hosts: Hosts::Named,
                header: true,
                body: true,
            },
        };
        let mut policy = Policy::new(Networking::Unrestricted);
        assert!(!binding.covers(&policy, &target("a.example:443")));
        let rule = |allow, host: Option<&str>| crate::Rule {
            allow,
            host: host.map(|host| host.parse().unwrap()),
            ports: Vec::new(),
            methods: vec!["GET".into()],
            path: None,
        };
        policy.rules = vec![
            rule(true, None),
            rule(false, Some("b.example")),
            rule(true, Some("c.example")),
        ];
        for (host, covered) in [
            ("a.example:443", false),
            ("b.example:443", false),
            ("c.example:443", true),
            ("c.example:8443", false),
        ] {
            assert_eq!(binding.covers(&policy, &target(host)), covered, "{host}");
        }
        policy.networking = Networking::Limited {
            allowed_hosts: vec!["*.d.example".parse().unwrap()],
            allow_mcp_servers: true,
            allow_package_managers: true,
        };
        assert!(binding.covers(&policy, &target("x.d.example:443")));
        assert!(!binding.covers(&policy, &target("pypi.org:443")));
    }
}
