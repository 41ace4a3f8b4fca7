//! Tools of an agent: the built-in toolset, toolsets of remote MCP servers, and custom tools.

pub mod builtin;
pub mod custom;
pub mod mcp_toolset;
pub mod policy;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Invalid;
use crate::limits;
use crate::read::{At, Fields, Read, quoted};

pub use builtin::{AgentToolset, Builtin};
pub use custom::CustomTool;
pub use mcp_toolset::McpToolset;
pub use policy::{Policy, ToolDefaults};

/// One entry of an agent's `tools`, resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Tool {
    /// The tools that the sandbox brings.
    #[serde(rename = "agent_toolset_20260401")]
    Agent(AgentToolset),
    /// The tools of one remote MCP server.
    #[serde(rename = "mcp_toolset")]
    Mcp(McpToolset),
    /// A tool that the client runs.
    #[serde(rename = "custom")]
    Custom(CustomTool),
}

impl Tool {
    /// The MCP server that this toolset is of.
    #[must_use]
    pub fn mcp_server_name(&self) -> Option<&str> {
        match self {
            Tool::Mcp(toolset) => Some(&toolset.mcp_server_name),
            Tool::Agent(_) | Tool::Custom(_) => None,
        }
    }

    fn size(&self) -> usize {
        match self {
            Tool::Agent(_) => Builtin::ALL.len(),
            Tool::Mcp(toolset) => toolset.configs.len().max(1),
            Tool::Custom(_) => 1,
        }
    }
}

impl Read for Tool {
    fn read(value: Value, at: At<'_>) -> Result<Tool, Invalid> {
        let mut fields = Fields::of(value, at)?;
        match fields.tag("type")?.as_str() {
            "agent_toolset_20260401" => AgentToolset::read(fields).map(Tool::Agent),
            "mcp_toolset" => McpToolset::read(fields).map(Tool::Mcp),
            "custom" => CustomTool::read(fields).map(Tool::Custom),
            other => {
                let known = "`agent_toolset_20260401`, `mcp_toolset`, `custom`";
                Err(at
                    .key("type")
                    .invalid(format!("must be one of {known}, got {}", quoted(other))))
            }
        }
    }
}

/// Checks the rules that hold over a whole list of tools.
///
/// # Errors
/// When there are too many, two built-in toolsets, or two custom tools of one name.
pub fn check(tools: &[Tool]) -> Result<(), Invalid> {
    let root = At::root();
    let at = root.key("tools");
    let size: usize = tools.iter().map(Tool::size).sum();
    if size > limits::TOOLS {
        return Err(at.invalid(format!(
            "at most {} tools over all toolsets, got {size}",
            limits::TOOLS
        )));
    }
    if tools
        .iter()
        .filter(|tool| matches!(tool, Tool::Agent(_)))
        .count()
        > 1
    {
        return Err(at.invalid("at most one agent_toolset_20260401"));
    }
    let custom = tools.iter().filter_map(|tool| match tool {
        Tool::Custom(tool) => Some(tool.name.as_str()),
        Tool::Agent(_) | Tool::Mcp(_) => None,
    });
    limits::unique(custom, at)
}

#[cfg(test)]
mod tests;
