//! `hostel stop`: interrupts a session's turn, and with a flag ends the session.

use std::time::Duration;

use serde_json::json;

use crate::client::{Address, Client};
use crate::failure::{Failure, Outcome};
use crate::output::Output;

/// How long an interrupted turn may take to end: running tools may delay it.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often the session is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(100);

/// Interrupts a session's turn
#[derive(clap::Args)]
pub struct Options {
    /// The session's id
    session: String,
    /// Then archive the session: it takes no further messages, its log stays
    #[arg(long, conflicts_with = "delete")]
    archive: bool,
    /// Then delete the session with its log
    #[arg(long)]
    delete: bool,
    #[command(flatten)]
    address: Address,
}

/// Interrupts, waits for the turn's end when something follows, and does that.
pub async fn run(options: Options, output: Output) -> Outcome {
    let client = options.address.client()?;
    let session = &options.session;
    let view = client.get(&format!("/v1/sessions/{session}"), &[]).await?;
    if options.delete {
        let answer = delete(&client, session).await?;
        return output.result(&answer, &format!("deleted {session}"));
    }
    if options.archive {
        settle(&client, session).await?;
        let answer = client
            .post(&format!("/v1/sessions/{session}/archive"), &json!({}))
            .await?;
        return output.result(&answer, &format!("archived {session}"));
    }
    if view["status"] != "running" && view["status"] != "rescheduling" {
        return output.result(&view, &format!("{session} is not running"));
    }
    let answer = interrupt(&client, session).await?;
    output.result(&answer, &format!("interrupted {session}"))
}

/// Ends whatever the session does and deletes it.
pub async fn delete(client: &Client, session: &str) -> Result<serde_json::Value, Failure> {
    settle(client, session).await?;
    client.delete(&format!("/v1/sessions/{session}")).await
}

/// Asks the session to stop its turn.
pub async fn interrupt(client: &Client, session: &str) -> Result<serde_json::Value, Failure> {
    let path = format!("/v1/sessions/{session}/events");
    client
        .post(&path, &json!({"events": [{"type": "user.interrupt"}]}))
        .await
}

/// Interrupts when the session runs, and waits until it does not.
async fn settle(client: &Client, session: &str) -> Result<(), Failure> {
    let path = format!("/v1/sessions/{session}");
    let busy =
        |view: &serde_json::Value| view["status"] == "running" || view["status"] == "rescheduling";
    if !busy(&client.get(&path, &[]).await?) {
        return Ok(());
    }
    interrupt(client, session).await?;
    let settled = async {
        while busy(&client.get(&path, &[]).await?) {
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, settled)
        .await
        .unwrap_or_else(|_| {
            Err(Failure::new(format!(
                "{session} still runs {} s after the interrupt",
                PATIENCE.as_secs()
            ))
            .next("look at it with `hostel events -f`, then try again"))
        })
}
