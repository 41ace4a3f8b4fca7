//! The request that creates a session.

use serde_json::Value;

use super::SessionAgent;
use crate::agent::{AgentTag, Profile};
use crate::client_event::ClientEvent;
use crate::error::Invalid;
use crate::limits;
use crate::mcp::McpServer;
use crate::metadata::{Metadata, NewMetadata};
use crate::model::ModelParams;
use crate::money::BudgetLimit;
use crate::patch::Patch;
use crate::read::{At, Fields, Positive, Read, expected, quoted, unserved};
use crate::session_store;
use crate::tool::Tool;

/// A new session.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateSession {
    /// Which agent, and what is different about it in this session.
    pub agent: AgentRef,
    /// Where its sandbox comes from.
    pub environment_id: String,
    /// Where its credentials come from; of two that fit, that of the vault named first is taken.
    pub vault_ids: Vec<String>,
    /// Messages that start it; when empty it waits.
    pub initial_events: Vec<ClientEvent>,
    /// The cap.
    pub budget: Option<BudgetLimit>,
    /// The name for people.
    pub title: Option<String>,
    /// The client's own map.
    pub metadata: Metadata,
    /// A session of the session store whose conversation this one goes on with, an extension.
    pub resume: Option<Resume>,
}

/// A session of the session store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    /// The Agent SDK's project key.
    pub project_key: String,
    /// The id that the Agent SDK gave it.
    pub session_id: String,
}

impl Read for Resume {
    fn read(value: Value, at: At<'_>) -> Result<Resume, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let resume = Resume {
            project_key: fields.required("project_key")?,
            session_id: fields.required("session_id")?,
        };
        fields.finish()?;
        session_store::key(&resume.project_key, at.key("project_key"))?;
        session_store::key(&resume.session_id, at.key("session_id"))?;
        Ok(resume)
    }
}

/// Which agent a session runs.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentRef {
    /// The agent.
    pub id: String,
    /// Its version; `None` is the latest.
    pub version: Option<u32>,
    /// What is different about it in this session.
    pub overrides: AgentOverrides,
}

/// What is different about an agent in one session.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AgentOverrides {
    model: Option<ModelParams>,
    system: Patch<String>,
    tools: Patch<Vec<Tool>>,
    mcp_servers: Patch<Vec<McpServer>>,
}

impl Read for CreateSession {
    fn read(value: Value, at: At<'_>) -> Result<CreateSession, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let agent = fields.required("agent")?;
        let environment_id: String = fields.required("environment_id")?;
        let initial_events = fields
            .optional::<Vec<ClientEvent>>("initial_events")?
            .unwrap_or_default();
        unserved(&mut fields, "resources")?;
        let vault_ids = fields
            .optional::<Vec<String>>("vault_ids")?
            .unwrap_or_default();
        let budget = fields.optional("budget")?;
        let title: Option<String> = fields.optional("title")?;
        let metadata = fields
            .optional::<NewMetadata>("metadata")?
            .unwrap_or_default()
            .0;
        let resume = fields.optional("resume")?;
        fields.finish()?;
        limits::text(&environment_id, 1, limits::ID, at.key("environment_id"))?;
        limits::text(
            title.as_deref().unwrap_or(""),
            0,
            limits::TITLE,
            at.key("title"),
        )?;
        check_initial_events(&initial_events, at.key("initial_events"))?;
        check_vaults(&vault_ids, at.key("vault_ids"))?;
        Ok(CreateSession {
            agent,
            environment_id,
            vault_ids,
            initial_events,
            budget,
            title,
            metadata,
            resume,
        })
    }
}

fn check_vaults(ids: &[String], at: At<'_>) -> Result<(), Invalid> {
    limits::items(ids.len(), limits::VAULTS, at)?;
    for (index, id) in ids.iter().enumerate() {
        limits::text(id, 1, limits::ID, at.index(index))?;
    }
    limits::unique(ids.iter().map(String::as_str), at)
}

fn check_initial_events(events: &[ClientEvent], at: At<'_>) -> Result<(), Invalid> {
    limits::items(events.len(), limits::INITIAL_EVENTS, at)?;
    for (index, event) in events.iter().enumerate() {
        if !matches!(event, ClientEvent::Message { .. }) {
            let item = at.index(index);
            return Err(item.key("type").invalid(format!(
                "only `user.message` can start a session, got `{}`",
                event.kind()
            )));
        }
    }
    Ok(())
}

impl Read for AgentRef {
    fn read(value: Value, at: At<'_>) -> Result<AgentRef, Invalid> {
        match value {
            Value::String(id) => {
                limits::text(&id, 1, limits::ID, at)?;
                Ok(AgentRef {
                    id,
                    version: None,
                    overrides: AgentOverrides::default(),
                })
            }
            value @ Value::Object(_) => read_object(value, at),
            other => Err(at.invalid(expected("an agent id or an object", &other))),
        }
    }
}

fn read_object(value: Value, at: At<'_>) -> Result<AgentRef, Invalid> {
    let mut fields = Fields::of(value, at)?;
    let kind = fields.tag("type")?;
    let id: String = fields.required("id")?;
    limits::text(&id, 1, limits::ID, at.key("id"))?;
    let version = fields
        .optional::<Positive>("version")?
        .map(|version| version.0);
    let overrides = match kind.as_str() {
        "agent" => AgentOverrides::default(),
        "agent_with_overrides" => AgentOverrides::take(&mut fields)?,
        other => {
            let rule = "must be `agent` or `agent_with_overrides`";
            return Err(at
                .key("type")
                .invalid(format!("{rule}, got {}", quoted(other))));
        }
    };
    fields.finish()?;
    Ok(AgentRef {
        id,
        version,
        overrides,
    })
}

impl AgentOverrides {
    fn take(fields: &mut Fields<'_>) -> Result<AgentOverrides, Invalid> {
        let at = fields.at();
        let model = match fields.patch("model")? {
            Patch::Null => {
                let refusal = Invalid::new(format!(
                    "agent_model_required: {}: cannot be null",
                    at.key("model")
                ));
                return Err(refusal.with_code("agent_model_required"));
            }
            patch => patch.value(),
        };
        let system: Patch<String> = fields.patch("system")?;
        if let Patch::Value(text) = &system {
            limits::text(text, 0, limits::SYSTEM, at.key("system"))?;
        }
        let tools = fields.patch("tools")?;
        let mcp_servers = fields.patch("mcp_servers")?;
        unserved(fields, "skills")?;
        Ok(AgentOverrides {
            model,
            system,
            tools,
            mcp_servers,
        })
    }

    fn apply(self, profile: &mut Profile) -> Result<(), Invalid> {
        if let Some(model) = self.model {
            profile.model = model.resolve();
        }
        self.system.apply(&mut profile.system);
        profile.system = profile.system.take().filter(|text| !text.is_empty());
        self.tools.apply_or_default(&mut profile.tools);
        self.mcp_servers.apply_or_default(&mut profile.mcp_servers);
        profile.check()
    }
}

impl AgentRef {
    /// The snapshot that the session takes of version `version`, whose stored profile is `profile`.
    ///
    /// # Errors
    /// When the overrides do not fit the rest of the agent.
    pub fn snapshot(self, version: u32, mut profile: Profile) -> Result<SessionAgent, Invalid> {
        self.overrides.apply(&mut profile)?;
        Ok(SessionAgent {
            kind: AgentTag::Value,
            id: self.id,
            version,
            profile,
        })
    }
}
