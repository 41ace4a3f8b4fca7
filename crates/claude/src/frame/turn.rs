//! The frames of a turn: the model's answers, tool results, stream events and the result.

use super::block::{Block, UserBlock, blocks, user_blocks};
use super::{or_default, read};
use serde::Deserialize;
use serde_json::value::RawValue;

/// A completed content block of the model's answer; the vector holds one block as a rule.
#[derive(Debug, Clone)]
pub struct Assistant {
    /// The message's id at the API; frames of the same answer share it.
    pub message_id: String,
    /// The model that answered; `<synthetic>` for words of the CLI itself.
    pub model: String,
    /// The blocks.
    pub content: Vec<Block>,
    /// The call of the subagent that says this, when it is not the main conversation.
    pub parent_tool_use_id: Option<String>,
    /// Why there is an error text instead of an answer, such as `rate_limit`.
    pub error: Option<String>,
    /// Whether the answer was cut by an interrupt.
    pub aborted: bool,
    /// This frame's id, also its entry's id in the transcript.
    pub uuid: String,
    /// The `request-id` of the model's response.
    pub request_id: Option<String>,
}

/// A message to the model that the CLI made or passed on.
#[derive(Debug, Clone)]
pub struct User {
    /// The blocks.
    pub content: Vec<UserBlock>,
    /// The call of the subagent that this belongs to, when it is not the main conversation.
    pub parent_tool_use_id: Option<String>,
    /// A prompt of the host, read back.
    pub is_replay: bool,
    /// A note of the CLI's own.
    pub is_synthetic: bool,
    /// This frame's id, also its entry's id in the transcript.
    pub uuid: String,
    /// The tool's structured output; its shape depends on the tool.
    pub tool_use_result: Option<Box<RawValue>>,
    /// How each call was permitted, or why it did not run.
    pub tool_result_meta: Option<Box<RawValue>>,
}

/// An event of the model's stream.
#[derive(Debug, Clone, Deserialize)]
pub struct StreamEvent {
    /// The event as the API sent it.
    pub event: Box<RawValue>,
    /// The call of the subagent that streams, when it is not the main conversation.
    #[serde(default)]
    pub parent_tool_use_id: Option<String>,
    /// The message that the event belongs to. On every event in newer versions.
    #[serde(default)]
    pub api_message_id: Option<String>,
}

/// A tool call still runs.
#[derive(Debug, Clone, Deserialize)]
pub struct ToolProgress {
    /// The tool's name in the CLI.
    #[serde(default)]
    pub tool_name: String,
    /// The call's id. The frame's own `tool_use_id` is another one in a heartbeat.
    #[serde(default, rename = "parent_tool_use_id")]
    pub call: Option<String>,
    /// How long it runs.
    #[serde(default)]
    pub elapsed_time_seconds: f64,
}

/// How a turn ended.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct TurnResult {
    /// `success`, or `error_during_execution`, `error_max_turns`, `error_max_budget_usd` and so on.
    #[serde(deserialize_with = "or_default")]
    pub subtype: String,
    /// Whether the turn failed. Can be true with `success`: that is how API failures end.
    #[serde(deserialize_with = "or_default")]
    pub is_error: bool,
    /// Calls of the model in this turn.
    #[serde(deserialize_with = "or_default")]
    pub num_turns: u64,
    /// The answer's text, or the error's.
    pub result: Option<String>,
    /// Why the model's last answer ended.
    pub stop_reason: Option<String>,
    /// Why the turn ended: `completed`, `max_turns`, `budget_exhausted`, `aborted_streaming`,
    /// `aborted_tools`, `api_error`, `blocking_limit` and so on.
    pub terminal_reason: Option<String>,
    /// What went wrong, for people.
    #[serde(deserialize_with = "or_default")]
    pub errors: Vec<String>,
    /// The status of the model API's last error.
    pub api_error_status: Option<u16>,
    /// Dollars since the session began, resumes included, by the CLI's own price list.
    #[serde(deserialize_with = "or_default")]
    pub total_cost_usd: f64,
    /// Tokens of the main conversation in this turn.
    #[serde(deserialize_with = "or_default")]
    pub usage: Usage,
    /// Per model since the session began.
    #[serde(rename = "modelUsage")]
    pub model_usage: Option<Box<RawValue>>,
    /// Per model since the previous result.
    pub model_usage_since_last_result: Option<Box<RawValue>>,
    /// Calls that were denied.
    #[serde(deserialize_with = "or_default")]
    pub permission_denials: Vec<PermissionDenial>,
    /// Every prompt that this turn consumed.
    #[serde(deserialize_with = "or_default")]
    pub user_message_uuids: Vec<String>,
    /// Prompts that still wait.
    #[serde(deserialize_with = "or_default")]
    pub queued_turn_count: u64,
    /// Wall clock of the turn.
    #[serde(deserialize_with = "or_default")]
    pub duration_ms: f64,
    /// Time spent waiting for the model.
    #[serde(deserialize_with = "or_default")]
    pub duration_api_ms: f64,
    /// Counts results of this process from 0.
    pub result_index: Option<u64>,
    /// Set when the process could not start; it exits after this frame.
    pub startup_failure_reason: Option<String>,
    /// The answer in the agent's schema. May be absent in a success.
    pub structured_output: Option<Box<RawValue>>,
    /// The session's id.
    pub session_id: Option<String>,
}

/// Tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Tokens read that were not cached.
    #[serde(deserialize_with = "or_default")]
    pub input_tokens: u64,
    /// Tokens written.
    #[serde(deserialize_with = "or_default")]
    pub output_tokens: u64,
    /// Tokens read from the cache.
    #[serde(deserialize_with = "or_default")]
    pub cache_read_input_tokens: u64,
    /// Tokens put into the cache.
    #[serde(deserialize_with = "or_default")]
    pub cache_creation_input_tokens: u64,
    /// The same, by how long they stay.
    #[serde(deserialize_with = "or_default")]
    pub cache_creation: CacheCreation,
    /// Tools that ran at the API.
    #[serde(deserialize_with = "or_default")]
    pub server_tool_use: ServerToolUse,
}

/// Tokens put into the cache, by how long they stay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct CacheCreation {
    /// For five minutes.
    #[serde(deserialize_with = "or_default")]
    pub ephemeral_5m_input_tokens: u64,
    /// For an hour.
    #[serde(deserialize_with = "or_default")]
    pub ephemeral_1h_input_tokens: u64,
}

/// Calls of tools that run at the API.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ServerToolUse {
    /// Searches.
    #[serde(deserialize_with = "or_default")]
    pub web_search_requests: u64,
    /// Fetches.
    #[serde(deserialize_with = "or_default")]
    pub web_fetch_requests: u64,
}

/// A call that was denied.
#[derive(Debug, Clone, Deserialize)]
pub struct PermissionDenial {
    /// The tool's name in the CLI.
    pub tool_name: String,
    /// The call's id.
    pub tool_use_id: String,
}

#[derive(Deserialize)]
struct AssistantFrame {
    message: AssistantMessage,
    #[serde(default)]
    parent_tool_use_id: Option<String>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    aborted: bool,
    #[serde(default)]
    uuid: String,
    #[serde(default)]
    request_id: Option<String>,
}

#[derive(Deserialize)]
struct AssistantMessage {
    #[serde(default)]
    id: String,
    #[serde(default)]
    model: String,
    content: Box<RawValue>,
}

#[derive(Deserialize)]
struct UserFrame {
    message: UserMessage,
    #[serde(default)]
    parent_tool_use_id: Option<String>,
    #[serde(default, rename = "isReplay", deserialize_with = "or_default")]
    is_replay: bool,
    #[serde(default, rename = "isSynthetic", deserialize_with = "or_default")]
    is_synthetic: bool,
    #[serde(default)]
    uuid: String,
    #[serde(default)]
    tool_use_result: Option<Box<RawValue>>,
    #[serde(default)]
    tool_result_meta: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct UserMessage {
    content: Box<RawValue>,
}

pub(super) fn assistant(text: &str) -> Option<Assistant> {
    let frame: AssistantFrame = read(text)?;
    Some(Assistant {
        content: blocks(&frame.message.content)?,
        message_id: frame.message.id,
        model: frame.message.model,
        parent_tool_use_id: frame.parent_tool_use_id,
        error: frame.error,
        aborted: frame.aborted,
        uuid: frame.uuid,
        request_id: frame.request_id,
    })
}

pub(super) fn user(text: &str) -> Option<User> {
    let frame: UserFrame = read(text)?;
    Some(User {
        content: user_blocks(&frame.message.content)?,
        parent_tool_use_id: frame.parent_tool_use_id,
        is_replay: frame.is_replay,
        is_synthetic: frame.is_synthetic,
        uuid: frame.uuid,
        tool_use_result: frame.tool_use_result,
        tool_result_meta: frame.tool_result_meta,
    })
}
