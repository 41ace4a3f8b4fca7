//! The process's own log, on standard error.

use std::io::IsTerminal;

use server::config::{Log, LogFormat};
use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// Begins to write the log; called once, before the server starts.
pub fn begin(log: &Log) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&log.level).map_err(|error| {
        Failure::usage(format!("setting log.level: {error}"))
            .next("for example info, or info,server=debug")
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let begun = match log.format {
        LogFormat::Json => builder.json().try_init(),
        LogFormat::Text => builder
            .with_ansi(std::io::stderr().is_terminal())
            .try_init(),
    };
    begun.map_err(|error| Failure::new(format!("cannot begin the log: {error}")))
}
