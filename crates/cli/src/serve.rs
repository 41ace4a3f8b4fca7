//! `hostel serve`: the server, in the foreground, until it is told to stop.

use std::process::ExitCode;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::embedded::Embedded;
use crate::failure::{Failure, Outcome};
use crate::logs;
use crate::output::Output;
use crate::settings::Flags;
use crate::versions;

/// Runs the server
#[derive(clap::Args)]
pub struct Options {
    /// The address to serve on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Use the scripted model instead of the real one
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    flags: Flags,
}

/// Starts, says one line when ready, serves until SIGTERM or SIGINT, and ends in order.
pub async fn run(options: Options, output: Output) -> Outcome {
    let config = options
        .flags
        .load(&[("listen", options.listen.as_deref())])?;
    logs::begin(&config.log)?;
    if let Err(failure) = versions::clear(&config).await {
        tracing::warn!("what a killed upgrade left stays: {failure}");
    }
    let bare = versions::installed(&config)?
        .as_array()
        .is_some_and(Vec::is_empty);
    let keyless = config.model.credential.is_none() && !options.offline;
    let embedded = Embedded::start(config, options.offline).await?;
    let url = embedded.url();
    if let Some(key) = embedded.server().new_key() {
        let key = key.expose();
        output.result(
            &json!({"api_key": key}),
            &format!("the first key, shown only now: {key}"),
        )?;
    }
    if keyless {
        tracing::warn!(
            "no ANTHROPIC_API_KEY: model calls will be refused; set it, or use --offline"
        );
    }
    if bare {
        tracing::warn!("no claude CLI is installed: turns will fail; `hostel cli install`");
    }
    // Whoever reads that it is ready may ask it to stop at once.
    let stop = stop_asked()?;
    output.result(&json!({"url": url}), &format!("hostel is ready on {url}"))?;
    stop.await;
    embedded.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// Resolves at the first SIGTERM or SIGINT from now on; without it they kill the process.
pub fn stop_asked() -> Result<impl Future<Output = ()>, Failure> {
    let listen =
        |kind| signal(kind).map_err(|error| Failure::caused("cannot wait for signals", &error));
    let (mut terminate, mut interrupt) = (
        listen(SignalKind::terminate())?,
        listen(SignalKind::interrupt())?,
    );
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
