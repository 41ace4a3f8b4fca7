//! `hostel ps`: the sessions of a server.

use std::process::ExitCode;

use serde_json::Value;

use crate::client::Address;
use crate::failure::Outcome;
use crate::output::{Output, line};

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
    let mut sessions = Vec::new();
    client
        .list(
            "/v1/sessions",
            &[("include_archived", &archived)],
            |session| {
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

fn table(sessions: &[Value]) -> String {
    if sessions.is_empty() {
        return "no sessions; `hostel run \"task\"` starts one".to_owned();
    }
    let mut rows = vec![["SESSION", "STATUS", "AGENT", "CREATED", "TITLE"].map(str::to_owned)];
    rows.extend(sessions.iter().map(cells));
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths = [width(0), width(1), width(2), width(3), 0];
    let text = |row: &[String; 5]| {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(text).collect::<Vec<_>>().join("\n")
}

fn cells(session: &Value) -> [String; 5] {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let created: String = text(&session["created_at"]).chars().take(19).collect();
    [
        text(&session["id"]),
        text(&session["status"]),
        text(&session["agent"]["name"]),
        created.replace('T', " "),
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
            json!({"id": "sesn_01", "status": "idle", "agent": {"name": "coder"},
            "created_at": "2026-11-01T10:00:00.000000Z", "title": null}),
        ]);
        assert_eq!(
            text,
            "SESSION  STATUS  AGENT  CREATED              TITLE\nsesn_01  idle    coder  2026-11-01 10:00:00"
        );
    }
}
