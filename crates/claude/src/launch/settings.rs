//! What goes into `--tools`, `--settings` and `--mcp-config`.
//!
//! How the rules work: a bare tool name covers every call. `ask` beats `allow` and every mode, and
//! is the only way to have each call asked for, because the CLI otherwise lets through what it
//! judges harmless (`echo`, `ls`, reading in the working directory). `allow` on a bare name holds
//! everywhere, also outside the working directory. `deny` beats both.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Launch, RemoteServer};
use crate::tools::{CUSTOM_SERVER, Policy, mcp_name, server_part};

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Rules {
    pub(super) allow: Vec<String>,
    pub(super) ask: Vec<String>,
    pub(super) deny: Vec<String>,
}

impl Rules {
    fn add(&mut self, policy: Policy, rule: String) {
        match policy {
            Policy::Allow => self.allow.push(rule),
            Policy::Ask => self.ask.push(rule),
            Policy::Deny => self.deny.push(rule),
        }
    }
}

/// Timers and what ends a task in the background. No tools of the public toolset: who may work
/// between turns has them.
const OWN_WORK: [&str; 5] = [
    "ScheduleWakeup",
    "CronCreate",
    "CronDelete",
    "CronList",
    "TaskStop",
];

/// The tools that exist. The empty list is a list: without the flag all tools would exist.
pub(super) fn tool_list(launch: &Launch) -> String {
    let named = launch
        .tools
        .iter()
        .filter(|(_, policy)| *policy != Policy::Deny)
        .map(|(tool, _)| tool.cli_name());
    let own = OWN_WORK.into_iter().filter(|_| launch.own_work);
    named.chain(own).collect::<Vec<&str>>().join(",")
}

pub(super) fn rules(launch: &Launch) -> Rules {
    let mut rules = Rules::default();
    for (tool, policy) in &launch.tools {
        if *policy != Policy::Deny {
            rules.add(*policy, tool.cli_name().to_owned());
        }
    }
    if launch.own_work {
        rules.allow.extend(OWN_WORK.map(str::to_owned));
    }
    if !launch.custom_tools.is_empty() {
        rules.allow.push(format!("mcp__{CUSTOM_SERVER}"));
    }
    for server in &launch.mcp_servers {
        server_rules(server, &mut rules);
    }
    rules
}

/// A rule for the server covers the tools without one of their own, unless it would also cover
/// those: `ask` beats `allow` and `deny` beats both. Then the server gets no rule, its tools ask,
/// and the host answers from the definition.
fn server_rules(server: &RemoteServer, rules: &mut Rules) {
    let weaker = |policy: Policy| match server.default_policy {
        Policy::Allow => false,
        Policy::Ask => policy == Policy::Allow,
        Policy::Deny => policy != Policy::Deny,
    };
    if !server.tools.iter().any(|(_, policy)| weaker(*policy)) {
        rules.add(
            server.default_policy,
            format!("mcp__{}", server_part(&server.name)),
        );
    }
    for (tool, policy) in &server.tools {
        if *policy != server.default_policy {
            rules.add(*policy, mcp_name(&server.name, tool));
        }
    }
}

pub(super) fn settings(launch: &Launch) -> String {
    json!({
        "permissions": rules(launch),
        // Otherwise each conversation begins with a note on how to sign commits.
        "attribution": {"commit": "", "pr": ""},
        // Otherwise every fetch first asks the vendor's API about the domain.
        "skipWebFetchPreflight": true,
        // Otherwise a process that can reach our socket can make this session run a turn.
        "crossSessionInbound": "refuse",
    })
    .to_string()
}

/// The MCP servers, if there are any.
pub(super) fn mcp_config(launch: &Launch) -> Option<String> {
    let mut servers = Map::new();
    if !launch.custom_tools.is_empty() {
        servers.insert(
            CUSTOM_SERVER.to_owned(),
            json!({"type": "sdk", "name": CUSTOM_SERVER}),
        );
    }
    for server in &launch.mcp_servers {
        servers.insert(
            server.name.clone(),
            json!({"type": "http", "url": server.url}),
        );
    }
    (!servers.is_empty()).then(|| json!({"mcpServers": Value::Object(servers)}).to_string())
}
