//! The tools of one remote MCP server, and their settings.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::policy::{Policy, Settings, ToolDefaults};
use crate::error::Invalid;
use crate::limits;
use crate::read::{At, Fields, Read};

/// The toolset of a remote MCP server, resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct McpToolset {
    /// The server, by its name in the agent's `mcp_servers`.
    pub mcp_server_name: String,
    /// What holds for tools without an entry in `configs`.
    pub default_config: ToolDefaults,
    /// Tools with settings of their own.
    pub configs: Vec<McpToolConfig>,
}

/// The settings of one remote tool, resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct McpToolConfig {
    /// The tool's name on its server.
    pub name: String,
    /// Its settings.
    #[serde(flatten)]
    pub settings: ToolDefaults,
}

/// What the contract gives a remote tool without settings: the client is asked.
const DEFAULTS: ToolDefaults = ToolDefaults {
    enabled: true,
    permission_policy: Policy::AlwaysAsk,
};

impl McpToolset {
    /// The settings in force for the tool `name`.
    #[must_use]
    pub fn settings(&self, name: &str) -> ToolDefaults {
        let own = self.configs.iter().find(|config| config.name == name);
        own.map_or(self.default_config, |config| config.settings)
    }

    pub(super) fn read(mut fields: Fields<'_>) -> Result<McpToolset, Invalid> {
        let at = fields.at();
        let mcp_server_name: String = fields.required("mcp_server_name")?;
        limits::text(
            &mcp_server_name,
            1,
            limits::MCP_NAME,
            at.key("mcp_server_name"),
        )?;
        let default_config = fields
            .optional::<Settings>("default_config")?
            .unwrap_or_default()
            .over(DEFAULTS);
        let configs = fields
            .optional::<Vec<Config>>("configs")?
            .unwrap_or_default();
        fields.finish()?;
        limits::unique(
            configs.iter().map(|config| config.name.as_str()),
            at.key("configs"),
        )?;
        let resolve = |config: Config| McpToolConfig {
            name: config.name,
            settings: config.settings.over(default_config),
        };
        Ok(McpToolset {
            mcp_server_name,
            default_config,
            configs: configs.into_iter().map(resolve).collect(),
        })
    }
}

/// One entry of `configs` as a request gives it.
struct Config {
    name: String,
    settings: Settings,
}

impl Read for Config {
    fn read(value: Value, at: At<'_>) -> Result<Config, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let name: String = fields.required("name")?;
        limits::text(&name, 1, limits::TOOL_NAME, at.key("name"))?;
        let settings = Settings::take(&mut fields)?;
        fields.finish()?;
        Ok(Config { name, settings })
    }
}
