//! `omnigent` (PyPI): a server that keeps the sessions, and a host that forks a runner for each
//! one; the runner drives claude through the Agent SDK for Python. Measured with 0.19.0, which
//! needs Python 3.12. Its runner is not in a sandbox.

use std::ffi::OsStr;
use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::home::{self, Home, Started};
use super::{Rival, TEXT};
use crate::http::Client;

const PROGRAM: &str = "omnigent";
/// The first text.
const DELTA: &[u8] = br#""delta": "Hello"#;
/// The agent, driven through the SDK; without a model it asks its catalogue on the internet.
const AGENT: &str = "\
spec_version: 1
name: bench
prompt: You are a helpful assistant.
executor:
  type: omnigent
  model: claude-sonnet-5
  config:
    harness: claude-sdk
";
/// What would call out, or ask somebody.
const ENVIRONMENT: [(&str, &str); 4] = [
    ("OMNIGENT_DISABLE_TELEMETRY", "true"),
    ("OMNIGENT_NO_UPDATE_CHECK", "1"),
    ("OMNIGENT_DISABLE_KEYRING", "1"),
    ("OMNIGENT_HOST_NO_OPEN", "1"),
];

/// The server and the host.
pub struct Omnigent {
    host: Started,
    _server: Started,
    client: Client,
    agent: String,
    host_id: String,
    work: String,
    /// Sessions that were made since the last [`Rival::clear`].
    sessions: Mutex<Vec<String>>,
}

impl Rival for Omnigent {
    const NAME: &str = "omnigent";
    const PROGRAMS: &[&str] = &[PROGRAM];
    const INSTALL: &str = "python3.12 -m venv DIR && DIR/bin/pip install omnigent; --rivals DIR";

    async fn start(home: &Home) -> Result<Omnigent> {
        let folder = home.join("agent");
        fs::create_dir(&folder)?;
        fs::write(folder.join("config.yaml"), AGENT)?;
        let address = home::address()?;
        let (url, port) = (format!("http://{address}"), address.port().to_string());
        let (cli, sockets) = (home.join("bin/claude"), home.join("tmp"));
        let mut environment = ENVIRONMENT
            .map(|(name, value)| (name, OsStr::new(value)))
            .to_vec();
        environment.push(("OMNIGENT_CLAUDE_PATH", cli.as_os_str()));
        // Else below /tmp, whatever `TMPDIR` says, where they would stay.
        environment.push(("OMNIGENT_HARNESS_TMP_PARENT", sockets.as_os_str()));
        let arguments = [
            "server",
            "--host",
            "127.0.0.1",
            "--no-open",
            "--port",
            &port,
            "--agent",
        ];
        let mut arguments = arguments.map(OsStr::new).to_vec();
        arguments.push(folder.as_os_str());
        let server = home.start(PROGRAM, &arguments, &environment)?;
        let client = Client::new(address, "none");
        let agents = home::ask(&client, "/v1/agents", |agents| named(agents).is_some()).await?;
        let agent = named(&agents).context("no agent")?;
        let arguments = ["host", &url, "--no-open", "--non-interactive"];
        let host = home.start(PROGRAM, &arguments.map(OsStr::new), &environment)?;
        let hosts = home::ask(&client, "/v1/hosts", |hosts| {
            hosts["hosts"][0]["status"] == "online"
        })
        .await?;
        Ok(Omnigent {
            host,
            _server: server,
            client,
            agent,
            host_id: text(&hosts["hosts"][0]["host_id"])?,
            work: home.join("work").display().to_string(),
            sessions: Mutex::default(),
        })
    }

    async fn first(&self) -> Result<Instant> {
        let content = json!([{"type": "input_text", "text": TEXT}]);
        let message = json!({"type": "message", "data": {"role": "user", "content": content}});
        let body = json!({"agent_id": self.agent, "host_id": self.host_id, "workspace": self.work, "initial_items": [message]});
        let made = self.client.send("POST", "/v1/sessions", &body).await?;
        let id = text(&made["id"])?;
        let stream = format!("/v1/sessions/{id}/stream");
        self.made().push(id);
        // What was said before the stream was open is not repeated; claude takes far longer.
        self.client.stream(&stream).await?.until(DELTA).await
    }

    async fn clear(&self) -> Result<()> {
        let sessions = std::mem::take(&mut *self.made());
        for id in sessions {
            let path = format!("/v1/sessions/{id}");
            self.client.send("DELETE", &path, &json!({})).await?;
        }
        self.host.quit_claude().await
    }
}

impl Omnigent {
    fn made(&self) -> MutexGuard<'_, Vec<String>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The id of our agent among those that the server knows.
fn named(agents: &Value) -> Option<String> {
    let agents = agents["data"].as_array()?;
    let ours = agents.iter().find(|agent| agent["name"] == "bench")?;
    text(&ours["id"]).ok()
}

fn text(value: &Value) -> Result<String> {
    let text = value.as_str().context("an answer without an id")?;
    Ok(text.to_owned())
}
