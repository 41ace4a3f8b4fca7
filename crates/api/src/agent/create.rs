//! The request that creates an agent.

use serde_json::Value;

use super::{AgentLimits, Definition, ExecutionIdentity, Profile, check_text};
use crate::error::Invalid;
use crate::metadata::NewMetadata;
use crate::model::ModelParams;
use crate::read::{At, Fields, Read, unserved};

/// A new agent, checked and with every default filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateAgent {
    /// What version 1 stores.
    pub definition: Definition,
}

impl Read for CreateAgent {
    fn read(value: Value, at: At<'_>) -> Result<CreateAgent, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let model: ModelParams = fields.required("model")?;
        let name: String = fields.required("name")?;
        // An empty text says as little as none; updates read it the same way.
        let description = fields
            .optional::<String>("description")?
            .filter(|text| !text.is_empty());
        let system = fields
            .optional::<String>("system")?
            .filter(|text| !text.is_empty());
        let tools = fields.optional("tools")?.unwrap_or_default();
        let mcp_servers = fields.optional("mcp_servers")?.unwrap_or_default();
        unserved(&mut fields, "skills")?;
        unserved(&mut fields, "multiagent")?;
        let execution_identity = fields
            .optional::<ExecutionIdentity>("execution_identity")?
            .unwrap_or_default();
        let metadata = fields
            .optional::<NewMetadata>("metadata")?
            .unwrap_or_default()
            .0;
        let cli = fields.optional("cli")?;
        let limits = AgentLimits::changed(None, fields.patch("limits")?);
        fields.finish()?;
        check_text(Some(&name), description.as_deref(), system.as_deref())?;
        let profile = Profile {
            name,
            description,
            system,
            model: model.resolve(),
            tools,
            mcp_servers,
            skills: Vec::new(),
            multiagent: None,
            execution_identity,
            cli,
        };
        profile.check()?;
        Ok(CreateAgent {
            definition: Definition {
                profile,
                metadata,
                limits,
            },
        })
    }
}
