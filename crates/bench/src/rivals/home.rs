//! Where a rival lives while it is measured: a home of its own, with our claude on its PATH, our
//! model as its only API and a key that is none. Its programs run in a process namespace, so that
//! whatever they start, daemons too, ends with them.

use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::{find, places};
use crate::hosted::until;
use crate::http::{Client, PATIENCE};
use crate::kernel::descendants;

/// How often a state is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How long the kernel may take to end a process namespace.
const END_PATIENCE: Duration = Duration::from_secs(10);
/// As much of a log as an error carries.
const TAIL: usize = 2000;

/// A home.
pub struct Home {
    directory: tempfile::TempDir,
    cli: PathBuf,
    model: String,
    path: OsString,
}

impl Home {
    /// A fresh one.
    pub fn new(cli: &Path, model: &str) -> Result<Home> {
        // A short path: sockets lie in it, and the name of one has 107 bytes at most.
        let directory = tempfile::Builder::new()
            .prefix("bench-")
            .tempdir_in("/tmp")?;
        for name in ["work", "config", "tmp", "bin"] {
            fs::create_dir(directory.path().join(name))?;
        }
        let cli = cli.canonicalize()?;
        let bin = directory.path().join("bin");
        symlink(&cli, bin.join("claude"))?;
        let path = std::env::join_paths(std::iter::once(bin).chain(places()))?;
        Ok(Home {
            directory,
            cli,
            model: model.to_owned(),
            path,
        })
    }

    /// A file or folder in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts a rival's program.
    pub fn start(
        &self,
        program: &str,
        arguments: &[&OsStr],
        environment: &[(&str, &OsStr)],
    ) -> Result<Started> {
        let program = find(program).with_context(|| format!("{program} is not installed"))?;
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.join("log"))?;
        let mut command = Command::new("unshare");
        command
            .args(["--pid", "--fork", "--kill-child", "--mount-proc", "--"])
            // The shell is the namespace's first process: a rival takes a parent 1 for an orphan's.
            .args(["sh", "-c", r#""$@"; exit"#, "sh"])
            .arg(program)
            .args(arguments)
            .env_clear()
            .env("PATH", &self.path)
            .env("HOME", self.directory.path())
            .env("TMPDIR", self.join("tmp"))
            .env("CLAUDE_CONFIG_DIR", self.join("config"))
            .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
            .env("ANTHROPIC_BASE_URL", &self.model)
            .env("ANTHROPIC_API_KEY", "scripted")
            .env("DO_NOT_TRACK", "1")
            .envs(environment.iter().copied())
            .current_dir(self.join("work"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true);
        let child = command
            .spawn()
            .context("cannot start unshare: `apt-get install util-linux`")?;
        Ok(Started {
            child,
            cli: self.cli.clone(),
        })
    }

    /// The end of what its programs said.
    pub fn log(&self) -> String {
        let log = fs::read(self.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(TAIL)..]).into_owned()
    }

    /// Makes away with it.
    pub fn close(self) -> Result<()> {
        Ok(self.directory.close()?)
    }
}

/// A program that runs, with everything below it.
pub struct Started {
    child: Child,
    cli: PathBuf,
}

impl Started {
    /// Every process of it.
    pub fn processes(&self) -> Vec<u32> {
        self.child.id().map(descendants).unwrap_or_default()
    }

    /// Waits until none of them is claude.
    pub async fn quit_claude(&self) -> Result<()> {
        let is_claude =
            |pid: u32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == self.cli);
        until("the end of a rival's claude", || {
            (!self.processes().into_iter().any(is_claude)).then_some(())
        })
        .await
    }
}

impl Drop for Started {
    /// The first process of a namespace takes all others with it; until then they may write files.
    fn drop(&mut self) {
        let processes = self.processes();
        let _ = self.child.start_kill();
        let begun = Instant::now();
        let alive = |pid: &u32| Path::new("/proc").join(pid.to_string()).exists();
        while begun.elapsed() < END_PATIENCE && processes.iter().any(alive) {
            std::thread::sleep(LOOK);
        }
    }
}

/// An address that is free: nobody else is in this network.
pub fn address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?)
}

/// Asks until the answer will do.
pub async fn ask(client: &Client, path: &str, good: impl Fn(&Value) -> bool) -> Result<Value> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        match client.send("GET", path, &json!({})).await {
            Ok(answer) if good(&answer) => return Ok(answer),
            // It does not listen yet, or is not so far.
            _ => tokio::time::sleep(LOOK).await,
        }
    }
    bail!("waited in vain for {path}")
}
