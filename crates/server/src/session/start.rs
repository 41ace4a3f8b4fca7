//! How a session's agent and environment become a claude that can be started.
//!
//! Reads the snapshots that the session was made with, so a later change of the agent or environment
//! does not reach a session that runs, but for what its sandbox may reach: that is always what the
//! environment says now. Pure but for the transcript, which comes from the caller.

use api::environment::hosting::Hosting;
use claude::custom::CustomTool;
use claude::launch::{Launch, Paths, RemoteServer, Session};
use claude::tools::{BuiltIn, Policy as CallPolicy};
use claude::transcript;
use serde::Deserialize as _;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use store::SessionRow;

use super::place::{self, Place};
use super::tools::{Policy as ToolPolicy, Setting, Tools};

/// What the sandbox sees where a key would be.
pub const PLACEHOLDER_KEY: &str = "hostel-placeholder-not-a-key";

/// What the server's configuration adds.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Model calls in one turn; `None` leaves it to the agent.
    pub max_turns: Option<u32>,
    /// How often claude makes a failed model call again.
    pub max_retries: u32,
    /// Whether claude may work on between turns.
    pub own_work: bool,
}

/// How the session's environment wants it to live. A session that was made before environments said
/// so lives as the default says.
#[must_use]
pub fn hosting(row: &SessionRow) -> Hosting {
    let environment: Value = serde_json::from_str(&row.environment).unwrap_or_default();
    Hosting::deserialize(&environment["hosting"]).unwrap_or_default()
}

/// How to start claude for `agent`. Where it runs is for [`seat`] to say.
#[must_use]
pub fn launch(agent: &Value, tools: &Tools, session: Session, limits: Limits) -> Launch {
    let place = Place::only();
    Launch {
        model: agent["model"]["id"].as_str().unwrap_or_default().to_owned(),
        effort: agent["model"]["effort"]["type"].as_str().map(str::to_owned),
        system: agent["system"].as_str().map(str::to_owned),
        tools: built_in(tools),
        custom_tools: custom(tools),
        mcp_servers: remote(agent, tools),
        max_turns: limits.max_turns,
        max_budget_usd: None,
        session,
        paths: paths(&place),
        model_url: model_url(&place),
        placeholder_key: PLACEHOLDER_KEY.to_owned(),
        proxy_url: Some(proxy_url(&place)),
        partial_messages: true,
        max_retries: limits.max_retries,
        own_work: limits.own_work,
        extra_env: place::TRUSTING
            .map(|(name, file)| (name.to_owned(), file.to_owned()))
            .to_vec(),
    }
}

/// Says where claude runs, and what it shows for a key.
pub fn seat(launch: &mut Launch, place: &Place, placeholder: &str) {
    launch.paths = paths(place);
    launch.model_url = model_url(place);
    launch.proxy_url = Some(proxy_url(place));
    placeholder.clone_into(&mut launch.placeholder_key);
}

fn paths(place: &Place) -> Paths {
    Paths {
        executable: place::CLI.into(),
        cwd: (&place.workspace).into(),
        home: (&place.home).into(),
        config_dir: place.config().into(),
        tmp_dir: (&place.tmp).into(),
    }
}

fn model_url(place: &Place) -> String {
    format!("http://127.0.0.1:{}", place.model_port)
}

fn proxy_url(place: &Place) -> String {
    format!("http://127.0.0.1:{}", place.proxy_port)
}

fn built_in(tools: &Tools) -> Vec<(BuiltIn, CallPolicy)> {
    let Some(set) = &tools.built_in else {
        return Vec::new();
    };
    let enabled = BuiltIn::ALL
        .into_iter()
        .map(|tool| (tool, set.setting(tool.public_name())));
    enabled
        .filter(|(_, setting)| setting.enabled)
        .map(|(tool, setting)| (tool, call_policy(setting)))
        .collect()
}

/// The agent's custom tools, as the in-process server lists them.
#[must_use]
pub fn custom(tools: &Tools) -> Vec<CustomTool> {
    let custom = tools.custom.iter().map(|tool| CustomTool {
        name: tool["name"].as_str().unwrap_or_default().to_owned(),
        description: tool["description"].as_str().unwrap_or_default().to_owned(),
        input_schema: to_raw_value(&tool["input_schema"]).expect("a JSON value serialises"),
    });
    custom.collect()
}

fn remote(agent: &Value, tools: &Tools) -> Vec<RemoteServer> {
    let servers = agent["mcp_servers"].as_array().into_iter().flatten();
    let remote = servers.filter_map(|server| {
        let (name, url) = (server["name"].as_str()?, server["url"].as_str()?);
        let set = tools.mcp.get(name)?;
        let tools = set
            .named
            .iter()
            .map(|(tool, setting)| (tool.clone(), call_policy(*setting)))
            .collect();
        Some(RemoteServer {
            name: name.to_owned(),
            url: url.to_owned(),
            default_policy: call_policy(set.default),
            tools,
        })
    });
    remote.collect()
}

fn call_policy(setting: Setting) -> CallPolicy {
    match setting {
        Setting { enabled: false, .. } => CallPolicy::Deny,
        Setting {
            policy: ToolPolicy::AlwaysAllow,
            ..
        } => CallPolicy::Allow,
        Setting {
            policy: ToolPolicy::AlwaysAsk | ToolPolicy::Auto,
            ..
        } => CallPolicy::Ask,
    }
}

/// Whether claude can go on from a mirrored transcript: one that was cut before its first prompt was
/// written down is none.
#[must_use]
pub fn resumable(files: &[(String, Vec<String>)]) -> bool {
    let main = files.iter().filter(|(subpath, _)| subpath.is_empty());
    let entries: Vec<Box<RawValue>> = main
        .flat_map(|(_, entries)| entries)
        .filter_map(|entry| RawValue::from_string(entry.clone()).ok())
        .collect();
    transcript::resumable(entries.iter().map(AsRef::as_ref))
}

/// The mirrored transcript as a tar of files below the home directory; `None` when there is none.
///
/// # Errors
/// When a path in it could lead out of claude's configuration directory, or memory ends.
pub fn transcript(
    session: &str,
    files: &[(String, Vec<String>)],
) -> std::io::Result<Option<Vec<u8>>> {
    if files.is_empty() {
        return Ok(None);
    }
    let mut tar = tar::Builder::new(Vec::new());
    for (subpath, entries) in files {
        let entries: Vec<Box<RawValue>> = entries
            .iter()
            .filter_map(|entry| RawValue::from_string(entry.clone()).ok())
            .collect();
        let key = transcript::Key {
            session: session.to_owned(),
            subpath: subpath.clone(),
        };
        let placed = transcript::restore(&key, entries.iter().map(AsRef::as_ref))
            .map_err(std::io::Error::other)?;
        for file in placed {
            let mut header = tar::Header::new_gnu();
            header.set_size(file.content.len() as u64);
            header.set_mode(0o600);
            tar.append_data(
                &mut header,
                format!("{}/{}", place::CONFIG_NAME, file.path),
                file.content.as_slice(),
            )?;
        }
    }
    tar.into_inner().map(Some)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_disabled_is_absent_and_what_asks_asks() {
        let agent = json!({"model": {"id": "m", "effort": {"type": "low"}}, "system": "s", "mcp_servers": [{"name": "docs", "url": "https://docs.example/mcp"}], "tools": [
            {"type": "agent_toolset_20260401", "configs": [{"name": "bash", "permission_policy": {"type": "always_ask"}}, {"name": "web_search", "enabled": false}]},
            {"type": "mcp_toolset", "mcp_server_name": "docs", "default_config": {"enabled": false}, "configs": [{"name": "find", "enabled": true, "permission_policy": {"type": "always_allow"}}]},
        ]});
        let limits = Limits {
            max_turns: Some(7),
            max_retries: 2,
            own_work: false,
        };
        let launch = launch(&agent, &Tools::of(&agent), Session::New("u".into()), limits);
        assert!(launch.tools.contains(&(BuiltIn::Bash, CallPolicy::Ask)));
        assert!(launch.tools.contains(&(BuiltIn::Read, CallPolicy::Allow)));
        assert!(
            !launch
                .tools
                .iter()
                .any(|(tool, _)| *tool == BuiltIn::WebSearch)
        );
        assert_eq!(launch.mcp_servers[0].default_policy, CallPolicy::Deny);
        assert_eq!(
            launch.mcp_servers[0].tools,
            [("find".to_owned(), CallPolicy::Allow)]
        );
        assert_eq!(
            (launch.effort.as_deref(), launch.max_turns),
            (Some("low"), Some(7))
        );
    }

    #[test]
    fn a_transcript_lies_below_the_configuration_directory() {
        let files = vec![(
            String::new(),
            vec![r#"{"type":"user","uuid":"1"}"#.to_owned()],
        )];
        let tar = transcript("5f0a3b0c-0000-4000-8000-000000000000", &files)
            .unwrap()
            .unwrap();
        let mut archive = tar::Archive::new(tar.as_slice());
        let paths: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(paths.len(), 1);
        assert!(
            paths[0].starts_with(".claude/projects/") && paths[0].ends_with(".jsonl"),
            "{paths:?}"
        );
        assert!(
            resumable(&files)
                && !resumable(&[(
                    String::new(),
                    vec![r#"{"type":"queue-operation"}"#.to_owned()]
                )])
        );
        assert!(transcript("x", &[]).unwrap().is_none());
        assert!(transcript("x", &[("../../etc".into(), vec!["{}".into()])]).is_err());
    }
}
