//! The tools that the sandbox brings, and their settings.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::policy::{Policy, Settings, ToolDefaults};
use crate::error::Invalid;
use crate::limits;
use crate::read::{At, Fields, NOT_SERVED, Read, quoted, unserved};

/// The built-in toolset, resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentToolset {
    /// What holds for tools without an entry in `configs`.
    pub default_config: ToolDefaults,
    /// Tools with settings of their own.
    pub configs: Vec<BuiltinConfig>,
}

/// The settings of one built-in tool, resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuiltinConfig {
    /// The same as `name`.
    #[serde(rename = "type")]
    pub kind: Builtin,
    /// Which tool.
    pub name: Builtin,
    /// Its settings.
    #[serde(flatten)]
    pub settings: ToolDefaults,
}

/// A built-in tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Builtin {
    /// Runs shell commands.
    Bash,
    /// Reads a file.
    Read,
    /// Writes a file.
    Write,
    /// Changes a file.
    Edit,
    /// Finds files by name.
    Glob,
    /// Finds text in files.
    Grep,
    /// Gets a web page.
    WebFetch,
    /// Searches the web.
    WebSearch,
}

/// What the contract gives a built-in tool without settings.
const DEFAULTS: ToolDefaults = ToolDefaults {
    enabled: true,
    permission_policy: Policy::AlwaysAllow,
};

impl Builtin {
    /// Every built-in tool.
    pub const ALL: [Builtin; 8] = [
        Builtin::Bash,
        Builtin::Read,
        Builtin::Write,
        Builtin::Edit,
        Builtin::Glob,
        Builtin::Grep,
        Builtin::WebFetch,
        Builtin::WebSearch,
    ];

    /// The name in the contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Builtin::Bash => "bash",
            Builtin::Read => "read",
            Builtin::Write => "write",
            Builtin::Edit => "edit",
            Builtin::Glob => "glob",
            Builtin::Grep => "grep",
            Builtin::WebFetch => "web_fetch",
            Builtin::WebSearch => "web_search",
        }
    }
}

impl Read for Builtin {
    fn read(value: Value, at: At<'_>) -> Result<Builtin, Invalid> {
        let name = String::read(value, at)?;
        Builtin::ALL
            .into_iter()
            .find(|tool| tool.as_str() == name)
            .ok_or_else(|| {
                let known: Vec<String> = Builtin::ALL
                    .iter()
                    .map(|tool| format!("`{}`", tool.as_str()))
                    .collect();
                at.invalid(format!(
                    "must be one of {}, got {}",
                    known.join(", "),
                    quoted(&name)
                ))
            })
    }
}

impl AgentToolset {
    /// The settings in force for `tool`.
    #[must_use]
    pub fn settings(&self, tool: Builtin) -> ToolDefaults {
        let own = self.configs.iter().find(|config| config.name == tool);
        own.map_or(self.default_config, |config| config.settings)
    }

    pub(super) fn read(mut fields: Fields<'_>) -> Result<AgentToolset, Invalid> {
        let default_config = fields
            .optional::<Settings>("default_config")?
            .unwrap_or_default()
            .over(DEFAULTS);
        let configs = fields
            .optional::<Vec<Config>>("configs")?
            .unwrap_or_default();
        let at = fields.at();
        fields.finish()?;
        limits::unique(
            configs.iter().map(|config| config.name.as_str()),
            at.key("configs"),
        )?;
        let resolve = |config: Config| BuiltinConfig {
            kind: config.name,
            name: config.name,
            settings: config.settings.over(default_config),
        };
        Ok(AgentToolset {
            default_config,
            configs: configs.into_iter().map(resolve).collect(),
        })
    }
}

/// One entry of `configs` as a request gives it.
struct Config {
    name: Builtin,
    settings: Settings,
}

impl Read for Config {
    fn read(value: Value, at: At<'_>) -> Result<Config, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let name: Builtin = fields.required("name")?;
        let kind: Option<Builtin> = fields.optional("type")?;
        if kind.is_some_and(|kind| kind != name) {
            return Err(at
                .key("type")
                .invalid(format!("must be the same as `name`, `{}`", name.as_str())));
        }
        let settings = Settings::take(&mut fields)?;
        if matches!(name, Builtin::WebSearch | Builtin::WebFetch) {
            unserved(&mut fields, "allowed_domains")?;
            unserved(&mut fields, "blocked_domains")?;
        }
        match name {
            Builtin::WebSearch => unserved(&mut fields, "user_location")?,
            Builtin::WebFetch => {
                unserved(&mut fields, "max_content_tokens")?;
                refuse_url_sources(&mut fields)?;
            }
            _ => {}
        }
        fields.finish()?;
        Ok(Config { name, settings })
    }
}

/// Takes `url_sources`, which may only say what holds anyway: every source.
fn refuse_url_sources(fields: &mut Fields<'_>) -> Result<(), Invalid> {
    let at = fields.at();
    let Some(value) = fields.optional::<Value>("url_sources")? else {
        return Ok(());
    };
    let at = at.key("url_sources");
    let mut sources = Fields::of(value, at)?;
    for key in ["user_input", "client_tool_results", "server_tool_results"] {
        let all = match sources.optional::<Value>(key)? {
            None => true,
            Some(Value::String(name)) => name == "all",
            Some(value) => value == serde_json::json!({"type": "all"}),
        };
        if !all {
            return Err(at
                .key(key)
                .invalid(format!("anything but `all` is {NOT_SERVED}")));
        }
    }
    sources.finish()
}
