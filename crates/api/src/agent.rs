//! Agents: versioned definitions of model, prompt and tools.

pub mod create;
pub mod limits;
pub mod update;

use semver::VersionReq;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Invalid;
use crate::mcp::{self, McpServer};
use crate::metadata::Metadata;
use crate::model::ModelConfig;
use crate::read::{At, Fields, NOT_SERVED, Read, quoted};
use crate::time::Timestamp;
use crate::tool::{self, Tool};

pub use create::CreateAgent;
pub use limits::AgentLimits;
pub use update::UpdateAgent;

/// One version of an agent, as clients see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Agent {
    /// `agent_…`.
    pub id: String,
    /// Always `agent`.
    #[serde(rename = "type")]
    pub kind: AgentTag,
    /// Counts from 1.
    pub version: u32,
    /// What it is.
    #[serde(flatten)]
    pub definition: Definition,
    /// When the agent was created.
    pub created_at: Timestamp,
    /// When this version was made.
    pub updated_at: Timestamp,
    /// When the agent was archived.
    pub archived_at: Option<Timestamp>,
}

crate::literal! {
    /// The `type` of an agent.
    AgentTag = "agent"
}

/// What a client decides about an agent, resolved; this is what a version stores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// What a session takes over.
    #[serde(flatten)]
    pub profile: Profile,
    /// The client's own map.
    pub metadata: Metadata,
    /// What all sessions may use together, when that is limited.
    #[serde(default)]
    pub limits: Option<AgentLimits>,
}

/// The part of an agent that a session takes a snapshot of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// The name for people.
    pub name: String,
    /// More for people.
    pub description: Option<String>,
    /// The system prompt.
    pub system: Option<String>,
    /// The model.
    pub model: ModelConfig,
    /// The tools, with every setting filled in.
    pub tools: Vec<Tool>,
    /// Remote MCP servers.
    pub mcp_servers: Vec<McpServer>,
    /// Always empty: not served yet.
    pub skills: Vec<Value>,
    /// Always null: not served yet.
    pub multiagent: Option<Value>,
    /// On whose behalf sessions run.
    pub execution_identity: ExecutionIdentity,
    /// Which versions of the claude CLI may run it, an extension of the public contract; `None`
    /// leaves it to the environment.
    #[serde(default)]
    pub cli: Option<VersionReq>,
}

/// On whose behalf sessions run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ExecutionIdentity {
    /// The server's own.
    #[default]
    ServiceAccount,
}

impl Profile {
    /// Checks the rules that hold between fields.
    ///
    /// # Errors
    /// When tools and MCP servers do not fit each other, or are too many.
    pub fn check(&self) -> Result<(), Invalid> {
        tool::check(&self.tools)?;
        mcp::check(&self.mcp_servers, &self.tools)
    }
}

impl Read for ExecutionIdentity {
    fn read(value: Value, at: At<'_>) -> Result<ExecutionIdentity, Invalid> {
        let mut fields = Fields::of(value, at)?;
        match fields.tag("type")?.as_str() {
            "service_account" => fields.finish().map(|()| ExecutionIdentity::ServiceAccount),
            "aws_role" => Err(at.invalid(format!("`aws_role` is {NOT_SERVED}"))),
            other => {
                let rule = "must be `service_account` or `aws_role`";
                Err(at
                    .key("type")
                    .invalid(format!("{rule}, got {}", quoted(other))))
            }
        }
    }
}

fn check_text(
    name: Option<&str>,
    description: Option<&str>,
    system: Option<&str>,
) -> Result<(), Invalid> {
    let root = At::root();
    if let Some(name) = name {
        crate::limits::text(name, 1, crate::limits::NAME, root.key("name"))?;
    }
    crate::limits::text(
        description.unwrap_or(""),
        0,
        crate::limits::AGENT_DESCRIPTION,
        root.key("description"),
    )?;
    crate::limits::text(
        system.unwrap_or(""),
        0,
        crate::limits::SYSTEM,
        root.key("system"),
    )
}

#[cfg(test)]
mod tests;
