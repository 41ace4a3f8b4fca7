//! What a credential is for: all of it that is not secret.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::environment::networking::is_host_pattern;
use crate::error::Invalid;
use crate::limits;
use crate::read::{At, Fields, Read, quoted};
use crate::time::Timestamp;

use super::normal;

/// What a credential is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Auth {
    /// A bearer token for a remote MCP server that is renewed.
    McpOauth {
        /// The server.
        mcp_server_url: String,
        /// When the token ends.
        expires_at: Option<Timestamp>,
        /// How a new one is had.
        refresh: Option<Refresh>,
    },
    /// A bearer token for a remote MCP server that stays.
    StaticBearer {
        /// The server.
        mcp_server_url: String,
    },
    /// A value for requests of programs, which see a placeholder in a variable.
    EnvironmentVariable {
        /// The variable.
        secret_name: String,
        /// Which hosts get the value.
        networking: Networking,
        /// Where in a request it may stand.
        injection_location: InjectionLocation,
    },
}

/// How a new token is had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refresh {
    /// As whom it is asked for.
    pub client_id: String,
    /// Where.
    pub token_endpoint: String,
    /// How the client shows who it is.
    pub token_endpoint_auth: ClientAuth,
    /// For which resource.
    pub resource: Option<String>,
    /// For how much of it.
    pub scope: Option<String>,
}

/// How a client shows a token endpoint who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ClientAuth {
    /// By its id alone.
    None,
    /// By a secret in a header.
    ClientSecretBasic,
    /// By a secret in the body.
    ClientSecretPost,
}

/// Which hosts get a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Networking {
    /// Every host that the session's environment names. Never a host that may be reached only because
    /// every host may be.
    Unrestricted,
    /// These alone.
    Limited {
        /// Names, `*.` and a domain, or IPv4 addresses, each with or without a port.
        allowed_hosts: Vec<String>,
    },
}

/// Where in a request a value may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InjectionLocation {
    /// In a header.
    pub header: bool,
    /// In the body.
    pub body: bool,
}

impl Auth {
    /// Its type in the contract.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Auth::McpOauth { .. } => "mcp_oauth",
            Auth::StaticBearer { .. } => "static_bearer",
            Auth::EnvironmentVariable { .. } => "environment_variable",
        }
    }

    /// What no two active credentials of a vault have in common.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Auth::McpOauth { mcp_server_url, .. } | Auth::StaticBearer { mcp_server_url } => {
                // It was checked when it came.
                normal(mcp_server_url).unwrap_or_else(|| mcp_server_url.clone())
            }
            Auth::EnvironmentVariable { secret_name, .. } => secret_name.clone(),
        }
    }
}

impl Read for Networking {
    fn read(value: Value, at: At<'_>) -> Result<Networking, Invalid> {
        let mut fields = Fields::of(value, at)?;
        match fields.tag("type")?.as_str() {
            "unrestricted" => fields.finish().map(|()| Networking::Unrestricted),
            "limited" => {
                let allowed_hosts: Vec<String> = fields.required("allowed_hosts")?;
                fields.finish()?;
                let at = at.key("allowed_hosts");
                limits::items(allowed_hosts.len(), limits::CREDENTIAL_HOSTS, at)?;
                if allowed_hosts.is_empty() {
                    return Err(at.invalid("cannot be empty: no host would get the value"));
                }
                for (index, host) in allowed_hosts.iter().enumerate() {
                    check_host(host, at.index(index))?;
                }
                Ok(Networking::Limited { allowed_hosts })
            }
            other => {
                let rule = "must be `unrestricted` or `limited`";
                let message = format!("{rule}, got {}", quoted(other));
                Err(at.key("type").invalid(message))
            }
        }
    }
}

fn check_host(host: &str, at: At<'_>) -> Result<(), Invalid> {
    let (name, port) = match host.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    };
    let good = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    if is_host_pattern(name) && port.is_none_or(good) {
        return Ok(());
    }
    let rule = "must be a host name, an IPv4 address, or `*.` and a domain, without scheme or path";
    Err(at.invalid(format!("{rule}, got {}", quoted(host))))
}

/// Names that programs of the sandbox go by: where they find things, whom they trust, who they are.
const RESERVED: [&str; 24] = [
    "ALL_PROXY",
    "BASH_ENV",
    "CURL_CA_BUNDLE",
    "ENV",
    "GIT_SSL_CAINFO",
    "HOME",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "IFS",
    "LANG",
    "NODE_EXTRA_CA_CERTS",
    "NODE_OPTIONS",
    "NO_PROXY",
    "NPM_CONFIG_CAFILE",
    "OLDPWD",
    "PATH",
    "PIP_CERT",
    "PWD",
    "PYTHONPATH",
    "REQUESTS_CA_BUNDLE",
    "SHELL",
    "SSL_CERT_FILE",
    "TMPDIR",
    "USER",
];
/// Beginnings of such names.
const RESERVED_PREFIXES: [&str; 5] = ["ANTHROPIC_", "CLAUDE", "HOSTEL_", "LD_", "MCP_"];

/// Checks the name of a variable.
pub(super) fn check_name(name: &str, at: At<'_>) -> Result<(), Invalid> {
    limits::text(name, 1, limits::SECRET_NAME, at)?;
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if !name.bytes().all(word) || name.starts_with(|first: char| first.is_ascii_digit()) {
        let rule = "must be letters, digits and `_`, and not begin with a digit";
        return Err(at.invalid(format!("{rule}, got {}", quoted(name))));
    }
    let upper = name.to_ascii_uppercase();
    if RESERVED.contains(&upper.as_str())
        || RESERVED_PREFIXES
            .iter()
            .any(|prefix| upper.starts_with(prefix))
    {
        let rule = "is a variable that the sandbox itself needs; take another name";
        return Err(at.invalid(format!("{} {rule}", quoted(name))));
    }
    Ok(())
}
