//! Control frames: requests of the CLI to the host and answers to the host's own.

use super::read;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// The CLI asks for something and waits for an answer with the same id. There is no time limit on
/// its side, so the host must own one where it matters.
#[derive(Debug, Clone)]
pub struct ControlRequest {
    /// Goes into the answer.
    pub request_id: String,
    /// What is asked.
    pub kind: ControlRequestKind,
}

/// What the CLI asks for.
#[derive(Debug, Clone)]
pub enum ControlRequestKind {
    /// May this tool call run?
    CanUseTool(Box<CanUseTool>),
    /// Call a hook that `initialize` registered.
    HookCallback(HookCallback),
    /// A JSON-RPC message to an in-process MCP server.
    McpMessage(McpMessage),
    /// Something that is not known here. Answer it with an error, or the CLI waits for ever.
    Other {
        /// The request's subtype.
        subtype: String,
        /// The request.
        raw: Box<RawValue>,
    },
}

/// May this tool call run?
#[derive(Debug, Clone, Deserialize)]
pub struct CanUseTool {
    /// The tool's name in the CLI.
    pub tool_name: String,
    /// The arguments, byte for byte.
    pub input: Box<RawValue>,
    /// The call's id, the same as in the block that the model wrote.
    #[serde(default)]
    pub tool_use_id: Option<String>,
    /// What the call would do, for people.
    #[serde(default)]
    pub description: Option<String>,
    /// Why the CLI asks, for people.
    #[serde(default)]
    pub decision_reason: Option<String>,
    /// The path that made it ask.
    #[serde(default)]
    pub blocked_path: Option<String>,
    /// The subagent that wants to call it.
    #[serde(default)]
    pub agent_id: Option<String>,
}

/// A hook is to be called.
#[derive(Debug, Clone, Deserialize)]
pub struct HookCallback {
    /// The hook's id as `initialize` gave it.
    pub callback_id: String,
    /// What the hook is told.
    pub input: Box<RawValue>,
    /// The call that it is about.
    #[serde(default)]
    pub tool_use_id: Option<String>,
}

/// What a process still has to do when a turn ends, as it tells the hook
/// [`crate::launch::STOP_HOOK`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnWork {
    /// Tasks in the background that have not ended.
    pub tasks: usize,
    /// Timers that have not gone off.
    pub timers: usize,
}

impl HookCallback {
    /// What the process still has to do; `None` when this is another hook.
    pub fn own_work(&self) -> Option<OwnWork> {
        #[derive(Deserialize)]
        struct Stop {
            hook_event_name: String,
            #[serde(default)]
            background_tasks: Vec<Value>,
            #[serde(default)]
            session_crons: Vec<Value>,
        }
        let stop: Stop = serde_json::from_str(self.input.get()).ok()?;
        (stop.hook_event_name == "Stop").then_some(OwnWork {
            tasks: stop.background_tasks.len(),
            timers: stop.session_crons.len(),
        })
    }
}

/// A message to an in-process MCP server.
#[derive(Debug, Clone, Deserialize)]
pub struct McpMessage {
    /// The server's name.
    pub server_name: String,
    /// The JSON-RPC message.
    pub message: Box<RawValue>,
}

/// The answer to a request of the host.
#[derive(Debug, Clone)]
pub struct ControlResponse {
    /// The request's id.
    pub request_id: String,
    /// What came of it; none when the answer carries nothing.
    pub outcome: Result<Option<Box<RawValue>>, ControlError>,
}

/// The CLI refused a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the claude cli refused the request: {message}")]
pub struct ControlError {
    /// Why, for people.
    pub message: String,
    /// Why, for programs, such as `unsupported_request`.
    pub code: Option<String>,
}

#[derive(Deserialize)]
struct RequestFrame {
    request_id: String,
    request: Box<RawValue>,
}

#[derive(Deserialize)]
struct Subtype {
    subtype: String,
}

#[derive(Deserialize)]
struct ResponseFrame {
    response: ResponseBody,
}

#[derive(Deserialize)]
struct ResponseBody {
    subtype: String,
    request_id: String,
    #[serde(default)]
    response: Option<Box<RawValue>>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    error_code: Option<String>,
}

pub(super) fn request(text: &str) -> Option<ControlRequest> {
    let RequestFrame {
        request_id,
        request,
    } = read(text)?;
    let subtype = read::<Subtype>(request.get())?.subtype;
    let known = match subtype.as_str() {
        "can_use_tool" => {
            read(request.get()).map(|ask| ControlRequestKind::CanUseTool(Box::new(ask)))
        }
        "hook_callback" => read(request.get()).map(ControlRequestKind::HookCallback),
        "mcp_message" => read(request.get()).map(ControlRequestKind::McpMessage),
        _ => None,
    };
    let kind = known.unwrap_or(ControlRequestKind::Other {
        subtype,
        raw: request,
    });
    Some(ControlRequest { request_id, kind })
}

pub(super) fn response(text: &str) -> Option<ControlResponse> {
    let body = read::<ResponseFrame>(text)?.response;
    let outcome = match body.subtype.as_str() {
        "success" => Ok(body.response),
        "error" => Err(ControlError {
            message: body.error.unwrap_or_default(),
            code: body.error_code,
        }),
        _ => return None,
    };
    Some(ControlResponse {
        request_id: body.request_id,
        outcome,
    })
}
