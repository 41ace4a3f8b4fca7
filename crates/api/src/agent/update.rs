//! The request that changes an agent, which makes a new version.

use semver::VersionReq;
use serde_json::Value;

use super::limits::AgentLimitsParams;
use super::{AgentLimits, Definition, ExecutionIdentity, check_text};
use crate::error::Invalid;
use crate::mcp::McpServer;
use crate::metadata::MetadataPatch;
use crate::model::ModelParams;
use crate::patch::Patch;
use crate::read::{At, Fields, Positive, Read, unserved};
use crate::tool::Tool;

/// Changes to an agent.
#[derive(Debug, Clone, PartialEq)]
pub struct UpdateAgent {
    /// The version that the client saw; another current one is a conflict.
    pub version: Option<u32>,
    name: Option<String>,
    model: Option<ModelParams>,
    description: Patch<String>,
    system: Patch<String>,
    tools: Patch<Vec<Tool>>,
    mcp_servers: Patch<Vec<McpServer>>,
    execution_identity: Patch<ExecutionIdentity>,
    metadata: Option<MetadataPatch>,
    cli: Patch<VersionReq>,
    limits: Patch<AgentLimitsParams>,
}

impl Read for UpdateAgent {
    fn read(value: Value, at: At<'_>) -> Result<UpdateAgent, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let update = UpdateAgent {
            version: fields
                .optional::<Positive>("version")?
                .map(|version| version.0),
            name: fields.not_null("name")?,
            model: fields.not_null("model")?,
            description: empty_clears(fields.patch("description")?),
            system: empty_clears(fields.patch("system")?),
            tools: fields.patch("tools")?,
            mcp_servers: fields.patch("mcp_servers")?,
            execution_identity: fields.patch("execution_identity")?,
            metadata: fields.optional("metadata")?,
            cli: fields.patch("cli")?,
            limits: fields.patch("limits")?,
        };
        unserved(&mut fields, "skills")?;
        unserved(&mut fields, "multiagent")?;
        fields.finish()?;
        check_text(
            update.name.as_deref(),
            as_text(&update.description),
            as_text(&update.system),
        )?;
        Ok(update)
    }
}

impl UpdateAgent {
    /// What the agent is after the change. Equal to `stored` when nothing changes.
    ///
    /// # Errors
    /// When the result breaks a rule that holds between fields.
    pub fn apply(self, stored: &Definition) -> Result<Definition, Invalid> {
        let mut definition = stored.clone();
        let profile = &mut definition.profile;
        if let Some(name) = self.name {
            profile.name = name;
        }
        if let Some(model) = self.model {
            profile.model = model.replace(&stored.profile.model);
        }
        self.description.apply(&mut profile.description);
        self.system.apply(&mut profile.system);
        self.tools.apply_or_default(&mut profile.tools);
        self.mcp_servers.apply_or_default(&mut profile.mcp_servers);
        self.execution_identity
            .apply_or_default(&mut profile.execution_identity);
        self.cli.apply(&mut profile.cli);
        profile.check()?;
        if let Some(metadata) = self.metadata {
            metadata.apply(&mut definition.metadata)?;
        }
        definition.limits = AgentLimits::changed(definition.limits, self.limits);
        Ok(definition)
    }
}

fn empty_clears(patch: Patch<String>) -> Patch<String> {
    match patch {
        Patch::Value(text) if text.is_empty() => Patch::Null,
        other => other,
    }
}

fn as_text(patch: &Patch<String>) -> Option<&str> {
    match patch {
        Patch::Value(text) => Some(text),
        Patch::Absent | Patch::Null => None,
    }
}
