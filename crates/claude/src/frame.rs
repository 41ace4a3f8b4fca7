//! What the CLI says: one [`Frame`] for each line of its standard output.
//!
//! A turn reads like this; everything in brackets may repeat and interleave:
//!
//! ```text
//! SessionState(Running) → Init → [StreamEvent | Assistant | User | ControlRequest | Mirror]*
//!     → Result → SessionState(Idle)
//! ```
//!
//! - `Init` opens every turn, not the process. A turn may begin without a prompt.
//! - One `Assistant` comes for each completed content block; several share a message id. A tool's
//!   `CanUseTool` always follows the `Assistant` with its block, but blocks of further parallel
//!   calls may come after it.
//! - Calls that only read ask for permission all at once; others one after the other, each when
//!   the previous one has its result. Results come in the order in which the calls end.
//! - `Result` is not the end of the work: only `SessionState(Idle)` is.
//! - `Mirror` frames of a turn precede its `Result`, and a few more follow it, up to end of output.
//!
//! Parsing never panics and never fails on something new. A type, subtype or shape that is not
//! known here is [`Frame::Unknown`] with the line kept as it was, so that it can be passed on.
//! Only a line that is not a JSON object at all is [`NotAFrame`].

mod block;
mod control;
mod system;
mod turn;

use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

pub use block::{Block, UserBlock};
pub use control::{
    CanUseTool, ControlError, ControlRequest, ControlRequestKind, ControlResponse, HookCallback,
    McpMessage, OwnWork,
};
pub use system::{
    ApiRetry, CompactBoundary, Init, McpServer, PermissionDenied, SessionState, Status, Task,
    TaskEvent,
};
pub use turn::{
    Assistant, CacheCreation, PermissionDenial, ServerToolUse, StreamEvent, ToolProgress,
    TurnResult, Usage, User,
};

/// One line of the CLI's output.
#[derive(Debug, Clone)]
pub enum Frame {
    /// A turn begins: what the CLI was started with.
    Init(Box<Init>),
    /// Whether the CLI works, waits for an answer, or owes nothing more.
    SessionState(SessionState),
    /// A completed content block of the model's answer.
    Assistant(Box<Assistant>),
    /// Results of tools, notes of the CLI to the model, or prompts read back.
    User(Box<User>),
    /// An event of the model's stream as the API sent it. Only with partial messages.
    StreamEvent(StreamEvent),
    /// The end of a turn.
    Result(Box<TurnResult>),
    /// The CLI asks the host for something and waits.
    ControlRequest(ControlRequest),
    /// The answer to a request of the host.
    ControlResponse(ControlResponse),
    /// The CLI no longer wants the answer to this request of its own.
    ControlCancel {
        /// Which request.
        request_id: String,
    },
    /// Entries appended to a transcript file.
    Mirror(Mirror),
    /// A call of the model failed and will be tried again.
    ApiRetry(ApiRetry),
    /// A tool call was refused without asking.
    PermissionDenied(PermissionDenied),
    /// A tool call still runs; comes every 30 seconds while an MCP tool keeps the CLI waiting.
    ToolProgress(ToolProgress),
    /// A subagent or a background shell began, moved on or ended.
    Task(Box<Task>),
    /// The conversation was compacted.
    CompactBoundary(CompactBoundary),
    /// What became of a prompt that was written with a uuid.
    CommandLifecycle {
        /// The prompt's uuid.
        command_uuid: String,
        /// What became of it.
        state: CommandState,
    },
    /// The CLI changed to a new conversation with a new session id.
    ConversationReset {
        /// Why, such as `clear`.
        trigger: Option<String>,
    },
    /// The CLI says that it is alive, or how far its start has come.
    KeepAlive,
    /// What the CLI does right now.
    Status(Status),
    /// Something that this version of the host does not know.
    Unknown(Unknown),
}

/// What became of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandState {
    /// It waits for its turn. Absent when an interrupted turn is taken up again.
    Queued,
    /// Its turn began, or it was folded into the running one.
    Started,
    /// Its turn ended, or it was known already and done.
    Completed,
    /// Its turn was stopped, or it was taken out of the queue.
    Cancelled,
    /// A state that is not known here.
    Other(String),
}

/// Entries that were appended to one transcript file, in order.
#[derive(Debug, Clone, Deserialize)]
pub struct Mirror {
    /// The file's absolute path where the CLI runs.
    #[serde(rename = "filePath")]
    pub file_path: String,
    /// The entries, each byte for byte as it came.
    #[serde(default)]
    pub entries: Vec<Box<RawValue>>,
}

/// A frame that is not known here, with the whole line.
#[derive(Debug, Clone)]
pub struct Unknown {
    /// The frame's `type`; empty when it has none.
    pub kind: String,
    /// The frame's `subtype`.
    pub subtype: Option<String>,
    /// The line as it came.
    pub raw: Box<RawValue>,
}

/// A line that is not a JSON object.
#[derive(Debug, thiserror::Error)]
#[error("the line is not a json object")]
pub struct NotAFrame(#[source] serde_json::Error);

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    subtype: Option<Cow<'a, str>>,
}

impl Frame {
    /// Reads one line without its newline.
    pub fn parse(line: &[u8]) -> Result<Self, NotAFrame> {
        let text = std::str::from_utf8(line)
            .map_err(|error| NotAFrame(<serde_json::Error as serde::de::Error>::custom(error)))?;
        let raw: &RawValue = serde_json::from_str(text).map_err(NotAFrame)?;
        let text = raw.get();
        if !text.starts_with('{') {
            return Err(NotAFrame(<serde_json::Error as serde::de::Error>::custom(
                "not an object",
            )));
        }
        // A `type` that is no string makes a frame of no known kind, not a bad line.
        let head = serde_json::from_str::<Head<'_>>(text).unwrap_or(Head {
            kind: None,
            subtype: None,
        });
        let kind = head.kind.as_deref().unwrap_or_default();
        let subtype = head.subtype.as_deref();
        Ok(known(kind, subtype, text).unwrap_or_else(|| {
            Self::Unknown(Unknown {
                kind: kind.to_owned(),
                subtype: subtype.map(str::to_owned),
                raw: raw.to_owned(),
            })
        }))
    }
}

/// The frame, when its type is known and its fields are as expected.
fn known(kind: &str, subtype: Option<&str>, text: &str) -> Option<Frame> {
    let frame = match kind {
        "system" => return system::parse(subtype?, text),
        "assistant" => Frame::Assistant(Box::new(turn::assistant(text)?)),
        "user" => Frame::User(Box::new(turn::user(text)?)),
        "stream_event" => Frame::StreamEvent(read(text)?),
        "result" => Frame::Result(read(text)?),
        "control_request" => Frame::ControlRequest(control::request(text)?),
        "control_response" => Frame::ControlResponse(control::response(text)?),
        "control_cancel_request" => Frame::ControlCancel {
            request_id: read::<Cancel>(text)?.request_id,
        },
        "transcript_mirror" => Frame::Mirror(read(text)?),
        "command_lifecycle" => {
            let Lifecycle {
                command_uuid,
                state,
            } = read(text)?;
            Frame::CommandLifecycle {
                command_uuid,
                state: command_state(state),
            }
        }
        "conversation_reset" => Frame::ConversationReset {
            trigger: read::<Reset>(text)?.trigger,
        },
        "keep_alive" => Frame::KeepAlive,
        "tool_progress" => Frame::ToolProgress(read(text)?),
        _ => return None,
    };
    Some(frame)
}

/// Reads a shape; what does not fit is none of ours.
fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    serde_json::from_str(text).ok()
}

/// Reads a field that may be `null` like one that is not there.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Deserialize)]
struct Cancel {
    request_id: String,
}

#[derive(Deserialize)]
struct Lifecycle {
    command_uuid: String,
    state: String,
}

#[derive(Deserialize)]
struct Reset {
    #[serde(default)]
    trigger: Option<String>,
}

fn command_state(state: String) -> CommandState {
    match state.as_str() {
        "queued" => CommandState::Queued,
        "started" => CommandState::Started,
        "completed" => CommandState::Completed,
        "cancelled" => CommandState::Cancelled,
        _ => CommandState::Other(state),
    }
}

#[cfg(test)]
mod tests;
