//! A `hostel serve` of the measurement's own: its process, its data directory, its sessions, and
//! the processes in its sandboxes as `/proc` shows them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::http::{Client, PATIENCE, Stream};
use crate::kernel::{descendants, words};
use crate::place;

const KEY: &str = "hk-bench-0123456789abcdef0123456789";
/// A model that has a price; the scripted one answers in its place.
const MODEL: &str = "claude-sonnet-5";
/// How long a server may take to end after a failure; it gives itself less.
const END_PATIENCE: Duration = Duration::from_secs(25);
/// How often a state is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// The server, with an agent and an environment.
pub struct Hosted {
    child: Child,
    hostel: PathBuf,
    model: String,
    data: tempfile::TempDir,
    /// How to reach it.
    pub client: Client,
    agent: String,
    environment: String,
}

impl Hosted {
    /// Starts the server with this claude and this model API. Its data lies beside the claude, so
    /// that both are on one disk.
    pub async fn start(hostel: &Path, cli: &Path, model: &str) -> Result<Hosted> {
        let data = tempfile::Builder::new()
            .prefix("bench-")
            .tempdir_in(below(hostel)?)?;
        install(cli, data.path())?;
        let (child, client) = serve(hostel, data.path(), model).await?;
        let agent =
            json!({"name": "bench", "model": MODEL, "tools": [{"type": "agent_toolset_20260401"}]});
        let agent = id(&client.send("POST", "/v1/agents", &agent).await?)?;
        let mut hosted = Hosted {
            child,
            hostel: hostel.to_owned(),
            model: model.to_owned(),
            data,
            client,
            agent,
            environment: String::new(),
        };
        hosted.environment = hosted.hosting(&json!({})).await?;
        Ok(hosted)
    }

    /// Makes an environment whose sandboxes live like this.
    pub async fn hosting(&self, hosting: &Value) -> Result<String> {
        let body = json!({"name": "bench", "config": {"type": "cloud", "hosting": hosting}});
        id(&self.client.send("POST", "/v1/environments", &body).await?)
    }

    /// The environment with default settings.
    pub fn environment(&self) -> &str {
        &self.environment
    }

    /// Ends the server with a signal and starts it again on the same data. Gives the time from the
    /// start to the first answer that it can serve.
    pub async fn restart(&mut self, signal: Signal) -> Result<Duration> {
        kill(Pid::from_raw(self.pid()?.try_into()?), signal)?;
        tokio::time::timeout(PATIENCE, self.child.wait()).await??;
        let begun = Instant::now();
        (self.child, self.client) = serve(&self.hostel, self.data.path(), &self.model).await?;
        self.client.send("GET", "/readyz", &json!({})).await?;
        Ok(begun.elapsed())
    }

    /// Makes a session; with a text it begins to work at once.
    pub async fn session(&self, text: Option<&str>) -> Result<Session> {
        self.session_in(&self.environment, text).await
    }

    /// The same in another environment.
    pub async fn session_in(&self, environment: &str, text: Option<&str>) -> Result<Session> {
        let events: Vec<Value> = text.map(message).into_iter().collect();
        let body =
            json!({"agent": self.agent, "environment_id": environment, "initial_events": events});
        let id = id(&self.client.send("POST", "/v1/sessions", &body).await?)?;
        Ok(Session {
            client: self.client.clone(),
            id,
        })
    }

    /// Waits until every sandbox is gone.
    pub async fn empty(&self) -> Result<()> {
        let sandboxes = self.data.path().join("sandboxes");
        until("the end of the sandboxes", || {
            fs::read_dir(&sandboxes)
                .map_or(true, |mut entries| entries.next().is_none())
                .then_some(())
        })
        .await
    }

    /// The first process of each sandbox.
    pub fn guests(&self) -> Vec<u32> {
        let pid = |entry: fs::DirEntry| {
            let made = fs::read(entry.path().join("made.json")).ok()?;
            let made: Value = serde_json::from_slice(&made).ok()?;
            made["pid"].as_u64()?.try_into().ok()
        };
        let entries = fs::read_dir(self.data().join("sandboxes"));
        entries
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(pid)
            .collect()
    }

    /// The first process of the only sandbox.
    pub fn guest(&self) -> Option<u32> {
        self.guests().first().copied()
    }

    /// The claudes in all sandboxes.
    pub fn claudes(&self) -> Vec<u32> {
        let is_claude = |pid: &u32| {
            words(*pid, "cmdline")
                .first()
                .is_some_and(|word| word == place::CLI)
        };
        let claude = |guest: u32| descendants(guest).into_iter().find(is_claude);
        self.guests().into_iter().filter_map(claude).collect()
    }

    /// The claude in the only sandbox.
    pub async fn claude(&self) -> Result<u32> {
        until("claude in the sandbox", || self.claudes().first().copied()).await
    }

    /// Where the server keeps everything.
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// The server's process.
    pub fn pid(&self) -> Result<u32> {
        self.child.id().context("the server ended")
    }

    /// Ends the server in order and waits for it.
    pub async fn stop(mut self) -> Result<()> {
        kill(Pid::from_raw(self.pid()?.try_into()?), Signal::SIGTERM)?;
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await??;
        if !status.success() {
            bail!("the server ended with {status}");
        }
        Ok(())
    }
}

impl Drop for Hosted {
    /// A measurement that failed ends its server in order, too, so that no sandbox is left. The
    /// data directory goes afterwards, with the field.
    fn drop(&mut self) {
        let Some(pid) = self.child.id().and_then(|pid| pid.try_into().ok()) else {
            return;
        };
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        let begun = Instant::now();
        while begun.elapsed() < END_PATIENCE && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(LOOK);
        }
        let _ = self.child.start_kill();
    }
}

/// A session of it.
pub struct Session {
    client: Client,
    id: String,
}

impl Session {
    /// Reads its events, and its text as it grows.
    pub async fn stream(&self) -> Result<Stream> {
        self.client
            .stream(&format!(
                "/v1/sessions/{}/events/stream?event_deltas=agent.message",
                self.id
            ))
            .await
    }

    /// Sends a message.
    pub async fn say(&self, text: &str) -> Result<()> {
        let body = json!({"events": [message(text)]});
        self.client
            .send("POST", &format!("/v1/sessions/{}/events", self.id), &body)
            .await
            .map(drop)
    }

    /// Waits until it is idle, by asking: its last event may have been read already.
    pub async fn rest(&self) -> Result<()> {
        self.becomes("idle").await
    }

    /// Waits for a status, by asking.
    pub async fn becomes(&self, status: &str) -> Result<()> {
        let path = format!("/v1/sessions/{}", self.id);
        let asking = async {
            while self.client.send("GET", &path, &json!({})).await?["status"] != status {
                tokio::time::sleep(LOOK).await;
            }
            Ok(())
        };
        tokio::time::timeout(PATIENCE, asking)
            .await
            .with_context(|| format!("the session never becomes {status}"))?
    }

    /// Makes another one that goes on from where this one stands.
    pub async fn fork(&self) -> Result<()> {
        let path = format!("/v1/sessions/{}/fork", self.id);
        self.client.send("POST", &path, &json!({})).await.map(drop)
    }

    /// The same session of a server that was started again.
    pub fn at(&mut self, hosted: &Hosted) {
        self.client = hosted.client.clone();
    }

    /// Deletes it, with its sandbox.
    pub async fn delete(self) -> Result<()> {
        self.client
            .send("DELETE", &format!("/v1/sessions/{}", self.id), &json!({}))
            .await
            .map(drop)
    }
}

/// Starts a server and waits until it says its address.
async fn serve(hostel: &Path, data: &Path, model: &str) -> Result<(Child, Client)> {
    let mut child = Command::new(hostel)
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(data)
        .env("HOSTEL_API_KEY", KEY)
        .env("ANTHROPIC_API_KEY", "scripted")
        .env("ANTHROPIC_BASE_URL", model)
        .env(
            "HOSTEL_LOG_LEVEL",
            std::env::var("HOSTEL_LOG_LEVEL").unwrap_or("warn".to_owned()),
        )
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", hostel.display()))?;
    let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
    let line = tokio::time::timeout(PATIENCE, lines.next_line()).await??;
    let line = line.context("the server ended before it was ready")?;
    let (_, address) = line
        .rsplit_once("http://")
        .context("the server said no address")?;
    Ok((child, Client::new(address.trim().parse()?, KEY)))
}

/// The build directory: where the binary under test lies.
pub fn below(hostel: &Path) -> Result<&Path> {
    hostel
        .parent()
        .and_then(Path::parent)
        .context("the binary lies in no build directory")
}

/// Makes a program the installed claude of a data directory.
fn install(cli: &Path, data: &Path) -> Result<()> {
    let home = data.join("cli/9.9.9");
    fs::create_dir_all(&home)?;
    let target = home.join("claude");
    // A hard link shares the page cache with the bare one.
    if fs::hard_link(cli, &target).is_err() {
        fs::copy(cli, &target)?;
    }
    Ok(())
}

fn message(text: &str) -> Value {
    json!({"type": "user.message", "content": [{"type": "text", "text": text}]})
}

fn id(made: &Value) -> Result<String> {
    Ok(made["id"]
        .as_str()
        .context("an answer without an id")?
        .to_owned())
}

/// Looks until there is something.
pub async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if let Some(found) = look() {
            return Ok(found);
        }
        tokio::time::sleep(LOOK).await;
    }
    bail!("waited in vain for {what}")
}

/// The path of this program.
pub fn myself() -> Result<PathBuf> {
    std::env::current_exe().context("cannot find this program's own file")
}
