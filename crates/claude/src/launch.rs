//! How to start the CLI for a session: its arguments, its environment and its first message.
//!
//! [`Launch`] is plain data; [`Launch::argv`], [`Launch::env`] and [`Launch::initialize`] turn it
//! into what a process needs. The environment is complete: whoever starts the process clears
//! everything else. Nothing here is secret: the key is a placeholder that only works through the
//! way out of the sandbox.
//!
//! Arguments are visible to everybody on a machine and each is limited to 128 KiB, so what may be
//! large or private (the system prompt) goes into `initialize`. `initialize` and the first prompt
//! may be written in one go right after the start.
//!
//! # Going on after a crash
//!
//! Start with [`Session::Resume`] and `interrupted: true`, and write `initialize` and the message
//! of the cut turn again **with its first uuid**. Observed for every moment of the cut:
//!
//! - the transcript has no prompt at all: nothing to resume, the CLI exits with "No conversation
//!   found". Start it as [`Session::New`] with the same uuid;
//!   [`crate::transcript::resumable`] tells the two apart;
//! - it lacks the message: the message is handled like a new one;
//! - it has the message, and the turn was cut: the turn goes on by itself, and the message that was
//!   written again is dropped. Half-done answers are asked for anew, so a tool may run twice;
//!   results that were recorded are kept. The CLI may add a note of its own ("Continue from where
//!   you left off.") under a new uuid. The result names the message's uuid;
//! - the turn had ended, or was stopped: the message is reported as completed, the state becomes
//!   idle, and there is no result.
//!
//! A `CommandLifecycle` with `Completed` for the message may come at once in the last two cases,
//! so it says nothing: wait for the state to become idle and see whether a result came before.
//!
//! Without `interrupted`, nothing runs by itself and the same message would be said twice.

pub(crate) mod environment;
mod settings;

use std::path::PathBuf;

use bytes::Bytes;
use serde::Serialize;

use crate::custom::CustomTool;
use crate::input;
use crate::tools::{BuiltIn, CUSTOM_SERVER, Policy, ToolName};

/// The system prompt of an agent that has none. The CLI's own prompt is made for a person's
/// terminal (and 42 kB long), and an empty one leaves a model with tools but without a word on
/// what it is for.
pub const DEFAULT_SYSTEM: &str = "You are a helpful agent. You work on your own in a sandbox, \
with the tools you are given. Do what the user asks, check that it worked, and answer briefly.";

/// The hook that is called at the end of each turn of a process with work of its own; see
/// [`crate::frame::OwnWork`].
pub const STOP_HOOK: &str = "stop";

/// Everything the CLI is told at its start.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The model's id.
    pub model: String,
    /// How hard the model thinks: `low`, `medium`, `high`, `xhigh` or `max`.
    pub effort: Option<String>,
    /// The agent's system prompt; without one it is [`DEFAULT_SYSTEM`].
    pub system: Option<String>,
    /// Tools of the built-in toolset; one that is not listed does not exist.
    pub tools: Vec<(BuiltIn, Policy)>,
    /// The agent's custom tools. They never ask.
    pub custom_tools: Vec<CustomTool>,
    /// Remote MCP servers.
    pub mcp_servers: Vec<RemoteServer>,
    /// Calls of the model for one prompt.
    pub max_turns: Option<u32>,
    /// Dollars that the process may spend, checked after each call of the model.
    pub max_budget_usd: Option<f64>,
    /// Which conversation.
    pub session: Session,
    /// Where the process runs.
    pub paths: Paths,
    /// The model API inside the sandbox, such as `http://127.0.0.1:9000`.
    pub model_url: String,
    /// What stands for the model API's key inside the sandbox.
    pub placeholder_key: String,
    /// The HTTP proxy inside the sandbox, such as `http://127.0.0.1:9001`.
    pub proxy_url: Option<String>,
    /// Whether the model's stream is passed on as it comes.
    pub partial_messages: bool,
    /// How often a failed call of the model is tried again. The CLI's own 10 makes a wrong key look
    /// like minutes of silence.
    pub max_retries: u32,
    /// Whether the process may work on between two turns: shells in the background, timers. Then it
    /// begins turns of its own, and tells what it still has to do with [`STOP_HOOK`].
    pub own_work: bool,
    /// More variables; they win over those made here.
    pub extra_env: Vec<(String, String)>,
}

/// Absolute paths where the process runs.
#[derive(Debug, Clone)]
pub struct Paths {
    /// The CLI.
    pub executable: PathBuf,
    /// The working directory. It is not an argument: start the process there.
    pub cwd: PathBuf,
    /// The home directory.
    pub home: PathBuf,
    /// Transcripts and settings; private to the session.
    pub config_dir: PathBuf,
    /// Temporary files; private to the session, because the CLI's peer sockets lie there.
    pub tmp_dir: PathBuf,
}

/// Which conversation a process carries on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Session {
    /// A new one with this uuid. Refused by the CLI when its transcript exists.
    New(String),
    /// The one with this uuid, whose transcript lies below the configuration directory.
    Resume {
        /// The session's uuid.
        id: String,
        /// Whether a turn that was cut is taken up again; see the module's head.
        interrupted: bool,
    },
}

/// A remote MCP server.
#[derive(Debug, Clone)]
pub struct RemoteServer {
    /// Its name.
    pub name: String,
    /// Its address.
    pub url: String,
    /// The policy of tools that are not listed.
    pub default_policy: Policy,
    /// Tools with a policy of their own.
    pub tools: Vec<(String, Policy)>,
}

impl Launch {
    /// The arguments, the executable first.
    pub fn argv(&self) -> Vec<String> {
        let mut argv = vec![self.paths.executable.to_string_lossy().into_owned()];
        let mut add = |argument: &str| argv.push(argument.to_owned());
        for argument in BASE {
            add(argument);
        }
        add(&format!("--model={}", self.model));
        if let Some(effort) = &self.effort {
            add(&format!("--effort={effort}"));
        }
        add(&format!("--tools={}", settings::tool_list(self)));
        add(&format!("--settings={}", settings::settings(self)));
        if let Some(servers) = settings::mcp_config(self) {
            add(&format!("--mcp-config={servers}"));
        }
        if self.partial_messages {
            add("--include-partial-messages");
        }
        if let Some(turns) = self.max_turns {
            add(&format!("--max-turns={turns}"));
        }
        if let Some(dollars) = self.max_budget_usd {
            add(&format!("--max-budget-usd={dollars}"));
        }
        match &self.session {
            Session::New(id) => add(&format!("--session-id={id}")),
            Session::Resume { id, .. } => add(&format!("--resume={id}")),
        }
        argv
    }

    /// The whole environment.
    pub fn env(&self) -> Vec<(String, String)> {
        environment::environment(self)
    }

    /// Whether it does nothing before its first prompt: a turn that was cut is taken up at once, and
    /// so is what came due of its own.
    #[must_use]
    pub fn waits_for_prompt(&self) -> bool {
        let cut = matches!(
            self.session,
            Session::Resume {
                interrupted: true,
                ..
            }
        );
        !cut && !self.own_work
    }

    /// The first line to write.
    pub fn initialize(&self, request_id: &str) -> Bytes {
        let system = self.system.as_deref().unwrap_or(DEFAULT_SYSTEM);
        input::request(
            request_id,
            &Initialize {
                subtype: "initialize",
                system_prompt: [system],
                sdk_mcp_servers: (!self.custom_tools.is_empty()).then_some([CUSTOM_SERVER]),
                hooks: self.own_work.then_some(Hooks {
                    stop: [Hook {
                        hook_callback_ids: [STOP_HOOK],
                    }],
                }),
            },
        )
    }

    /// What the agent's definition says about a call that the CLI asks about. The CLI is told all
    /// policies at its start, but where its rules cannot express one (a remote server whose tools
    /// are denied but for a few) it asks, and some calls it asks about in spite of an allow rule.
    pub fn policy_of(&self, cli_tool_name: &str) -> Policy {
        let servers: Vec<&str> = self
            .mcp_servers
            .iter()
            .map(|server| server.name.as_str())
            .collect();
        match ToolName::parse(cli_tool_name, &servers) {
            ToolName::BuiltIn(tool) => {
                let found = self.tools.iter().find(|(listed, _)| *listed == tool);
                found.map_or(Policy::Deny, |(_, policy)| *policy)
            }
            ToolName::Custom(_) => Policy::Allow,
            ToolName::Mcp { server, tool } => self
                .mcp_servers
                .iter()
                .find(|known| crate::tools::server_part(&known.name) == server)
                .map_or(Policy::Deny, |known| known.policy_of(tool)),
            ToolName::Other(_) => Policy::Deny,
        }
    }
}

impl RemoteServer {
    /// The policy of one of the server's tools.
    pub fn policy_of(&self, tool: &str) -> Policy {
        let found = self.tools.iter().find(|(name, _)| name == tool);
        found.map_or(self.default_policy, |(_, policy)| *policy)
    }
}

/// The protocol, no settings files of the workspace (which would bring rules, hooks and servers
/// of strangers), only our MCP servers, prompts routed to the host, transcripts mirrored, no
/// slash commands. Not `--bare`: it takes away Write, Glob, Grep, WebFetch and WebSearch whatever
/// `--tools` says.
const BASE: [&str; 10] = [
    "--output-format=stream-json",
    "--verbose",
    "--input-format=stream-json",
    "--setting-sources=",
    "--strict-mcp-config",
    "--permission-prompt-tool=stdio",
    "--permission-mode=default",
    "--session-mirror",
    "--disable-slash-commands",
    "--no-chrome",
];

#[derive(Serialize)]
struct Initialize<'a> {
    subtype: &'a str,
    #[serde(rename = "systemPrompt")]
    system_prompt: [&'a str; 1],
    #[serde(rename = "sdkMcpServers", skip_serializing_if = "Option::is_none")]
    sdk_mcp_servers: Option<[&'a str; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hooks: Option<Hooks>,
}

#[derive(Serialize)]
struct Hooks {
    #[serde(rename = "Stop")]
    stop: [Hook; 1],
}

#[derive(Serialize)]
struct Hook {
    #[serde(rename = "hookCallbackIds")]
    hook_callback_ids: [&'static str; 1],
}

#[cfg(test)]
mod tests;
