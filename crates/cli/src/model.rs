//! `hostel model`: the scripted model alone, for whoever wants a Messages API that costs nothing.

use std::net::SocketAddr;
use std::process::ExitCode;

use serde_json::json;

use crate::failure::{Failure, Outcome};
use crate::output::Output;

/// Runs the scripted model alone: an HTTP server that speaks the Messages API
#[derive(clap::Args)]
pub struct Options {
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8701", value_name = "ADDRESS")]
    listen: SocketAddr,
}

/// Serves until it is told to stop.
pub async fn run(options: Options, output: Output) -> Outcome {
    let model = model::Model::bind(options.listen).await.map_err(|error| {
        Failure::caused(format!("cannot listen on {}", options.listen), &error)
            .next("choose another with --listen")
    })?;
    let running = model.spawn();
    let url = running.url();
    let stop = crate::serve::stop_asked()?;
    output.result(
        &json!({"url": url}),
        &format!("the scripted model is ready on {url}"),
    )?;
    stop.await;
    running.stop().await;
    Ok(ExitCode::SUCCESS)
}
