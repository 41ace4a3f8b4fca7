//! The request that changes a session.

use serde_json::Value;

use super::SessionAgent;
use crate::error::Invalid;
use crate::limits;
use crate::mcp::McpServer;
use crate::metadata::MetadataPatch;
use crate::money::BudgetLimit;
use crate::patch::Patch;
use crate::read::{At, Fields, Read, unserved};
use crate::tool::Tool;

/// Changes to a session.
#[derive(Debug, Clone, PartialEq)]
pub struct UpdateSession {
    /// Changes to its agent, from the next turn on.
    pub agent: Option<AgentChange>,
    /// A new cap; null removes it for good.
    pub budget: Patch<BudgetLimit>,
    /// Changes to the client's own map.
    pub metadata: Option<MetadataPatch>,
    /// A new name for people; null clears it.
    pub title: Patch<String>,
}

/// Changes to the agent of a session. They never touch the agent itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AgentChange {
    tools: Patch<Vec<Tool>>,
    mcp_servers: Patch<Vec<McpServer>>,
}

impl Read for UpdateSession {
    fn read(value: Value, at: At<'_>) -> Result<UpdateSession, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let update = UpdateSession {
            agent: fields.optional("agent")?,
            budget: fields.patch("budget")?,
            metadata: fields.optional("metadata")?,
            title: fields.patch("title")?,
        };
        unserved(&mut fields, "vault_ids")?;
        fields.finish()?;
        if let Patch::Value(title) = &update.title {
            limits::text(title, 1, limits::TITLE, at.key("title"))?;
        }
        Ok(update)
    }
}

impl Read for AgentChange {
    fn read(value: Value, at: At<'_>) -> Result<AgentChange, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let change = AgentChange {
            tools: fields.patch("tools")?,
            mcp_servers: fields.patch("mcp_servers")?,
        };
        fields.finish()?;
        Ok(change)
    }
}

impl AgentChange {
    /// Whether it asks for anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tools.is_absent() && self.mcp_servers.is_absent()
    }

    /// The session's agent after the change. Equal to `stored` when nothing changes.
    ///
    /// # Errors
    /// When tools and MCP servers do not fit each other any more.
    pub fn apply(self, stored: &SessionAgent) -> Result<SessionAgent, Invalid> {
        let mut agent = stored.clone();
        self.tools.apply_or_default(&mut agent.profile.tools);
        self.mcp_servers
            .apply_or_default(&mut agent.profile.mcp_servers);
        agent.profile.check()?;
        Ok(agent)
    }
}
