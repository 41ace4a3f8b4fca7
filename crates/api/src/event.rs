//! What a session's log says: every event the server emits, and the two that only live streams carry.
//!
//! An [`Event`] is built once, serialised once with [`Event::to_json`], and from then on only its
//! bytes travel: the log stores them, the list and the stream repeat them. Nothing here reads events
//! that clients send; those are in `client_event`.
//!
//! Source: the public Managed Agents contract, section "Events".

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::Value;

/// Every event type that a log can hold, for filters of the list. Some are not emitted by this server
/// yet; asking for them is not wrong, there are just none.
pub const LISTED: &[&str] = &[
    "user.message",
    "user.interrupt",
    "user.tool_confirmation",
    "user.custom_tool_result",
    "user.tool_result",
    "user.define_outcome",
    "system.message",
    "agent.message",
    "agent.thinking",
    "agent.tool_use",
    "agent.tool_result",
    "agent.mcp_tool_use",
    "agent.mcp_tool_result",
    "agent.custom_tool_use",
    "agent.thread_context_compacted",
    "agent.thread_message_sent",
    "agent.thread_message_received",
    "session.status_running",
    "session.status_idle",
    "session.status_rescheduled",
    "session.status_terminated",
    "session.error",
    "session.updated",
    "session.usage",
    "session.thread_created",
    "session.thread_status_running",
    "session.thread_status_idle",
    "session.thread_status_rescheduled",
    "session.thread_status_terminated",
    "span.model_request_start",
    "span.model_request_end",
    "span.outcome_evaluation_start",
    "span.outcome_evaluation_ongoing",
    "span.outcome_evaluation_end",
    "workflow_run.created",
    "workflow_run.status_running",
    "workflow_run.status_idle",
    "workflow_run.status_ended",
    "workflow_run.phase_started",
    "workflow_run.phase_ended",
    "workflow_run.error",
    "hostel.frame",
    "hostel.queued",
];

/// One event of a session's log.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// `sevt_…`, unique over all sessions.
    pub id: String,
    /// When the server made it; also its place in time for clients.
    pub processed_at: DateTime<Utc>,
    /// What happened.
    pub body: Body,
}

/// What happened, by the contract's event type.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type")]
pub enum Body {
    /// The agent said something.
    #[serde(rename = "agent.message")]
    AgentMessage {
        /// Text blocks.
        content: Vec<Value>,
    },
    /// The agent thought; a sign of progress without its text.
    #[serde(rename = "agent.thinking")]
    AgentThinking {},
    /// The agent called a built-in tool.
    #[serde(rename = "agent.tool_use")]
    AgentToolUse {
        /// The tool's name in the contract (`bash`, `read`, …).
        name: String,
        /// What the tool was called with.
        input: Value,
        /// What the policy made of the call.
        evaluated_permission: Permission,
        /// Which policy that was.
        evaluation: Value,
    },
    /// A built-in tool answered.
    #[serde(rename = "agent.tool_result")]
    AgentToolResult {
        /// The event id of the call.
        tool_use_id: String,
        /// Content blocks.
        content: Vec<Value>,
        /// Whether the tool failed or was refused.
        is_error: bool,
    },
    /// The agent called a tool of a remote MCP server.
    #[serde(rename = "agent.mcp_tool_use")]
    AgentMcpToolUse {
        /// The server's name in the agent's definition.
        mcp_server_name: String,
        /// The tool's name on that server.
        name: String,
        /// What the tool was called with.
        input: Value,
        /// What the policy made of the call.
        evaluated_permission: Permission,
        /// Which policy that was.
        evaluation: Value,
    },
    /// A remote MCP tool answered.
    #[serde(rename = "agent.mcp_tool_result")]
    AgentMcpToolResult {
        /// The event id of the call.
        mcp_tool_use_id: String,
        /// Content blocks.
        content: Vec<Value>,
        /// Whether the tool failed or was refused.
        is_error: bool,
    },
    /// The agent called a tool that the client runs.
    #[serde(rename = "agent.custom_tool_use")]
    AgentCustomToolUse {
        /// The tool's name in the agent's definition.
        name: String,
        /// What the tool was called with.
        input: Value,
    },
    /// The conversation was compacted to fit the model's window.
    #[serde(rename = "agent.thread_context_compacted")]
    AgentThreadContextCompacted {},
    /// The session works.
    #[serde(rename = "session.status_running")]
    SessionStatusRunning {},
    /// The session waits.
    #[serde(rename = "session.status_idle")]
    SessionStatusIdle {
        /// Why it stopped.
        stop_reason: StopReason,
        /// More on a refusal; null otherwise.
        stop_details: Option<Value>,
    },
    /// A transient failure; the session goes on by itself.
    #[serde(rename = "session.status_rescheduled")]
    SessionStatusRescheduled {},
    /// The session is over.
    #[serde(rename = "session.status_terminated")]
    SessionStatusTerminated {},
    /// Something went wrong.
    #[serde(rename = "session.error")]
    SessionError {
        /// What, and whether it is tried again.
        error: ErrorBody,
    },
    /// The session's own fields changed.
    #[serde(rename = "session.updated")]
    SessionUpdated {
        /// The effective agent after the change.
        #[serde(skip_serializing_if = "Option::is_none")]
        agent: Option<Value>,
        /// The new title.
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<Value>,
        /// The whole metadata map after the change.
        #[serde(skip_serializing_if = "Option::is_none")]
        metadata: Option<Value>,
        /// The new budget; JSON null when it was removed.
        #[serde(skip_serializing_if = "Option::is_none")]
        budget: Option<Value>,
    },
    /// What the session has used so far.
    #[serde(rename = "session.usage")]
    SessionUsage {
        /// The contract's usage object.
        usage: Value,
        /// The budget in force.
        budget: Option<Value>,
    },
    /// The session was deleted (live streams only, their last event).
    #[serde(rename = "session.deleted")]
    SessionDeleted {},
    /// A thread works.
    #[serde(rename = "session.thread_status_running")]
    ThreadStatusRunning {
        /// Which thread.
        session_thread_id: String,
        /// The thread's agent.
        agent_name: String,
    },
    /// A thread waits.
    #[serde(rename = "session.thread_status_idle")]
    ThreadStatusIdle {
        /// Which thread.
        session_thread_id: String,
        /// The thread's agent.
        agent_name: String,
        /// Why it stopped.
        stop_reason: StopReason,
        /// More on a refusal; null otherwise.
        stop_details: Option<Value>,
    },
    /// A thread goes on after a transient failure.
    #[serde(rename = "session.thread_status_rescheduled")]
    ThreadStatusRescheduled {
        /// Which thread.
        session_thread_id: String,
        /// The thread's agent.
        agent_name: String,
    },
    /// A thread is over.
    #[serde(rename = "session.thread_status_terminated")]
    ThreadStatusTerminated {
        /// Which thread.
        session_thread_id: String,
        /// The thread's agent.
        agent_name: String,
    },
    /// A model request began to answer.
    #[serde(rename = "span.model_request_start")]
    ModelRequestStart {},
    /// A model request ended.
    #[serde(rename = "span.model_request_end")]
    ModelRequestEnd {
        /// The id of its start event.
        model_request_start_id: String,
        /// Whether it failed or was interrupted.
        is_error: bool,
        /// What it used.
        model_usage: ModelUsage,
    },
    /// Something the claude CLI said that this server does not know, as it was said. An extension:
    /// a newer CLI's frames are kept rather than lost.
    #[serde(rename = "hostel.frame")]
    HostelFrame {
        /// The frame's own type, with its subtype behind a slash.
        kind: String,
        /// The frame.
        frame: Value,
    },
    /// The session waits for a sandbox. An extension: the contract knows no such waiting.
    #[serde(rename = "hostel.queued")]
    HostelQueued {
        /// How many go before, this one included: 1 is next.
        position: u32,
        /// For what it waits.
        reason: QueueReason,
    },
}

/// For what a session waits that has no sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueReason {
    /// Every sandbox that the server may have is in use; the position is among all who wait for one.
    ServerFull,
    /// The workspace has as many sandboxes, as much memory or disk as it may have; the position is among
    /// its own sessions.
    WorkspaceLimit,
}

/// What a policy made of a tool call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// It runs.
    Allow,
    /// The client is asked.
    Ask,
    /// It does not run.
    Deny,
}

/// Why a session went idle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StopReason {
    /// Finished, or interrupted.
    EndTurn,
    /// Blocked on answers to these events.
    RequiresAction {
        /// The ids of the tool calls that wait.
        event_ids: Vec<String>,
    },
    /// Errors used up the retries, or a limit on rounds was hit.
    RetriesExhausted,
    /// The session's budget is used up.
    BudgetReached,
    /// The model refused.
    Refusal,
}

/// What went wrong and whether it is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErrorBody {
    /// The contract's error type.
    #[serde(rename = "type")]
    pub kind: ErrorKind,
    /// One sentence for people.
    pub message: String,
    /// Whether the session goes on by itself.
    pub retry_status: RetryStatus,
    /// For MCP errors, the server's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mcp_server_name: Option<String>,
}

/// The contract's error types that this server emits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// None of the others.
    UnknownError,
    /// The model API is overloaded (529).
    ModelOverloadedError,
    /// The model API limits the rate (429).
    ModelRateLimitedError,
    /// The model API failed or refused otherwise.
    ModelRequestFailedError,
    /// The account has no credit.
    BillingError,
    /// Too many rounds in one turn.
    ToolUseLimitReachedError,
    /// The conversation does not fit the model's window any more.
    CompactionLimitReachedError,
    /// A remote MCP server could not be reached.
    McpConnectionFailedError,
    /// The credential of a remote MCP server cannot be used any more.
    McpAuthenticationFailedError,
}

/// Whether the session goes on by itself after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RetryStatus {
    /// It is being tried again.
    Retrying,
    /// This turn is dead; the session takes the next message.
    Exhausted,
    /// The session is about to be terminated.
    Terminal,
}

/// What one model request used, in tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ModelUsage {
    /// Uncached input.
    pub input_tokens: u64,
    /// Output.
    pub output_tokens: u64,
    /// Input written to the cache.
    pub cache_creation_input_tokens: u64,
    /// Input read from the cache.
    pub cache_read_input_tokens: u64,
}

/// What only live streams carry: the growth of an event that is not finished yet.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Preview {
    /// An event began; its final form follows under the same id.
    EventStart {
        /// Which one.
        event: PreviewOf,
    },
    /// More of its text.
    EventDelta {
        /// Which one.
        event_id: String,
        /// The text.
        delta: Value,
    },
}

/// The event that a preview is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PreviewOf {
    /// `agent.message` or `agent.thinking`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The id that the final event will have.
    pub id: String,
}

impl Preview {
    /// The preview of `text` added to the first block of event `event_id`.
    #[must_use]
    pub fn text(event_id: &str, text: &str) -> Preview {
        Preview::EventDelta {
            event_id: event_id.to_owned(),
            delta: serde_json::json!({"type": "content_delta", "index": 0, "content": {"type": "text", "text": text}}),
        }
    }

    /// The event name on the wire.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Preview::EventStart { .. } => "event_start",
            Preview::EventDelta { .. } => "event_delta",
        }
    }
}

impl Event {
    /// The contract's event type, also the SSE event name.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.body.kind()
    }

    /// The event's JSON as it is stored and served, for ever.
    #[must_use]
    pub fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct Wire<'a> {
            id: &'a str,
            #[serde(flatten)]
            body: &'a Body,
            processed_at: String,
        }
        serde_json::to_string(&Wire {
            id: &self.id,
            body: &self.body,
            processed_at: timestamp(self.processed_at),
        })
        .expect("an event holds only string keys and finite numbers")
    }
}

impl Body {
    /// The contract's event type.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Body::AgentMessage { .. } => "agent.message",
            Body::AgentThinking {} => "agent.thinking",
            Body::AgentToolUse { .. } => "agent.tool_use",
            Body::AgentToolResult { .. } => "agent.tool_result",
            Body::AgentMcpToolUse { .. } => "agent.mcp_tool_use",
            Body::AgentMcpToolResult { .. } => "agent.mcp_tool_result",
            Body::AgentCustomToolUse { .. } => "agent.custom_tool_use",
            Body::AgentThreadContextCompacted {} => "agent.thread_context_compacted",
            Body::SessionStatusRunning {} => "session.status_running",
            Body::SessionStatusIdle { .. } => "session.status_idle",
            Body::SessionStatusRescheduled {} => "session.status_rescheduled",
            Body::SessionStatusTerminated {} => "session.status_terminated",
            Body::SessionError { .. } => "session.error",
            Body::SessionUpdated { .. } => "session.updated",
            Body::SessionUsage { .. } => "session.usage",
            Body::SessionDeleted {} => "session.deleted",
            Body::ThreadStatusRunning { .. } => "session.thread_status_running",
            Body::ThreadStatusIdle { .. } => "session.thread_status_idle",
            Body::ThreadStatusRescheduled { .. } => "session.thread_status_rescheduled",
            Body::ThreadStatusTerminated { .. } => "session.thread_status_terminated",
            Body::ModelRequestStart {} => "span.model_request_start",
            Body::ModelRequestEnd { .. } => "span.model_request_end",
            Body::HostelFrame { .. } => "hostel.frame",
            Body::HostelQueued { .. } => "hostel.queued",
        }
    }
}

/// A moment as the contract writes it: RFC 3339, UTC, microseconds, `Z`.
#[must_use]
pub fn timestamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(body: Body) -> Event {
        Event {
            id: "sevt_1".into(),
            processed_at: DateTime::UNIX_EPOCH,
            body,
        }
    }

    #[test]
    fn an_event_repeats_its_kind_as_type() {
        let rows = [
            Body::AgentThinking {},
            Body::SessionStatusRunning {},
            Body::SessionStatusIdle {
                stop_reason: StopReason::EndTurn,
                stop_details: None,
            },
            Body::ThreadStatusTerminated {
                session_thread_id: "sthr_1".into(),
                agent_name: "a".into(),
            },
            Body::ModelRequestEnd {
                model_request_start_id: "sevt_0".into(),
                is_error: false,
                model_usage: ModelUsage::default(),
            },
            Body::SessionDeleted {},
        ];
        for body in rows {
            let event = event(body);
            let value: Value = serde_json::from_str(&event.to_json()).unwrap();
            assert_eq!(value["type"], event.kind());
            assert_eq!(value["id"], "sevt_1");
            assert_eq!(value["processed_at"], "1970-01-01T00:00:00.000000Z");
        }
    }

    #[test]
    fn an_idle_event_has_the_contract_s_shape() {
        let idle = event(Body::SessionStatusIdle {
            stop_reason: StopReason::RequiresAction {
                event_ids: vec!["sevt_9".into()],
            },
            stop_details: None,
        });
        assert_eq!(
            idle.to_json(),
            r#"{"id":"sevt_1","type":"session.status_idle","stop_reason":{"type":"requires_action","event_ids":["sevt_9"]},"stop_details":null,"processed_at":"1970-01-01T00:00:00.000000Z"}"#
        );
    }
}
