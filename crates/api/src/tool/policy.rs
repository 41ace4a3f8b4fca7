//! Whether a tool may run: the settings that toolsets and their single tools share.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Invalid;
use crate::read::{At, Fields, NOT_SERVED, Read, quoted};

/// Who decides about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Policy {
    /// It runs.
    AlwaysAllow,
    /// The client is asked each time.
    AlwaysAsk,
}

/// What holds for the tools of a set that have no setting of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolDefaults {
    /// Whether the model sees the tool.
    pub enabled: bool,
    /// Who decides about a call.
    pub permission_policy: Policy,
}

/// The two settings as a request gives them, each optional.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Settings {
    enabled: Option<bool>,
    permission_policy: Option<Policy>,
}

impl Read for Policy {
    fn read(value: Value, at: At<'_>) -> Result<Policy, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let name = fields.tag("type")?;
        fields.finish()?;
        match name.as_str() {
            "always_allow" => Ok(Policy::AlwaysAllow),
            "always_ask" => Ok(Policy::AlwaysAsk),
            "auto" => Err(at.key("type").invalid(format!("`auto` is {NOT_SERVED}"))),
            other => {
                let rule = "must be `always_allow` or `always_ask`";
                Err(at
                    .key("type")
                    .invalid(format!("{rule}, got {}", quoted(other))))
            }
        }
    }
}

impl Settings {
    /// Takes the two keys.
    pub(super) fn take(fields: &mut Fields<'_>) -> Result<Settings, Invalid> {
        Ok(Settings {
            enabled: fields.optional("enabled")?,
            permission_policy: fields.optional("permission_policy")?,
        })
    }

    /// Fills in what was not given.
    pub(super) fn over(self, defaults: ToolDefaults) -> ToolDefaults {
        ToolDefaults {
            enabled: self.enabled.unwrap_or(defaults.enabled),
            permission_policy: self.permission_policy.unwrap_or(defaults.permission_policy),
        }
    }
}

impl Read for Settings {
    fn read(value: Value, at: At<'_>) -> Result<Settings, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let settings = Settings::take(&mut fields)?;
        fields.finish()?;
        Ok(settings)
    }
}
