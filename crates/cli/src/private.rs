//! A server for one command alone: in this process, or, where root runs the command, in a process of its
//! own, which then gives up root's privileges as every server does while the command keeps its user's.

use std::process::Stdio;
use std::time::Duration;

use server::config::Config;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::apart;
use crate::client::Client;
use crate::embedded::{Embedded, private_key};
use crate::failure::Failure;
use crate::settings::Flags;

/// How long it may take beyond its own deadlines to end, before it is killed.
const PATIENCE: Duration = Duration::from_secs(30);

/// The server, until [`Private::stop`].
pub enum Private {
    /// In this process.
    Within(Box<Embedded>),
    /// In one of its own.
    Beside(Box<Beside>),
}

/// A process that serves until its standard input ends, however this one ends.
pub struct Beside {
    process: Child,
    patience: Duration,
    _says: Lines<BufReader<ChildStdout>>,
}

impl Private {
    /// Starts one with these settings, which came of `flags`, and gives a client for it.
    pub async fn start(
        flags: &Flags,
        config: Config,
        offline: bool,
    ) -> Result<(Private, Client), Failure> {
        if apart::is_wanted(&config)? {
            let (beside, client) = Beside::start(flags, &config, offline).await?;
            return Ok((Private::Beside(Box::new(beside)), client));
        }
        let (embedded, client) = Embedded::private(config, offline).await?;
        Ok((Private::Within(Box::new(embedded)), client))
    }

    /// Stops it: turns under way end in order.
    pub async fn stop(self) {
        match self {
            Private::Within(embedded) => embedded.stop().await,
            Private::Beside(beside) => beside.stop().await,
        }
    }
}

impl Beside {
    async fn start(
        flags: &Flags,
        config: &Config,
        offline: bool,
    ) -> Result<(Beside, Client), Failure> {
        let failed = |error: &dyn std::error::Error| {
            Failure::caused("cannot start a server of its own", error)
        };
        let key = private_key()?;
        let program = std::env::current_exe().map_err(|error| failed(&error))?;
        let mut process = Command::new(program)
            .args(["serve", "--private"])
            .args(offline.then_some("--offline"))
            .args(flags.words())
            .args(["--set", &format!("log.level={}", config.log.level)])
            .arg("--data")
            .arg(&config.data)
            .env("HOSTEL_API_KEY", &key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // The command hears the terminal's signals, and ends it when it is done.
            .process_group(0)
            .spawn()
            .map_err(|error| failed(&error))?;
        let says = process.stdout.take().expect("it was asked for above");
        let mut says = BufReader::new(says).lines();
        let url = loop {
            match says.next_line().await.map_err(|error| failed(&error))? {
                Some(line) => {
                    if let Some(url) = line.strip_prefix("hostel is ready on ") {
                        break url.to_owned();
                    }
                }
                None => {
                    let _ = process.wait().await;
                    return Err(Failure::new("the server of this command did not start"));
                }
            }
        };
        let stops = Duration::from_millis(config.shutdown_timeout_ms);
        let beside = Beside {
            process,
            patience: 2 * stops + PATIENCE,
            _says: says,
        };
        Ok((beside, Client::new(&url, key)?))
    }

    async fn stop(mut self) {
        drop(self.process.stdin.take());
        let ended = tokio::time::timeout(self.patience, self.process.wait()).await;
        if ended.is_err() {
            tracing::warn!("the server of this command does not end and is killed");
            let _ = self.process.kill().await;
        }
    }
}
