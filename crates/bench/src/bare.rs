//! The baseline of a turn: the claude CLI without any of ours, started with the arguments and the
//! environment that the server gives it, in a directory of its own, straight at the model.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::hosted::Hosted;
use crate::http;
use crate::kernel::words;

/// What the server starts claude with.
pub struct Recipe {
    cli: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Recipe {
    /// Reads it off the claude of a server with one live session.
    pub async fn of(hosted: &Hosted, cli: PathBuf, model: &str) -> Result<Recipe> {
        let pid = hosted.claude().await?;
        let mut arguments = words(pid, "cmdline").split_off(1);
        arguments.retain(|argument| !argument.starts_with("--session-id="));
        let mut environment = Vec::new();
        for variable in words(pid, "environ") {
            let (name, value) = variable.split_once('=').context("a strange environment")?;
            // The proxy is a way out of the sandbox; outside there is nothing behind it.
            if !name.to_lowercase().ends_with("_proxy") {
                environment.push((name.to_owned(), value.to_owned()));
            }
        }
        environment.push(("ANTHROPIC_BASE_URL".to_owned(), model.to_owned()));
        Ok(Recipe {
            cli,
            arguments,
            environment,
        })
    }

    /// Starts it and writes the first message, as the server does.
    pub async fn start(&self, text: &str) -> Result<Bare> {
        self.spawn(&prompt(text)?).await
    }

    /// Starts it and waits until it has read its definition.
    pub async fn ready(&self) -> Result<Bare> {
        let mut bare = self.spawn(&[]).await?;
        http::until(&mut bare.output, &mut bare.bytes, b"\"control_response\"").await?;
        Ok(bare)
    }

    async fn spawn(&self, lines: &[u8]) -> Result<Bare> {
        let home = tempfile::tempdir()?;
        for name in ["work", "config", "tmp"] {
            std::fs::create_dir(home.path().join(name))?;
        }
        let mut command = Command::new(&self.cli);
        command
            .args(&self.arguments)
            .arg(format!("--session-id={}", uuid()?))
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("HOME", home.path())
            .env("PWD", home.path().join("work"))
            .env("CLAUDE_CONFIG_DIR", home.path().join("config"))
            .env("CLAUDE_CODE_TMPDIR", home.path().join("tmp"))
            .current_dir(home.path().join("work"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let initialize =
            json!({"subtype": "initialize", "systemPrompt": [claude::launch::DEFAULT_SYSTEM]});
        let mut first = claude::input::request("initialize", &initialize).to_vec();
        first.extend_from_slice(lines);
        let started = Instant::now();
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {}", self.cli.display()))?;
        let mut input = child.stdin.take().context("no input")?;
        let output = child.stdout.take().context("no output")?;
        input.write_all(&first).await?;
        Ok(Bare {
            child,
            input,
            output,
            bytes: Vec::new(),
            home,
            started,
        })
    }
}

/// One that runs.
pub struct Bare {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    bytes: Vec<u8>,
    home: tempfile::TempDir,
    /// When it was started.
    pub started: Instant,
}

impl Bare {
    /// Its process.
    pub fn pid(&self) -> Result<u32> {
        self.child.id().context("the bare claude ended")
    }

    /// Waits for the next piece of text.
    pub async fn delta(&mut self) -> Result<Instant> {
        http::until(&mut self.output, &mut self.bytes, b"\"text_delta\"").await
    }

    /// Waits for the end of the turn.
    pub async fn idle(&mut self) -> Result<()> {
        http::until(&mut self.output, &mut self.bytes, b"\"state\":\"idle\"")
            .await
            .map(drop)
    }

    /// Says something more.
    pub async fn say(&mut self, text: &str) -> Result<()> {
        Ok(self.input.write_all(&prompt(text)?).await?)
    }

    /// Ends it.
    pub async fn stop(mut self) -> Result<()> {
        self.child.kill().await?;
        self.home.close()?;
        Ok(())
    }
}

fn prompt(text: &str) -> Result<Vec<u8>> {
    let content = json!([{"type": "text", "text": text}]);
    Ok(claude::input::user(&uuid()?, &content)?.to_vec())
}

fn uuid() -> Result<String> {
    let uuid = std::fs::read_to_string("/proc/sys/kernel/random/uuid")?;
    Ok(uuid.trim().to_owned())
}
