//! The hidden verb that keeps the sandboxes of a server without privileges: see the crate `sandbox`. It
//! reads no settings and no variables, and its command line says how it logs and nothing else.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use sandbox::guest_channel::GUEST;
use sandbox::keeper::{Keeper, inherited};
use server::config::{Log, LogFormat};
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::Failure;
use crate::{logs, versions};

/// Threads that wait for the kernel or the disk, for all sandboxes together. More work waits for one.
const THREADS: usize = 32;

/// How long a thread that hangs in the kernel may hold up the end.
const PATIENCE: Duration = Duration::from_secs(2);

/// What an end other than the server's exits with.
const ENDED: u8 = 3;

/// Keeps sandboxes until the server ends.
pub fn main(arguments: &[OsString]) -> ExitCode {
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("hostel: the keeper of the sandboxes ended: {failure}");
            ExitCode::from(ENDED)
        }
    }
}

/// What follows the verb, so that the keeper's log looks like the server's.
pub fn arguments(log: &Log) -> [&str; 2] {
    let format = match log.format {
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    };
    [format, &log.level]
}

fn run(arguments: &[OsString]) -> Result<(), Failure> {
    logs::begin(&log(arguments)?)?;
    let failed = |error: &dyn std::error::Error| Failure::caused("cannot start", error);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(THREADS)
        .enable_all()
        .build()
        .map_err(|error| failed(&error))?;
    let ended = runtime.block_on(keep());
    runtime.shutdown_timeout(PATIENCE);
    ended
}

async fn keep() -> Result<(), Failure> {
    let failed = |error: &dyn std::error::Error| Failure::caused("it cannot go on", error);
    // It ends when its server does, which has heard of the same signals and still needs it. Caught and
    // not ignored, because what is ignored stays so in everything that is started.
    let mut heard = Vec::new();
    for kind in [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ] {
        heard.push(signal(kind).map_err(|error| failed(&error))?);
    }
    let socket = inherited().map_err(|error| failed(&error))?;
    let keeper = Keeper::receive(socket).await;
    let keeper = keeper.map_err(|error| failed(&error))?;
    let bounds = keeper.bounds();
    if let Err(failure) = versions::clear(&bounds.data, bounds.runtime.clone()).await {
        tracing::warn!("what a killed upgrade left stays: {failure}");
    }
    let program = std::env::current_exe().map_err(|error| failed(&error))?;
    let ended = keeper.serve(program, GUEST).await;
    ended.map_err(|error| failed(&error))
}

fn log(arguments: &[OsString]) -> Result<Log, Failure> {
    match arguments {
        [format, level] => Ok(Log {
            format: match format.to_str() {
                Some("json") => LogFormat::Json,
                _ => LogFormat::Text,
            },
            level: level.to_string_lossy().into_owned(),
        }),
        _ => Err(Failure::new("this is started by `hostel serve`")),
    }
}
