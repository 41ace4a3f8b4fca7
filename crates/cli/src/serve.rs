//! `hostel serve`: the server, in the foreground, until it is told to stop.

use std::os::fd::AsFd;
use std::process::{Child, ExitCode};

use serde_json::json;
use server::config::{Config, Tls};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};

use crate::apart::{self, Apart};
use crate::arguments::runtime;
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
    /// For another command of this program alone: on loopback, until standard input ends
    #[arg(long, hide = true)]
    private: bool,
    #[command(flatten)]
    flags: Flags,
}

/// Gives up what root has, then serves. Must be called while the process has one thread.
pub fn run(options: Options, output: Output) -> Outcome {
    let mut config = options
        .flags
        .load(&[("listen", options.listen.as_deref())])?;
    logs::begin(&config.log)?;
    if options.private {
        config.listen = ([127, 0, 0, 1], 0).into();
        // Its client is of this program, and perhaps does not trust the certificate.
        config.tls = Tls::default();
    }
    let mut apart = apart::prepare(&mut config)?;
    let keeper = apart.keeper.take();
    // The keeper, where there is one, has done it.
    let clears = keeper.is_none();
    let served = runtime()?.block_on(serve(&options, config, apart, clears, output));
    // Everything that held on to it is gone with the runtime.
    let ended = keeper.map_or(Ok(()), end);
    served.and_then(|code| ended.map(|()| code))
}

/// Starts, says one line when ready, serves until SIGTERM or SIGINT, and ends in order.
async fn serve(
    options: &Options,
    config: Config,
    apart: Apart,
    clears: bool,
    output: Output,
) -> Outcome {
    if clears
        && let Err(failure) = versions::clear(&config.data, server::wire::runtime(&config)).await
    {
        tracing::warn!("what a killed upgrade left stays: {failure}");
    }
    let bare = versions::installed(&config)?
        .as_array()
        .is_some_and(Vec::is_empty);
    let keyless = config.model.credential.is_none() && !options.offline;
    let embedded = Embedded::given(config, options.offline, apart.given).await?;
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
    let left = left_alone(options.private)?;
    output.result(&json!({"url": url}), &format!("hostel is ready on {url}"))?;
    let outcome = tokio::select! {
        () = stop => Ok(ExitCode::SUCCESS),
        () = left => Ok(ExitCode::SUCCESS),
        () = embedded.server().keeper_lost() => Err(Failure::new(
            "the keeper of the sandboxes has ended, and without it none can be made",
        )
        .next("start the server again: nothing that was acknowledged is lost")),
    };
    embedded.stop().await;
    outcome
}

/// Waits for the keeper, which destroys what the server left and ends by itself.
fn end(mut keeper: Child) -> Result<(), Failure> {
    match keeper.wait() {
        Ok(status) if status.success() => Ok(()),
        // The reason is in the log, and the server has said what it means to it.
        Ok(status) => {
            tracing::warn!("the keeper of the sandboxes ended with {status}");
            Ok(())
        }
        Err(error) => Err(Failure::caused("cannot wait for the keeper", &error)),
    }
}

/// Resolves when whoever started a private server is gone.
fn left_alone(private: bool) -> Result<impl Future<Output = ()>, Failure> {
    let failed = |error| Failure::caused("cannot wait for the end of standard input", &error);
    let pipe = if private {
        let descriptor = std::io::stdin().as_fd().try_clone_to_owned();
        let descriptor = descriptor.map_err(failed)?;
        Some(pipe::Receiver::from_owned_fd(descriptor).map_err(failed)?)
    } else {
        None
    };
    Ok(async move {
        match pipe {
            Some(mut pipe) => {
                // Nothing is ever written to it.
                let _ = pipe.read_u8().await;
            }
            None => std::future::pending().await,
        }
    })
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
