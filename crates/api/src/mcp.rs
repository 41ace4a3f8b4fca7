//! Remote MCP servers of an agent.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Invalid;
use crate::limits;
use crate::read::{At, Fields, Read, quoted};
use crate::tool::Tool;

/// A remote MCP server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct McpServer {
    /// Always `url`.
    #[serde(rename = "type")]
    pub kind: McpServerTag,
    /// What toolsets call it.
    pub name: String,
    /// Where it is.
    pub url: String,
}

crate::literal! {
    /// The only kind of MCP server.
    McpServerTag = "url"
}

impl Read for McpServer {
    fn read(value: Value, at: At<'_>) -> Result<McpServer, Invalid> {
        let mut fields = Fields::of(value, at)?;
        fields.literal("type", "url")?;
        let name: String = fields.required("name")?;
        let url: String = fields.required("url")?;
        fields.finish()?;
        limits::text(&name, 1, limits::MCP_NAME, at.key("name"))?;
        limits::text(&url, 1, limits::MCP_URL, at.key("url"))?;
        if !is_web_address(&url) {
            return Err(at.key("url").invalid(format!(
                "must be an http or https address, got {}",
                quoted(&url)
            )));
        }
        Ok(McpServer {
            kind: McpServerTag::Value,
            name,
            url,
        })
    }
}

fn is_web_address(url: &str) -> bool {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
    host.is_some_and(|host| !host.is_empty())
        && !url.chars().any(|c| c.is_whitespace() || c.is_control())
}

/// Checks that servers and toolsets name each other: every server by exactly one toolset.
///
/// # Errors
/// When a name is used twice, or one side names what the other does not have.
pub fn check(servers: &[McpServer], tools: &[Tool]) -> Result<(), Invalid> {
    let root = At::root();
    limits::items(servers.len(), limits::MCP_SERVERS, root.key("mcp_servers"))?;
    limits::unique(
        servers.iter().map(|server| server.name.as_str()),
        root.key("mcp_servers"),
    )?;
    let named: Vec<&str> = tools.iter().filter_map(Tool::mcp_server_name).collect();
    for (index, tool) in tools.iter().enumerate() {
        let Some(name) = tool.mcp_server_name() else {
            continue;
        };
        let tools = root.key("tools");
        let item = tools.index(index);
        let at = item.key("mcp_server_name");
        if !servers.iter().any(|server| server.name == name) {
            return Err(at.invalid(format!(
                "no entry of `mcp_servers` has the name {}",
                quoted(name)
            )));
        }
        if named.iter().filter(|other| **other == name).count() > 1 {
            return Err(at.invalid(format!(
                "more than one mcp_toolset names the server {}",
                quoted(name)
            )));
        }
    }
    for (index, server) in servers.iter().enumerate() {
        if !named.contains(&server.name.as_str()) {
            let servers = root.key("mcp_servers");
            let name = quoted(&server.name);
            return Err(servers
                .index(index)
                .invalid(format!("no mcp_toolset in `tools` names the server {name}")));
        }
    }
    Ok(())
}
