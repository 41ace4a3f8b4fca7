//! What claude writes, reduced to what decides anything: one frame becomes a few [`Said`]s.
//!
//! Frames of subagents are left out (their calls show as the one call that started them), and so are
//! frames that only inform. Frames that this server does not know become [`Said::Unknown`]: a newer
//! claude must not break anything. Nothing here keeps state.

use api::event::ModelUsage;
use claude::frame::{self, Frame};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Something claude said.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// It began to work.
    Working,
    /// It owes nothing more.
    Idle,
    /// How the turn ended; `Idle` follows.
    Outcome(Outcome),
    /// It is done with the prompt of this uuid.
    PromptDone {
        /// The prompt's uuid.
        uuid: String,
    },
    /// It dropped the prompt of this uuid, perhaps before it took it.
    PromptCancelled {
        /// The prompt's uuid.
        uuid: String,
    },
    /// A model request failed and is made again.
    Retrying {
        /// The HTTP status; `None` when there was no answer.
        status: Option<u16>,
        /// One sentence for people.
        message: String,
    },
    /// The conversation was compacted.
    Compacted,
    /// A model request began to answer; what it used so far.
    RequestStart(ModelUsage),
    /// A block of the answer began.
    BlockStart(Block),
    /// More text of the block that began last.
    TextDelta(String),
    /// What the model request used up to now.
    RequestUsage(ModelUsage),
    /// The model request ended.
    RequestEnd,
    /// A whole text block.
    Text(String),
    /// A whole thinking block.
    Thinking,
    /// A tool call.
    Call {
        /// The model's id for it.
        tool_use_id: String,
        /// Claude's name for the tool.
        name: String,
        /// What it is called with.
        input: Value,
    },
    /// A tool call's result.
    Result {
        /// The model's id for the call.
        tool_use_id: String,
        /// Content blocks.
        content: Vec<Value>,
        /// Whether the tool failed or was refused.
        is_error: bool,
    },
    /// It asks whether a call may run.
    MayI {
        /// The request to answer.
        request_id: String,
        /// The model's id for the call.
        tool_use_id: String,
        /// Claude's name for the tool.
        name: String,
        /// What it is called with.
        input: Value,
    },
    /// It wants a custom tool to be run.
    RunCustom {
        /// The request to answer.
        request_id: String,
        /// The JSON-RPC id to answer.
        rpc_id: Value,
        /// The model's id for the call.
        tool_use_id: String,
        /// Claude's name for the tool.
        name: String,
        /// What it is called with.
        input: Value,
    },
    /// It no longer wants an answer to that request.
    Withdrawn {
        /// The request.
        request_id: String,
    },
    /// Something new.
    Unknown {
        /// The frame's type, with its subtype behind a slash.
        kind: String,
        /// The frame.
        frame: Value,
    },
}

/// Blocks that are announced before they are complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// Text.
    Text,
    /// Thinking.
    Thinking,
}

/// How a turn ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The model had nothing more to say.
    Done,
    /// The model refused.
    Refused,
    /// Claude's own budget is used up.
    Budget,
    /// Too many rounds of tool calls.
    TooManyRounds {
        /// One sentence for people.
        message: String,
    },
    /// The conversation does not fit the model's window.
    WindowFull {
        /// One sentence for people.
        message: String,
    },
    /// A model request, or claude itself, failed.
    Failed {
        /// The model API's HTTP status; `None` when there was no answer.
        status: Option<u16>,
        /// One sentence for people.
        message: String,
    },
}

/// What a frame says. Mirror frames and the chatter of in-process MCP servers are the actor's: they
/// say nothing about the turn.
#[must_use]
pub fn translate(frame: Frame) -> Vec<Said> {
    match frame {
        Frame::SessionState(frame::SessionState::Running) => vec![Said::Working],
        Frame::SessionState(frame::SessionState::Idle) => vec![Said::Idle],
        Frame::Assistant(message) if message.parent_tool_use_id.is_none() => assistant(*message),
        Frame::User(message) if message.parent_tool_use_id.is_none() && !message.is_replay => {
            results(*message)
        }
        Frame::StreamEvent(event) if event.parent_tool_use_id.is_none() => {
            stream_event(&event.event).into_iter().collect()
        }
        Frame::Result(result) => vec![Said::Outcome(outcome(*result))],
        Frame::ControlRequest(request) => may_i(request).into_iter().collect(),
        Frame::ControlCancel { request_id } => vec![Said::Withdrawn { request_id }],
        Frame::ApiRetry(retry) => vec![retrying(&retry)],
        Frame::CompactBoundary(_) => vec![Said::Compacted],
        Frame::CommandLifecycle {
            command_uuid: uuid,
            state: frame::CommandState::Completed,
        } => vec![Said::PromptDone { uuid }],
        Frame::CommandLifecycle {
            command_uuid: uuid,
            state: frame::CommandState::Cancelled,
        } => vec![Said::PromptCancelled { uuid }],
        Frame::Unknown(unknown) => {
            let kind = unknown.subtype.map_or(unknown.kind.clone(), |subtype| {
                format!("{}/{subtype}", unknown.kind)
            });
            vec![Said::Unknown {
                kind,
                frame: value(&unknown.raw),
            }]
        }
        _ => Vec::new(),
    }
}

fn assistant(message: frame::Assistant) -> Vec<Said> {
    // An answer that is no model's: claude's own words on a failure, which the outcome repeats.
    if message.error.is_some() {
        return Vec::new();
    }
    let blocks = message.content.into_iter().filter_map(|block| match block {
        frame::Block::Text(text) => Some(Said::Text(text)),
        frame::Block::Thinking { .. } => Some(Said::Thinking),
        frame::Block::ToolUse { id, name, input } => Some(Said::Call {
            tool_use_id: id,
            name,
            input: value(&input),
        }),
        // Thinking that the API sealed is thinking all the same.
        frame::Block::Other { kind, .. } => (kind == "redacted_thinking").then_some(Said::Thinking),
    });
    blocks.collect()
}

fn results(message: frame::User) -> Vec<Said> {
    let blocks = message.content.into_iter().filter_map(|block| match block {
        frame::UserBlock::ToolResult {
            tool_use_id,
            content,
            is_error,
        } => Some(Said::Result {
            tool_use_id,
            content: content.map_or_else(Vec::new, |content| blocks(&content)),
            is_error,
        }),
        _ => None,
    });
    blocks.collect()
}

/// Content as blocks of the contract's kinds; what it has no kind for is shown as text.
fn blocks(content: &RawValue) -> Vec<Value> {
    match value(content) {
        Value::Array(blocks) => blocks.into_iter().map(block).collect(),
        Value::String(text) if text.is_empty() => Vec::new(),
        Value::String(text) => vec![json!({"type": "text", "text": text})],
        Value::Null => Vec::new(),
        other => vec![json!({"type": "text", "text": other.to_string()})],
    }
}

fn block(block: Value) -> Value {
    match block["type"].as_str() {
        Some("text" | "image" | "document" | "search_result") => block,
        _ => json!({"type": "text", "text": block.to_string()}),
    }
}

fn stream_event(event: &RawValue) -> Option<Said> {
    #[derive(Deserialize)]
    struct Event {
        #[serde(rename = "type")]
        kind: String,
        message: Option<Message>,
        content_block: Option<Kind>,
        delta: Option<Delta>,
        usage: Option<frame::Usage>,
    }
    #[derive(Deserialize)]
    struct Message {
        #[serde(default)]
        usage: frame::Usage,
    }
    #[derive(Deserialize)]
    struct Kind {
        #[serde(rename = "type")]
        kind: String,
    }
    #[derive(Deserialize)]
    struct Delta {
        #[serde(rename = "type")]
        kind: Option<String>,
        text: Option<String>,
    }
    let event: Event = serde_json::from_str(event.get()).ok()?;
    match event.kind.as_str() {
        "message_start" => Some(Said::RequestStart(usage(&event.message?.usage))),
        "content_block_start" => match event.content_block?.kind.as_str() {
            "text" => Some(Said::BlockStart(Block::Text)),
            "thinking" | "redacted_thinking" => Some(Said::BlockStart(Block::Thinking)),
            _ => None,
        },
        "content_block_delta" => {
            let delta = event.delta?;
            (delta.kind.as_deref() == Some("text_delta")).then_some(Said::TextDelta(delta.text?))
        }
        "message_delta" => Some(Said::RequestUsage(usage(&event.usage?))),
        "message_stop" => Some(Said::RequestEnd),
        _ => None,
    }
}

fn usage(usage: &frame::Usage) -> ModelUsage {
    ModelUsage {
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        cache_creation_input_tokens: usage.cache_creation_input_tokens,
        cache_read_input_tokens: usage.cache_read_input_tokens,
    }
}

fn outcome(result: frame::TurnResult) -> Outcome {
    let message = || {
        let said = result.result.clone().filter(|text| !text.is_empty());
        said.or_else(|| result.errors.first().cloned())
            .unwrap_or_else(|| format!("the turn ended with {}", result.subtype))
    };
    match (
        result.subtype.as_str(),
        result.stop_reason.as_deref(),
        result.terminal_reason.as_deref(),
    ) {
        ("error_max_turns", ..) => Outcome::TooManyRounds { message: message() },
        ("error_max_budget_usd", ..) => Outcome::Budget,
        (_, Some("refusal"), _) => Outcome::Refused,
        (_, _, Some("blocking_limit")) => Outcome::WindowFull { message: message() },
        ("success", ..) if !result.is_error => Outcome::Done,
        _ => Outcome::Failed {
            status: result.api_error_status,
            message: message(),
        },
    }
}

fn retrying(retry: &frame::ApiRetry) -> Said {
    let why = match retry.error_status {
        Some(status) => format!("the model API answered {status}"),
        None => "the model API gave no answer".to_owned(),
    };
    let message = format!(
        "{why}; retry {} of {} in {:.1} s",
        retry.attempt,
        retry.max_retries,
        retry.retry_delay_ms / 1000.0
    );
    Said::Retrying {
        status: retry.error_status,
        message,
    }
}

fn may_i(request: frame::ControlRequest) -> Option<Said> {
    let frame::ControlRequestKind::CanUseTool(ask) = request.kind else {
        return None;
    };
    Some(Said::MayI {
        // Without an id of its own the call is known by its request.
        tool_use_id: ask
            .tool_use_id
            .unwrap_or_else(|| request.request_id.clone()),
        request_id: request.request_id,
        name: ask.tool_name,
        input: value(&ask.input),
    })
}

fn value(raw: &RawValue) -> Value {
    serde_json::from_str(raw.get()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> Vec<Said> {
        translate(Frame::parse(line.as_bytes()).unwrap())
    }

    #[test]
    fn stream_events_become_a_request_with_its_blocks() {
        let event = |event: &str| {
            said(&format!(
                r#"{{"type":"stream_event","event":{event},"parent_tool_use_id":null}}"#
            ))
        };
        let usage = ModelUsage {
            input_tokens: 3,
            output_tokens: 1,
            ..ModelUsage::default()
        };
        assert_eq!(
            event(
                r#"{"type":"message_start","message":{"usage":{"input_tokens":3,"output_tokens":1}}}"#
            ),
            [Said::RequestStart(usage)]
        );
        assert_eq!(
            event(
                r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#
            ),
            [Said::BlockStart(Block::Text)]
        );
        assert_eq!(
            event(
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hi"}}"#
            ),
            [Said::TextDelta("hi".into())]
        );
        assert_eq!(
            event(
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{"}}"#
            ),
            []
        );
        assert_eq!(event(r#"{"type":"message_stop"}"#), [Said::RequestEnd]);
    }

    #[test]
    fn frames_of_subagents_and_replays_say_nothing() {
        assert_eq!(
            said(
                r#"{"type":"assistant","message":{"content":[{"type":"text","text":"x"}]},"parent_tool_use_id":"t1"}"#
            ),
            []
        );
        assert_eq!(
            said(r#"{"type":"user","message":{"content":"x"},"isReplay":true}"#),
            []
        );
    }

    #[test]
    fn results_become_content_blocks() {
        let rows = [
            (r#""text""#, json!([{"type": "text", "text": "text"}])),
            (r#""""#, json!([])),
            (
                r#"[{"type":"text","text":"a"},{"type":"tool_reference"}]"#,
                json!([{"type": "text", "text": "a"}, {"type": "text", "text": "{\"type\":\"tool_reference\"}"}]),
            ),
        ];
        for (content, expected) in rows {
            let line = format!(
                r#"{{"type":"user","message":{{"content":[{{"type":"tool_result","tool_use_id":"c1","content":{content}}}]}}}}"#
            );
            let Value::Array(expected) = expected else {
                unreachable!()
            };
            assert_eq!(
                said(&line),
                [Said::Result {
                    tool_use_id: "c1".into(),
                    content: expected,
                    is_error: false
                }]
            );
        }
    }

    #[test]
    fn outcomes_are_told_apart() {
        let rows = [
            (
                r#""subtype":"success","is_error":false,"result":"done""#,
                Outcome::Done,
            ),
            (
                r#""subtype":"success","is_error":true,"result":"API Error: 529","api_error_status":529"#,
                Outcome::Failed {
                    status: Some(529),
                    message: "API Error: 529".into(),
                },
            ),
            (
                r#""subtype":"error_max_turns","is_error":true,"errors":["Reached maximum number of turns (3)"]"#,
                Outcome::TooManyRounds {
                    message: "Reached maximum number of turns (3)".into(),
                },
            ),
            (
                r#""subtype":"success","is_error":true,"stop_reason":"refusal""#,
                Outcome::Refused,
            ),
            (
                r#""subtype":"error_during_execution","is_error":true"#,
                Outcome::Failed {
                    status: None,
                    message: "the turn ended with error_during_execution".into(),
                },
            ),
        ];
        for (fields, expected) in rows {
            assert_eq!(
                said(&format!(r#"{{"type":"result",{fields}}}"#)),
                [Said::Outcome(expected)],
                "{fields}"
            );
        }
    }

    #[test]
    fn what_is_new_is_kept() {
        let line = r#"{"type":"system","subtype":"from_the_future","x":1}"#;
        let frame = serde_json::from_str(line).unwrap();
        assert_eq!(
            said(line),
            [Said::Unknown {
                kind: "system/from_the_future".into(),
                frame
            }]
        );
    }
}
