//! Which tools an agent has, what its policies say of them, and how claude's names for them map to
//! the contract's.
//!
//! Read once from the session's agent snapshot; a lookup never fails, because a newer claude may call
//! something this server has not heard of.

use std::collections::BTreeMap;

use api::event::Permission;
use claude::tools::{BuiltIn, CUSTOM_SERVER, server_part};
use serde_json::{Value, json};

/// A tool as the contract names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tool {
    /// One of claude's own.
    BuiltIn(String),
    /// One of a remote MCP server.
    Mcp {
        /// The server's name in the agent's definition.
        server: String,
        /// The tool's name on that server.
        name: String,
    },
    /// One that the client runs.
    Custom(String),
}

/// What a tool's configuration says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Whether the tool exists for the agent.
    pub enabled: bool,
    /// Who decides on a call.
    pub policy: Policy,
}

/// Who decides on a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Every call runs.
    AlwaysAllow,
    /// The client decides.
    AlwaysAsk,
    /// The server would judge; this one has no judge and asks.
    Auto,
}

/// One toolset: a default and what differs from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolset {
    /// For tools that are not named.
    pub default: Setting,
    /// For those that are.
    pub named: BTreeMap<String, Setting>,
}

/// All tools of an agent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tools {
    /// The agent toolset; `None` when the agent has none.
    pub built_in: Option<Toolset>,
    /// One toolset per remote MCP server.
    pub mcp: BTreeMap<String, Toolset>,
    /// Definitions of custom tools (`name`, `description`, `input_schema`), as the agent gives them.
    pub custom: Vec<Value>,
}

impl Tools {
    /// Reads the `tools` list of a resolved agent. What it does not know it leaves out: requests were
    /// checked when the agent was made.
    #[must_use]
    pub fn of(agent: &Value) -> Tools {
        let mut tools = Tools::default();
        for tool in agent["tools"].as_array().into_iter().flatten() {
            match tool["type"].as_str() {
                Some("agent_toolset_20260401") => tools.built_in = Some(toolset(tool)),
                Some("mcp_toolset") => {
                    let server = tool["mcp_server_name"].as_str().unwrap_or_default();
                    tools.mcp.insert(server.to_owned(), toolset(tool));
                }
                Some("custom") => tools.custom.push(tool.clone()),
                _ => {}
            }
        }
        tools
    }

    /// The contract's name for what claude calls `name`.
    #[must_use]
    pub fn lookup(&self, name: &str) -> Tool {
        if let Some((server, tool)) = name
            .strip_prefix("mcp__")
            .and_then(|rest| self.split_mcp(rest))
        {
            return if server == CUSTOM_SERVER {
                Tool::Custom(tool.to_owned())
            } else {
                Tool::Mcp {
                    server: server.to_owned(),
                    name: tool.to_owned(),
                }
            };
        }
        Tool::BuiltIn(
            BuiltIn::from_cli(name)
                .map_or(name, |tool| tool.public_name())
                .to_owned(),
        )
    }

    /// Splits `server__tool`; server names may hold underscores themselves, so known ones go first.
    fn split_mcp<'a>(&'a self, rest: &'a str) -> Option<(&'a str, &'a str)> {
        let mut known: Vec<&str> = self.mcp.keys().map(String::as_str).collect();
        known.push(CUSTOM_SERVER);
        known.sort_by_key(|server| std::cmp::Reverse(server.len()));
        for server in known {
            if let Some(tool) = rest
                .strip_prefix(server_part(server).as_str())
                .and_then(|rest| rest.strip_prefix("__"))
            {
                return Some((server, tool));
            }
        }
        rest.split_once("__")
    }

    /// What the policy makes of a call, and the contract's record of that.
    #[must_use]
    pub fn evaluate(&self, tool: &Tool) -> (Permission, Value) {
        let setting = match tool {
            Tool::Custom(_) => return (Permission::Allow, json!({"type": "always_allow"})),
            Tool::BuiltIn(name) => self.built_in.as_ref().map(|set| set.setting(name)),
            Tool::Mcp { server, name } => self.mcp.get(server).map(|set| set.setting(name)),
        };
        match setting {
            Some(Setting {
                enabled: true,
                policy: Policy::AlwaysAllow,
            }) => (Permission::Allow, json!({"type": "always_allow"})),
            Some(Setting {
                enabled: true,
                policy: Policy::AlwaysAsk,
            }) => (Permission::Ask, json!({"type": "always_ask"})),
            Some(Setting {
                enabled: true,
                policy: Policy::Auto,
            }) => {
                let evaluated = json!({"type": "ask", "reason_code": "indeterminate"});
                (
                    Permission::Ask,
                    json!({"type": "auto", "evaluated_permission": evaluated}),
                )
            }
            Some(Setting { enabled: false, .. }) | None => {
                (Permission::Deny, json!({"type": "always_ask"}))
            }
        }
    }
}

impl Toolset {
    /// The setting of one tool.
    #[must_use]
    pub fn setting(&self, name: &str) -> Setting {
        self.named.get(name).copied().unwrap_or(self.default)
    }
}

fn toolset(tool: &Value) -> Toolset {
    let fallback = match tool["type"].as_str() {
        Some("mcp_toolset") => Setting {
            enabled: true,
            policy: Policy::AlwaysAsk,
        },
        _ => Setting {
            enabled: true,
            policy: Policy::AlwaysAllow,
        },
    };
    let default = setting(&tool["default_config"], fallback);
    let configs = tool["configs"].as_array().into_iter().flatten();
    let named = configs
        .filter_map(|config| {
            Some((
                config["name"].as_str()?.to_owned(),
                setting(config, default),
            ))
        })
        .collect();
    Toolset { default, named }
}

fn setting(config: &Value, fallback: Setting) -> Setting {
    Setting {
        enabled: config["enabled"].as_bool().unwrap_or(fallback.enabled),
        policy: match config["permission_policy"]["type"].as_str() {
            Some("always_allow") => Policy::AlwaysAllow,
            Some("always_ask") => Policy::AlwaysAsk,
            Some("auto") => Policy::Auto,
            _ => fallback.policy,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tools() -> Tools {
        Tools::of(&json!({"tools": [
            {"type": "agent_toolset_20260401", "default_config": {"enabled": true, "permission_policy": {"type": "always_allow"}},
             "configs": [{"name": "bash", "enabled": true, "permission_policy": {"type": "always_ask"}}, {"name": "web_fetch", "enabled": false}]},
            {"type": "mcp_toolset", "mcp_server_name": "my.server"},
            {"type": "mcp_toolset", "mcp_server_name": "a__b", "default_config": {"permission_policy": {"type": "auto"}}},
            {"type": "custom", "name": "weather"},
        ]}))
    }

    #[test]
    fn claude_s_names_become_the_contract_s() {
        let rows = [
            ("Bash", Tool::BuiltIn("bash".into())),
            ("Task", Tool::BuiltIn("Task".into())),
            ("mcp__custom__weather", Tool::Custom("weather".into())),
            (
                "mcp__my_server__find__it",
                Tool::Mcp {
                    server: "my.server".into(),
                    name: "find__it".into(),
                },
            ),
            (
                "mcp__a__b__c",
                Tool::Mcp {
                    server: "a__b".into(),
                    name: "c".into(),
                },
            ),
            (
                "mcp__new__x",
                Tool::Mcp {
                    server: "new".into(),
                    name: "x".into(),
                },
            ),
        ];
        for (name, tool) in rows {
            assert_eq!(tools().lookup(name), tool, "{name}");
        }
    }

    #[test]
    fn policies_decide_by_tool_then_by_default() {
        let rows = [
            ("Bash", Permission::Ask),
            ("Read", Permission::Allow),
            ("WebFetch", Permission::Deny),
            ("mcp__my_server__x", Permission::Ask),
            ("mcp__a__b__x", Permission::Ask),
            ("mcp__unknown__x", Permission::Deny),
            ("mcp__custom__weather", Permission::Allow),
        ];
        for (name, permission) in rows {
            let tools = tools();
            assert_eq!(tools.evaluate(&tools.lookup(name)).0, permission, "{name}");
        }
    }
}
