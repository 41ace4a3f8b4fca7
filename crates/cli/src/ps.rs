//! `hostel ps`: the sessions of a server, each with the pattern of its environment.

use std::collections::HashMap;
use std::process::ExitCode;

use serde_json::Value;

use crate::client::{Address, Client};
use crate::failure::{Failure, Outcome};
use crate::output::{self, Output, line, moment, text};

/// Lists the sessions
#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    address: Address,
    /// Archived ones too
    #[arg(long)]
    all: bool,
}

/// Prints one line per session, newest first.
pub async fn run(options: Options, output: Output) -> Outcome {
    let client = options.address.client()?;
    let archived = options.all.to_string();
    let patterns = patterns(&client).await?;
    let mut sessions = Vec::new();
    client
        .list(
            "/v1/sessions",
            &[("include_archived", &archived)],
            |mut session| {
                let environment = session["environment_id"].as_str().unwrap_or_default();
                session["pattern"] = patterns.get(environment).cloned().unwrap_or_default();
                if output.json {
                    line(&session.to_string())?;
                } else {
                    sessions.push(session);
                }
                Ok(())
            },
        )
        .await?;
    if !output.json {
        line(&table(&sessions))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The pattern of each environment as it is now; a session keeps the one that it was made with.
async fn patterns(client: &Client) -> Result<HashMap<String, Value>, Failure> {
    let mut patterns = HashMap::new();
    let keep = |mut environment: Value| {
        let pattern = environment["config"]["hosting"]["pattern"].take();
        if let Some(id) = environment["id"].as_str() {
            patterns.insert(id.to_owned(), pattern);
        }
        Ok(())
    };
    let query = [("include_archived", "true")];
    client.list("/v1/environments", &query, keep).await?;
    Ok(patterns)
}

fn table(sessions: &[Value]) -> String {
    if sessions.is_empty() {
        return "no sessions; `hostel run \"task\"` starts one".to_owned();
    }
    let heads = ["SESSION", "STATUS", "PATTERN", "AGENT", "CREATED", "TITLE"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    rows.extend(sessions.iter().map(cells));
    output::table(&rows)
}

fn cells(session: &Value) -> Vec<String> {
    vec![
        text(&session["id"]),
        text(&session["status"]),
        text(&session["pattern"]),
        text(&session["agent"]["name"]),
        moment(&session["created_at"]),
        text(&session["title"]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_are_aligned() {
        let text = table(&[
            json!({"id": "sesn_01", "status": "idle", "pattern": "hybrid", "agent": {"name": "coder"},
            "created_at": "2026-11-01T10:00:00.000000Z", "title": null}),
        ]);
        assert_eq!(
            text,
            "SESSION  STATUS  PATTERN  AGENT  CREATED              TITLE\nsesn_01  idle    hybrid   coder  2026-11-01 10:00:00"
        );
    }
}
