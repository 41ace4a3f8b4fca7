//! One rule of what may leave.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::environment::hosting::word;
use crate::environment::networking::is_host_pattern;
use crate::error::Invalid;
use crate::limits as bounds;
use crate::read::{At, Fields, Read, expected, quoted};

/// One rule. What it does not name, it does not ask about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// What becomes of what it matches.
    pub action: Action,
    /// A host name, `*.` and a domain for every name below it, an IPv4 address, or `*` for every host.
    pub host: String,
    /// Ports; empty means 80 and 443 where it allows, and every port where it denies.
    pub ports: Vec<u16>,
    /// HTTP methods; empty means every one.
    pub methods: Vec<String>,
    /// The path of a request without its query, where `*` stands for any text.
    pub path: Option<String>,
}

/// What becomes of what a rule matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It may leave.
    Allow,
    /// It is refused.
    Deny,
}

impl Read for Rule {
    fn read(value: Value, at: At<'_>) -> Result<Rule, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let rule = Rule {
            action: fields.required("action")?,
            host: fields.required("host")?,
            ports: fields
                .optional::<Vec<Port>>("ports")?
                .unwrap_or_default()
                .into_iter()
                .map(|Port(port)| port)
                .collect(),
            methods: fields.optional("methods")?.unwrap_or_default(),
            path: fields.optional("path")?,
        };
        fields.finish()?;
        rule.check(at)?;
        Ok(rule)
    }
}

impl Rule {
    fn check(&self, at: At<'_>) -> Result<(), Invalid> {
        if self.host != "*" && !is_host_pattern(&self.host) {
            let rule =
                "must be a host name, `*.` and a domain, or `*`, without scheme, port or path";
            let got = quoted(&self.host);
            return Err(at.key("host").invalid(format!("{rule}, got {got}")));
        }
        bounds::items(self.ports.len(), bounds::RULE_ITEMS, at.key("ports"))?;
        bounds::items(self.methods.len(), bounds::RULE_ITEMS, at.key("methods"))?;
        for (index, method) in self.methods.iter().enumerate() {
            let upper = |byte: u8| byte.is_ascii_uppercase() || byte == b'-';
            if !(1..=32).contains(&method.len()) || !method.bytes().all(upper) {
                let rule = "must be an HTTP method in capitals";
                let at = at.key("methods");
                return Err(at
                    .index(index)
                    .invalid(format!("{rule}, got {}", quoted(method))));
            }
        }
        match &self.path {
            Some(path) => check_path(path, at.key("path")),
            None => Ok(()),
        }
    }
}

/// A pattern that no request could match is a mistake.
fn check_path(path: &str, at: At<'_>) -> Result<(), Invalid> {
    bounds::text(path, 1, bounds::RULE_PATH, at)?;
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'%' | b'\\');
    if !path.starts_with(['/', '*']) || !path.bytes().all(plain) {
        let rule = "must begin with `/` or `*` and be a path without query, escapes or spaces";
        return Err(at.invalid(format!("{rule}, got {}", quoted(path))));
    }
    Ok(())
}

impl Read for Action {
    fn read(value: Value, at: At<'_>) -> Result<Action, Invalid> {
        word(
            value,
            at,
            &[("allow", Action::Allow), ("deny", Action::Deny)],
        )
    }
}

/// A TCP port.
struct Port(u16);

impl Read for Port {
    fn read(value: Value, at: At<'_>) -> Result<Port, Invalid> {
        let port = value.as_u64().and_then(|port| u16::try_from(port).ok());
        match port.filter(|port| *port != 0) {
            Some(port) => Ok(Port(port)),
            None => Err(at.invalid(expected("a port from 1 to 65535", &value))),
        }
    }
}
