//! `hostel fork`: a new session from a point in another's log, with its files.

use serde_json::{Value, json};

use crate::client::Address;
use crate::failure::Outcome;
use crate::output::Output;

/// Makes a new session that goes on from a point in another's log, apart from it
#[derive(clap::Args)]
pub struct Options {
    /// The session's id
    session: String,
    /// The last event that the new session has; the newest when left out
    #[arg(long, value_name = "EVENT")]
    at: Option<String>,
    /// Which files it begins with: those at that point, the latest, or none
    #[arg(long, value_name = "WHICH", value_parser = ["at", "latest", "empty"], default_value = "at")]
    workspace: String,
    #[command(flatten)]
    address: Address,
}

/// Forks, and says what the new session is called.
pub async fn run(options: Options, output: Output) -> Outcome {
    let client = options.address.client()?;
    let path = format!("/v1/sessions/{}/fork", options.session);
    let session = client.post(&path, &body(&options)).await?;
    let id = session["id"].as_str().unwrap_or_default();
    let text = format!("forked to {id}; `hostel send {id} \"message\"` goes on there");
    output.result(&session, &text)
}

fn body(options: &Options) -> Value {
    let mut body = json!({"workspace": options.workspace});
    if let Some(event) = &options.at {
        body["event_id"] = json!(event);
    }
    body
}
