//! `hostel events`: what a session's log says, and with `-f` what it goes on to say.

use std::process::ExitCode;

use serde_json::Value;

use crate::client::{Address, Flow, follow};
use crate::failure::{Failure, Outcome};
use crate::output::{self, Output};
use crate::show::Show;

/// Prints a session's events
#[derive(clap::Args)]
pub struct Options {
    /// The session's id
    session: String,
    /// Go on with what happens from now on, until the session is over
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    address: Address,
}

/// Prints the log, and follows it when asked.
pub async fn run(options: Options, output: Output) -> Outcome {
    let client = options.address.client()?;
    let mut show = Show::new(output.colour);
    if options.follow {
        follow(&client, &options.session, |event| {
            print(&mut show, event, output)?;
            let over = matches!(
                event["type"].as_str(),
                Some("session.status_terminated" | "session.deleted")
            );
            Ok(if over { Flow::Stop } else { Flow::Continue })
        })
        .await?;
    } else {
        let path = format!("/v1/sessions/{}/events", options.session);
        client
            .list(&path, &[], |event| print(&mut show, &event, output))
            .await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// One event: as JSON on a line, or as a person reads it.
pub fn print(show: &mut Show, event: &Value, output: Output) -> Result<(), Failure> {
    // Also where nobody reads it, because it counts what the events come to.
    let text = show.event(event);
    if output.json {
        return output::line(&event.to_string());
    }
    if text.is_empty() {
        Ok(())
    } else {
        output::write(&text)
    }
}
