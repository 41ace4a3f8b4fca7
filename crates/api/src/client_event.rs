//! Events that clients send into a session.
//!
//! Reading one checks its shape only. Whether it fits the session's state (a known tool call, a
//! session that still takes events) is for the session to say.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::content::{Block, MessageBlock, ResultBlock};
use crate::error::Invalid;
use crate::limits;
use crate::read::{At, Fields, NOT_SERVED, Read, quoted};

/// One event from a client, without the id and time that the server adds.
///
/// Serialises to the event's JSON in the log, minus `id` and `processed_at`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum ClientEvent {
    /// Something for the agent to answer.
    #[serde(rename = "user.message")]
    Message {
        /// At least one block.
        content: Vec<Block>,
    },
    /// Stop what is going on.
    #[serde(rename = "user.interrupt")]
    Interrupt {
        /// The thread to stop; null stops them all.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        session_thread_id: Option<String>,
    },
    /// The answer to a tool call that asked.
    #[serde(rename = "user.tool_confirmation")]
    ToolConfirmation {
        /// The event id of the call.
        tool_use_id: String,
        /// Whether it runs.
        result: Confirmation,
        /// What the agent is told about a denial.
        deny_message: Option<String>,
    },
    /// The result of a custom tool.
    #[serde(rename = "user.custom_tool_result")]
    CustomToolResult {
        /// The event id of the call.
        custom_tool_use_id: String,
        /// What the tool says.
        content: Vec<Block>,
        /// Whether it failed.
        is_error: Option<bool>,
    },
}

/// Whether a tool call that asked may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confirmation {
    /// It runs.
    Allow,
    /// It does not; the agent is told.
    Deny,
}

/// The body of a send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendEvents {
    /// What to append, in order; all or nothing.
    pub events: Vec<ClientEvent>,
}

/// Event types that the contract has and this server does not take yet.
const UNSERVED: &[&str] = &["user.tool_result", "user.define_outcome", "system.message"];

const SERVED: &str =
    "`user.message`, `user.interrupt`, `user.tool_confirmation`, `user.custom_tool_result`";

impl ClientEvent {
    /// The event's type in the contract.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            ClientEvent::Message { .. } => "user.message",
            ClientEvent::Interrupt { .. } => "user.interrupt",
            ClientEvent::ToolConfirmation { .. } => "user.tool_confirmation",
            ClientEvent::CustomToolResult { .. } => "user.custom_tool_result",
        }
    }
}

impl Read for ClientEvent {
    fn read(value: Value, at: At<'_>) -> Result<ClientEvent, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let event = match fields.tag("type")?.as_str() {
            "user.message" => read_message(&mut fields)?,
            "user.interrupt" => ClientEvent::Interrupt {
                session_thread_id: take_thread(&mut fields)?,
            },
            "user.tool_confirmation" => read_confirmation(&mut fields)?,
            "user.custom_tool_result" => read_custom_result(&mut fields)?,
            kind if UNSERVED.contains(&kind) => {
                return Err(at.key("type").invalid(format!("`{kind}` is {NOT_SERVED}")));
            }
            other => {
                return Err(at
                    .key("type")
                    .invalid(format!("must be one of {SERVED}, got {}", quoted(other))));
            }
        };
        fields.finish()?;
        Ok(event)
    }
}

fn read_message(fields: &mut Fields<'_>) -> Result<ClientEvent, Invalid> {
    let blocks: Vec<MessageBlock> = fields.required("content")?;
    if blocks.is_empty() {
        return Err(fields
            .at()
            .key("content")
            .invalid("needs at least one block"));
    }
    Ok(ClientEvent::Message {
        content: blocks.into_iter().map(|block| block.0).collect(),
    })
}

fn read_confirmation(fields: &mut Fields<'_>) -> Result<ClientEvent, Invalid> {
    let at = fields.at();
    let tool_use_id = take_id(fields, "tool_use_id")?;
    let result = match fields.required::<String>("result")?.as_str() {
        "allow" => Confirmation::Allow,
        "deny" => Confirmation::Deny,
        other => {
            return Err(at
                .key("result")
                .invalid(format!("must be `allow` or `deny`, got {}", quoted(other))));
        }
    };
    let deny_message: Option<String> = fields.optional("deny_message")?;
    if let Some(message) = &deny_message {
        limits::text(message, 0, limits::DENY_MESSAGE, at.key("deny_message"))?;
        if result == Confirmation::Allow {
            return Err(at
                .key("deny_message")
                .invalid("only goes with the result `deny`"));
        }
    }
    Ok(ClientEvent::ToolConfirmation {
        tool_use_id,
        result,
        deny_message,
    })
}

fn read_custom_result(fields: &mut Fields<'_>) -> Result<ClientEvent, Invalid> {
    let custom_tool_use_id = take_id(fields, "custom_tool_use_id")?;
    let blocks = fields
        .optional::<Vec<ResultBlock>>("content")?
        .unwrap_or_default();
    let is_error = fields.optional("is_error")?;
    let content = blocks.into_iter().map(|block| block.0).collect();
    Ok(ClientEvent::CustomToolResult {
        custom_tool_use_id,
        content,
        is_error,
    })
}

fn take_id(fields: &mut Fields<'_>, key: &'static str) -> Result<String, Invalid> {
    let id: String = fields.required(key)?;
    limits::text(&id, 1, limits::ID, fields.at().key(key))?;
    Ok(id)
}

fn take_thread(fields: &mut Fields<'_>) -> Result<Option<String>, Invalid> {
    let id: Option<String> = fields.optional("session_thread_id")?;
    limits::text(
        id.as_deref().unwrap_or(""),
        0,
        limits::ID,
        fields.at().key("session_thread_id"),
    )?;
    Ok(id)
}

impl Read for SendEvents {
    fn read(value: Value, at: At<'_>) -> Result<SendEvents, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let events: Vec<ClientEvent> = fields.required("events")?;
        fields.finish()?;
        if events.is_empty() {
            return Err(at.key("events").invalid("needs at least one event"));
        }
        limits::items(events.len(), limits::SEND_EVENTS, at.key("events"))?;
        Ok(SendEvents { events })
    }
}

#[cfg(test)]
mod tests;
