//! The way out of sandboxes.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The way out.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Egress {
    /// Hosts that sandboxes may reach although their addresses are private, each with its port
    /// (`mcp.internal:8443`), for example an MCP server in the same network. Addresses are private
    /// unless they are on the public internet.
    pub private_hosts: Vec<String>,
    /// Whether environments may say that names may stand for addresses of private networks. The
    /// server's own addresses and those of its link stay closed.
    pub private_addresses: bool,
    /// Package registries beside the public ones that `allow_package_managers` opens, with or without
    /// a port (`npm.internal:4873`).
    pub package_hosts: Vec<String>,
    /// A file of certificates in PEM of authorities that hosts may be certified by, beside those that
    /// this machine trusts. Programs in sandboxes trust them, too.
    pub authorities_file: Option<PathBuf>,
}
