//! The way out of sandboxes.

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
}
