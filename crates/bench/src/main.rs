//! Measures what the project promises, each promise beside its baseline, for `cargo xtask bench`.
//!
//! ```text
//!   cargo xtask bench ──starts──▶ bench <hostel> <cli> <rounds> <name>… ──rows of samples (JSON)──▶ xtask judges
//!                                   ├── hosted: a `hostel serve` of its own, over HTTP
//!                                   ├── bare: the claude CLI without any of ours
//!                                   ├── rivals: other products, when they are installed
//!                                   ├── asker, connector, stand_in, proxy: this binary again, inside a sandbox or beside
//!                                   └── the scripted model, in this process
//! ```
//!
//! It never decides whether a promise holds, and leaves nothing behind: no process, no sandbox, no
//! file.

mod asker;
mod bare;
mod connector;
mod create;
mod egress;
mod ephemeral;
mod events;
mod files;
mod frozen;
mod hosted;
mod http;
mod hybrid;
mod idle;
mod kernel;
mod memory;
mod place;
mod proxy;
mod quiet;
mod rivals;
mod row;
mod saved;
mod snapshot;
mod stand_in;
mod turn;
mod warm;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

use row::Row;

/// What every measurement is given.
pub struct Setting {
    /// The release binary under test.
    pub hostel: PathBuf,
    /// The claude CLI.
    pub cli: PathBuf,
    /// Measured rounds.
    pub rounds: usize,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args();
    let program = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    // Inside a sandbox this binary is the other side of a measurement.
    let result = match rest.first().map(String::as_str) {
        _ if program == place::CLI => stand_in::run(),
        Some("files") => files::run(&rest[1..]),
        Some("proxy") => proxy::serve(rest.get(1).map_or("", String::as_str)),
        Some("ask") => asker::run(rest.get(1).map_or("", String::as_str)),
        Some("connect") => {
            let host = rest.get(1).map_or("", String::as_str);
            connector::run(host, rest.get(2).map(String::as_str))
        }
        _ => measure(&rest),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &[String]) -> Result<()> {
    let [hostel, cli, rounds, names @ ..] = arguments else {
        bail!("usage: bench <hostel> <claude> <rounds> <name>…; `cargo xtask bench` does that");
    };
    let setting = Setting {
        hostel: hostel.into(),
        cli: cli.into(),
        rounds: rounds.parse().context("the rounds are not a number")?,
    };
    if names.iter().any(|name| name == "rivals") {
        // Before there is another thread: a thread takes its network from the one that starts it.
        rivals::alone()?;
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let mut rows = Vec::new();
    for name in names {
        let measured = runtime.block_on(async {
            let (mut stop, mut interrupt) = (
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
            );
            tokio::select! {
                rows = one(&setting, name) => rows,
                // What was started is dropped here, which ends it.
                _ = stop.recv() => bail!("stopped"),
                _ = interrupt.recv() => bail!("stopped"),
            }
        });
        rows.extend(measured.with_context(|| format!("bench {name}"))?);
    }
    println!("{}", serde_json::to_string(&rows)?);
    Ok(())
}

async fn one(setting: &Setting, name: &str) -> Result<Vec<Row>> {
    match name {
        "create" => create::run(setting).await,
        "turn" => turn::run(setting, turn::Which::First).await,
        "second" => turn::run(setting, turn::Which::Second).await,
        "turns" => turn::run(setting, turn::Which::Both).await,
        "crowd" => turn::crowd(setting).await,
        "warm" => warm::one(setting).await,
        "warm-ten" => warm::ten(setting).await,
        "hybrid" => hybrid::run(setting).await,
        "idle" => idle::run(setting).await,
        "frozen" => frozen::run(setting).await,
        "saved" => saved::run(setting).await,
        "ephemeral" => ephemeral::run(setting).await,
        "rivals" => rivals::run(setting).await,
        "egress" => egress::run(setting).await,
        "proxy" => proxy::run(setting).await,
        "events" => events::run(setting).await,
        "memory" => memory::run(setting).await,
        "snapshot" => snapshot::run(setting).await,
        _ => bail!("no such measurement"),
    }
}
