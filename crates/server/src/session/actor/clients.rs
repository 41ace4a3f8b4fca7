//! Client events on their way from the log to claude, and results on their way back.

use api::client_event::{ClientEvent, Confirmation};
use api::event::timestamp;
use chrono::{DateTime, Utc};
use claude::custom::Call;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use store::{Listed, QueuedRow};

use super::{Actor, End};
use crate::session::machine::{Answer, Asked, Input, Prompt};
use crate::session::translate::Said;
use crate::session::uuid_of;

impl Actor {
    /// Hands the machine what clients sent since it last looked.
    pub(super) async fn clients(&mut self) -> Result<(), End> {
        if self.rest.leaves() {
            // It stays in the log until the session has left its seat.
            return Ok(());
        }
        let queued = loop {
            match self.inner.store.events().queued(&self.row.id).await {
                Ok(queued) => break queued,
                Err(error) if error.is_transient() => tokio::time::sleep(super::RETRY_COMMIT).await,
                Err(error) => {
                    tracing::error!(session.id = %self.row.id, error = &error as &dyn std::error::Error, "cannot read the queue of session {}", self.row.id);
                    return Err(End::Over);
                }
            }
        };
        for row in queued
            .into_iter()
            .filter(|row| row.position > self.taken)
            .collect::<Vec<_>>()
        {
            self.taken = row.position;
            match asked(&row) {
                Some(asked) => self.input(Input::Asked(asked)).await?,
                None => tracing::error!(
                    event.id = row.id,
                    "event {} cannot be read and stays queued",
                    row.id
                ),
            }
        }
        Ok(())
    }

    /// Kind and final JSON of a queued event; `None` when it is not queued any more.
    pub(super) async fn processed(
        &self,
        id: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<(String, String)>, End> {
        let found = self
            .inner
            .store
            .events()
            .find(&self.row.id, id)
            .await
            .map_err(|_| End::Over)?;
        let Some(Listed::Queued(row)) = found else {
            return Ok(None);
        };
        let mut event: Value = serde_json::from_str(&row.body).unwrap_or_default();
        event["processed_at"] = timestamp(now).into();
        Ok(Some((row.kind, event.to_string())))
    }
}

/// What a queued event asks for; `None` for one that this server cannot read.
#[must_use]
pub fn asked(row: &QueuedRow) -> Option<Asked> {
    let event_id = row.id.clone();
    Some(match serde_json::from_str(&row.body).ok()? {
        ClientEvent::Message { content } => {
            let content = serde_json::to_value(content).ok()?;
            Asked::Prompt(Prompt {
                uuid: uuid_of(&event_id),
                event_id,
                content,
            })
        }
        ClientEvent::Interrupt { .. } => Asked::Interrupt { event_id },
        ClientEvent::ToolConfirmation {
            tool_use_id: call,
            result: Confirmation::Allow,
            ..
        } => Asked::Answer {
            event_id,
            call,
            answer: Answer::Allow,
        },
        ClientEvent::ToolConfirmation {
            tool_use_id: call,
            result: Confirmation::Deny,
            deny_message,
        } => {
            let why = deny_message.map_or_else(String::new, |message| format!(": {message}"));
            Asked::Answer {
                event_id,
                call,
                answer: Answer::Deny(format!("The user rejected this tool call{why}")),
            }
        }
        ClientEvent::CustomToolResult {
            custom_tool_use_id: call,
            content,
            is_error,
        } => {
            let content = content
                .iter()
                .filter_map(|block| serde_json::to_value(block).ok())
                .collect();
            Asked::Answer {
                event_id,
                call,
                answer: Answer::Result {
                    content,
                    is_error: is_error.unwrap_or(false),
                },
            }
        }
    })
}

/// A custom tool's call as the machine sees it.
pub(super) fn run_custom(request_id: String, call: Call) -> Said {
    Said::RunCustom {
        request_id,
        rpc_id: call.id,
        // Without an id of its own the call could not be told from another; claude always gives one.
        tool_use_id: call.tool_use_id.unwrap_or_default(),
        name: claude::tools::custom_name(&call.tool),
        input: serde_json::from_str(call.arguments.get()).unwrap_or_default(),
    }
}

/// A custom tool's result as the JSON-RPC reply that claude waits for.
pub(super) fn mcp_result(rpc_id: &Value, content: &[Value], is_error: bool) -> Box<RawValue> {
    let content: Vec<Value> = content.iter().map(mcp_block).collect();
    let reply = json!({"jsonrpc": "2.0", "id": rpc_id, "result": {"content": content, "isError": is_error}});
    to_raw_value(&reply).expect("a JSON value serialises")
}

/// A content block in MCP's form; what MCP has no form for goes as text.
fn mcp_block(block: &Value) -> Value {
    let source = &block["source"];
    match (block["type"].as_str(), source["type"].as_str()) {
        (Some("text"), _) => json!({"type": "text", "text": block["text"]}),
        (Some("image"), Some("base64")) => {
            json!({"type": "image", "data": source["data"], "mimeType": source["media_type"]})
        }
        (Some("document"), Some("text")) => json!({"type": "text", "text": source["data"]}),
        _ => json!({"type": "text", "text": block.to_string()}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(body: Value) -> QueuedRow {
        QueuedRow {
            position: 1,
            id: "sevt_1".into(),
            kind: String::new(),
            body: body.to_string().into(),
        }
    }

    #[test]
    fn client_events_become_what_they_ask_for() {
        let prompt = asked(&row(
            json!({"type": "user.message", "id": "sevt_1", "processed_at": null, "content": [{"type": "text", "text": "hi"}]}),
        ));
        let Some(Asked::Prompt(prompt)) = prompt else {
            panic!("{prompt:?}")
        };
        assert_eq!(prompt.content, json!([{"type": "text", "text": "hi"}]));
        assert_eq!(prompt.uuid, uuid_of("sevt_1"));
        let deny = asked(&row(
            json!({"type": "user.tool_confirmation", "tool_use_id": "sevt_9", "result": "deny", "deny_message": "no"}),
        ));
        let Some(Asked::Answer {
            call,
            answer: Answer::Deny(message),
            ..
        }) = deny
        else {
            panic!("{deny:?}")
        };
        assert_eq!(
            (call.as_str(), message.as_str()),
            ("sevt_9", "The user rejected this tool call: no")
        );
        assert_eq!(asked(&row(json!({"type": "from.the.future"}))), None);
    }

    #[test]
    fn results_go_to_claude_as_mcp_content() {
        let blocks = [
            json!({"type": "text", "text": "a"}),
            json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}}),
        ];
        let reply: Value =
            serde_json::from_str(mcp_result(&json!(7), &blocks, true).get()).unwrap();
        assert_eq!(reply["id"], 7);
        assert_eq!(reply["result"]["isError"], true);
        assert_eq!(
            reply["result"]["content"][1],
            json!({"type": "image", "data": "AA", "mimeType": "image/png"})
        );
    }
}
