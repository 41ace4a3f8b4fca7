//! The content blocks inside messages.

use super::read;
use serde::Deserialize;
use serde_json::value::RawValue;

/// A block of the model's answer.
#[derive(Debug, Clone)]
pub enum Block {
    /// Text for the user.
    Text(String),
    /// What the model thought.
    Thinking {
        /// The text; may be empty when it is withheld.
        thinking: String,
        /// The API's seal on it.
        signature: String,
    },
    /// A call of a tool that runs here.
    ToolUse {
        /// The call's id.
        id: String,
        /// The tool's name in the CLI.
        name: String,
        /// The arguments, byte for byte.
        input: Box<RawValue>,
    },
    /// Any other kind of block, whole.
    Other {
        /// The block's `type`.
        kind: String,
        /// The block.
        raw: Box<RawValue>,
    },
}

/// A block of a message to the model.
#[derive(Debug, Clone)]
pub enum UserBlock {
    /// Text: a prompt, a note of the CLI, the marker of an interrupt.
    Text(String),
    /// What a tool call came to.
    ToolResult {
        /// The call's id.
        tool_use_id: String,
        /// A JSON string or an array of content blocks; none for an empty result.
        content: Option<Box<RawValue>>,
        /// Whether the call failed, was denied or was stopped.
        is_error: bool,
    },
    /// Any other kind of block, whole.
    Other {
        /// The block's `type`.
        kind: String,
        /// The block.
        raw: Box<RawValue>,
    },
}

#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Text {
    text: String,
}

#[derive(Deserialize)]
struct Thinking {
    thinking: String,
    #[serde(default)]
    signature: String,
}

#[derive(Deserialize)]
struct ToolUse {
    id: String,
    name: String,
    input: Box<RawValue>,
}

#[derive(Deserialize)]
struct ToolResult {
    tool_use_id: String,
    #[serde(default)]
    content: Option<Box<RawValue>>,
    #[serde(default)]
    is_error: Option<bool>,
}

impl Block {
    fn from_raw(raw: Box<RawValue>) -> Self {
        let kind = kind_of(&raw);
        let known = match kind.as_str() {
            "text" => read::<Text>(raw.get()).map(|block| Self::Text(block.text)),
            "thinking" => read::<Thinking>(raw.get()).map(|block| Self::Thinking {
                thinking: block.thinking,
                signature: block.signature,
            }),
            "tool_use" => read::<ToolUse>(raw.get()).map(|block| Self::ToolUse {
                id: block.id,
                name: block.name,
                input: block.input,
            }),
            _ => None,
        };
        known.unwrap_or(Self::Other { kind, raw })
    }
}

impl UserBlock {
    fn from_raw(raw: Box<RawValue>) -> Self {
        let kind = kind_of(&raw);
        let known = match kind.as_str() {
            "text" => read::<Text>(raw.get()).map(|block| Self::Text(block.text)),
            "tool_result" => read::<ToolResult>(raw.get()).map(|block| Self::ToolResult {
                tool_use_id: block.tool_use_id,
                content: block.content,
                is_error: block.is_error.unwrap_or_default(),
            }),
            _ => None,
        };
        known.unwrap_or(Self::Other { kind, raw })
    }
}

fn kind_of(raw: &RawValue) -> String {
    read::<Kind>(raw.get())
        .map(|block| block.kind)
        .unwrap_or_default()
}

/// The blocks of an answer's `content`.
pub(super) fn blocks(content: &RawValue) -> Option<Vec<Block>> {
    if let Some(text) = read::<String>(content.get()) {
        return Some(vec![Block::Text(text)]);
    }
    let raw: Vec<Box<RawValue>> = read(content.get())?;
    Some(raw.into_iter().map(Block::from_raw).collect())
}

/// The blocks of a prompt's or result's `content`, which may be a bare string.
pub(super) fn user_blocks(content: &RawValue) -> Option<Vec<UserBlock>> {
    if let Some(text) = read::<String>(content.get()) {
        return Some(vec![UserBlock::Text(text)]);
    }
    let raw: Vec<Box<RawValue>> = read(content.get())?;
    Some(raw.into_iter().map(UserBlock::from_raw).collect())
}
