//! `hostel send`: a message, or an answer to what the agent asks.

use serde_json::{Value, json};

use crate::client::{Address, Client};
use crate::failure::{Failure, Outcome};
use crate::output::Output;

/// Sends a message to a session, or answers a tool call that waits
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["text", "allow", "deny"])))]
pub struct Options {
    /// The session's id
    session: String,
    /// The message
    text: Option<String>,
    /// Let the waiting tool calls run
    #[arg(long)]
    allow: bool,
    /// Refuse the waiting tool calls, and tell the agent why
    #[arg(long, value_name = "REASON", num_args = 0..=1, default_missing_value = "")]
    deny: Option<String>,
    #[command(flatten)]
    address: Address,
}

/// Sends it, and says that the server has it.
pub async fn run(options: Options, output: Output) -> Outcome {
    let client = options.address.client()?;
    let events = match (&options.text, &options.deny) {
        (Some(text), _) => vec![message(text)],
        (None, deny) => answers(&client, &options.session, deny.as_deref()).await?,
    };
    let path = format!("/v1/sessions/{}/events", options.session);
    let answer = client.post(&path, &json!({"events": events})).await?;
    output.result(
        &answer,
        &format!(
            "sent; `hostel events -f {}` shows what comes of it",
            options.session
        ),
    )
}

/// A message of the user.
pub fn message(text: &str) -> Value {
    json!({"type": "user.message", "content": [{"type": "text", "text": text}]})
}

/// The same answer to every call that waits for a confirmation.
async fn answers(
    client: &Client,
    session: &str,
    deny: Option<&str>,
) -> Result<Vec<Value>, Failure> {
    let path = format!("/v1/sessions/{session}/events");
    let page = client
        .get(
            &path,
            &[
                ("order", "desc"),
                ("limit", "1"),
                ("types[]", "session.status_idle"),
            ],
        )
        .await?;
    let waiting = page["data"][0]["stop_reason"]["event_ids"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    if waiting.is_empty() {
        return Err(Failure::new(
            "no tool call of this session waits for an answer",
        ));
    }
    Ok(waiting.iter().map(|id| answer(id, deny)).collect())
}

fn answer(call: &Value, deny: Option<&str>) -> Value {
    match deny {
        None => json!({"type": "user.tool_confirmation", "tool_use_id": call, "result": "allow"}),
        Some("") => {
            json!({"type": "user.tool_confirmation", "tool_use_id": call, "result": "deny"})
        }
        Some(reason) => {
            json!({"type": "user.tool_confirmation", "tool_use_id": call, "result": "deny",
            "deny_message": reason})
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_sent_only_with_a_refusal_that_has_one() {
        assert_eq!(answer(&json!("a"), None)["result"], "allow");
        assert!(answer(&json!("a"), Some("")).get("deny_message").is_none());
        assert_eq!(answer(&json!("a"), Some("no"))["deny_message"], "no");
    }
}
