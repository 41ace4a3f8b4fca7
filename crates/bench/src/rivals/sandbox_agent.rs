//! `sandbox-agent` (npm): a server that starts an adapter for each session, a node process that
//! speaks the Agent Client Protocol and drives claude. Measured with 0.4.2 and
//! `@zed-industries/claude-agent-acp` 0.23.1. It makes no sandbox; it is meant to run in one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::home::{self, Home, Started};
use super::{Rival, TEXT};
use crate::http::Client;
use crate::kernel::words;

const PROGRAM: &str = "sandbox-agent";
const ADAPTER: &str = "claude-agent-acp";
/// The first text; a chunk without any comes before it.
const DELTA: &[u8] = br#""text":"Hello"#;

/// The server.
pub struct SandboxAgent {
    started: Started,
    client: Client,
    work: String,
    sessions: AtomicUsize,
}

impl Rival for SandboxAgent {
    const NAME: &str = "sandbox-agent";
    const PROGRAMS: &[&str] = &[PROGRAM, ADAPTER];
    const INSTALL: &str =
        "npm install --prefix DIR sandbox-agent @zed-industries/claude-agent-acp; --rivals DIR";

    async fn start(home: &Home) -> Result<SandboxAgent> {
        let address = home::address()?;
        let port = address.port().to_string();
        let arguments = [
            "server",
            "--host",
            "127.0.0.1",
            "--port",
            &port,
            "--no-token",
            "--no-telemetry",
        ];
        let environment = [
            ("CLAUDE_CODE_EXECUTABLE", home.join("bin/claude")),
            // Else it installs what it does not find.
            ("SANDBOX_AGENT_REQUIRE_PREINSTALL", "1".into()),
        ];
        let started = home.start(
            PROGRAM,
            &arguments.map(AsRef::as_ref),
            &environment
                .each_ref()
                .map(|(name, value)| (*name, value.as_os_str())),
        )?;
        let client = Client::new(address, "none");
        home::ask(&client, "/v1/health", |health| health["status"] == "ok").await?;
        Ok(SandboxAgent {
            started,
            client,
            work: home.join("work").display().to_string(),
            sessions: AtomicUsize::new(0),
        })
    }

    async fn first(&self) -> Result<Instant> {
        let number = self.sessions.fetch_add(1, Ordering::Relaxed);
        let path = format!("/v1/acp/bench-{number}");
        let capabilities = json!({"protocolVersion": 1, "clientCapabilities": {}});
        self.call(&format!("{path}?agent=claude"), "initialize", &capabilities)
            .await?;
        let place = json!({"cwd": self.work, "mcpServers": []});
        let made = self.call(&path, "session/new", &place).await?;
        let id = made["result"]["sessionId"]
            .as_str()
            .with_context(|| format!("no session: {made}"))?;
        let mut stream = self.client.stream(&path).await?;
        let prompt = json!({"sessionId": id, "prompt": [{"type": "text", "text": TEXT}]});
        // The call of the prompt is answered at the end of the turn.
        let (at, _) = tokio::try_join!(
            stream.until(DELTA),
            self.call(&path, "session/prompt", &prompt)
        )?;
        Ok(at)
    }

    /// `DELETE` of a session does not answer in 0.4.2, so the adapters are ended by process id;
    /// their claudes end with them.
    async fn clear(&self) -> Result<()> {
        for pid in self.started.processes() {
            let name = words(pid, "cmdline");
            if name.iter().take(2).any(|word| word.ends_with(ADAPTER)) {
                kill(Pid::from_raw(pid.try_into()?), Signal::SIGKILL)?;
            }
        }
        self.started.quit_claude().await
    }
}

impl SandboxAgent {
    async fn call(&self, path: &str, method: &str, params: &Value) -> Result<Value> {
        let body = json!({"jsonrpc": "2.0", "id": method, "method": method, "params": params});
        self.client.send("POST", path, &body).await
    }
}
