//! Frames of type `system`.

use super::{Frame, or_default, read};
use serde::Deserialize;
use serde_json::value::RawValue;

/// What the CLI was started with, said at the beginning of every turn.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Init {
    /// The session's id.
    pub session_id: String,
    /// The working directory.
    pub cwd: String,
    /// The model.
    pub model: String,
    /// The tools that exist, by their names in the CLI.
    pub tools: Vec<String>,
    /// MCP servers and whether they answer.
    pub mcp_servers: Vec<McpServer>,
    /// The permission mode.
    #[serde(rename = "permissionMode")]
    pub permission_mode: Option<String>,
    /// The CLI's version.
    pub claude_code_version: Option<String>,
    /// What this version can do beyond the basic protocol.
    #[serde(deserialize_with = "or_default")]
    pub capabilities: Vec<String>,
}

/// An MCP server of the session.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct McpServer {
    /// Its name.
    pub name: String,
    /// `connected`, `failed`, `needs-auth`, `pending` and so on.
    #[serde(default)]
    pub status: String,
}

/// Whether the CLI is at work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionState {
    /// A turn runs.
    Running,
    /// A turn waits for the answer to a `CanUseTool`. A waiting custom tool does not count.
    RequiresAction,
    /// Nothing is owed.
    Idle,
    /// A state that is not known here.
    Other(String),
}

/// A call of the model failed and is tried again.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ApiRetry {
    /// Which attempt failed, from 1.
    #[serde(deserialize_with = "or_default")]
    pub attempt: u32,
    /// How many retries there are.
    #[serde(deserialize_with = "or_default")]
    pub max_retries: u32,
    /// Milliseconds until the next attempt.
    #[serde(deserialize_with = "or_default")]
    pub retry_delay_ms: f64,
    /// The HTTP status; none when there was no response.
    pub error_status: Option<u16>,
    /// The kind of error, such as `overloaded`.
    pub error: Option<String>,
}

/// A call was refused by a rule, without asking.
#[derive(Debug, Clone, Deserialize)]
pub struct PermissionDenied {
    /// The tool's name in the CLI.
    pub tool_name: String,
    /// The call's id.
    #[serde(default)]
    pub tool_use_id: Option<String>,
    /// Why.
    #[serde(default)]
    pub message: Option<String>,
}

/// What happened to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskEvent {
    /// It began.
    Started,
    /// It moved on.
    Progress,
    /// A part of its record changed.
    Updated,
    /// It ended, or has something to say.
    Notification,
}

/// A subagent or a shell that runs beside the conversation. A Bash call in the foreground becomes
/// one after about three seconds.
#[derive(Debug, Clone)]
pub struct Task {
    /// What happened.
    pub event: TaskEvent,
    /// The task's id.
    pub task_id: String,
    /// The call that began it.
    pub tool_use_id: Option<String>,
    /// `local_agent`, `local_bash` and so on.
    pub task_type: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// `completed`, `failed`, `stopped`: how it ended.
    pub status: Option<String>,
    /// The whole frame.
    pub raw: Box<RawValue>,
}

/// The conversation was compacted.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct CompactBoundary {
    /// `manual` or `auto`.
    #[serde(deserialize_with = "or_default")]
    pub trigger: String,
    /// Tokens before.
    #[serde(deserialize_with = "or_default")]
    pub pre_tokens: u64,
    /// Tokens after.
    #[serde(deserialize_with = "or_default")]
    pub post_tokens: u64,
}

/// What the CLI does right now.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Status {
    /// `requesting`, `compacting`, or none.
    pub status: Option<String>,
    /// The prompts whose answer is being requested.
    #[serde(deserialize_with = "or_default")]
    pub user_message_uuids: Vec<String>,
    /// The permission mode, when it changed.
    #[serde(rename = "permissionMode")]
    pub permission_mode: Option<String>,
}

#[derive(Deserialize)]
struct StateFrame {
    state: String,
}

#[derive(Deserialize)]
struct TaskFrame {
    task_id: String,
    #[serde(default)]
    tool_use_id: Option<String>,
    #[serde(default)]
    task_type: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    status: Option<String>,
}

#[derive(Deserialize)]
struct CompactFrame {
    #[serde(default, deserialize_with = "or_default")]
    compact_metadata: CompactBoundary,
}

pub(super) fn parse(subtype: &str, text: &str) -> Option<Frame> {
    let frame = match subtype {
        "init" => Frame::Init(read(text)?),
        "session_state_changed" => Frame::SessionState(state(read::<StateFrame>(text)?.state)),
        "api_retry" => Frame::ApiRetry(read(text)?),
        "permission_denied" => Frame::PermissionDenied(read(text)?),
        "task_started" => task(TaskEvent::Started, text)?,
        "task_progress" => task(TaskEvent::Progress, text)?,
        "task_updated" => task(TaskEvent::Updated, text)?,
        "task_notification" => task(TaskEvent::Notification, text)?,
        "compact_boundary" => Frame::CompactBoundary(read::<CompactFrame>(text)?.compact_metadata),
        "status" => Frame::Status(read(text)?),
        _ => return None,
    };
    Some(frame)
}

fn state(state: String) -> SessionState {
    match state.as_str() {
        "running" => SessionState::Running,
        "requires_action" => SessionState::RequiresAction,
        "idle" => SessionState::Idle,
        _ => SessionState::Other(state),
    }
}

fn task(event: TaskEvent, text: &str) -> Option<Frame> {
    let frame: TaskFrame = read(text)?;
    Some(Frame::Task(Box::new(Task {
        event,
        task_id: frame.task_id,
        tool_use_id: frame.tool_use_id,
        task_type: frame.task_type,
        description: frame.description,
        status: frame.status,
        raw: read(text)?,
    })))
}
