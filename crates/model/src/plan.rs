//! From a request to what is sent: the message of this step with its tokens,
//! and the fault that stands in its way.

use std::time::Duration;

use serde_json::{Value, json};

use crate::conversation::{Request, Standing};
use crate::demo;
use crate::script::{Fault, Message, Part, Script, ScriptError};

/// What is sent for one request.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) model: String,
    pub(crate) blocks: Vec<Block>,
    pub(crate) stop_reason: String,
    pub(crate) usage: Usage,
    pub(crate) slow: Option<Duration>,
    pub(crate) delay: Option<Duration>,
    /// What happens in place of the answer, or after `blocks`.
    pub(crate) fault: Option<Fault>,
}

/// A block of content, or an event as it is.
#[derive(Debug, PartialEq)]
pub(crate) enum Block {
    Text(String),
    Thinking(String),
    Tool { name: String, input: Value },
    Raw(String),
}

/// Token counts, a pure function of lengths: four bytes are one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) input: u64,
    pub(crate) cache_write: u64,
    pub(crate) cache_read: u64,
    pub(crate) output: u64,
}

/// The attempts of a step: how often the fault at an index was met before.
pub(crate) trait Attempts {
    /// Counts one more and returns how many there were before.
    fn count(&self, key: u64, fault: usize) -> u32;
}

/// Tokens of so many bytes.
pub(crate) fn tokens(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(4)
}

impl Plan {
    /// Plans the answer to a request of `length` bytes.
    ///
    /// # Errors
    /// When the prompt's script is wrong.
    pub(crate) fn of(
        request: &Request,
        length: usize,
        cached: bool,
        attempts: &dyn Attempts,
    ) -> Result<Self, ScriptError> {
        let standing = request.standing();
        let message = message(request, &standing)?;
        let mut blocks = Vec::new();
        let mut fault = None;
        for (at, part) in message.parts.into_iter().enumerate() {
            match part {
                Part::Fault { fault: met, times } => {
                    if times.is_none_or(|times| attempts.count(standing.key, at) < times) {
                        fault = Some(met);
                        break;
                    }
                }
                part => blocks.push(block(part, request, &standing)),
            }
        }
        let calls = blocks
            .iter()
            .any(|block| matches!(block, Block::Tool { .. }));
        let usual = if calls { "tool_use" } else { "end_turn" };
        Ok(Self {
            model: request.model.clone(),
            usage: usage(request, length, cached, &standing, &blocks),
            blocks,
            stop_reason: message.stop.unwrap_or_else(|| usual.to_owned()),
            slow: message.slow,
            delay: message.delay,
            fault,
        })
    }
}

/// The message for this step.
fn message(request: &Request, standing: &Standing) -> Result<Message, ScriptError> {
    if demo::is_own_request(request, standing) {
        return Ok(demo::message(request, standing));
    }
    let Some(mut script) = Script::parse(&standing.text)? else {
        return Ok(demo::message(request, standing));
    };
    if !request.has_tools() {
        // A request without tools cannot take a step with tools: what is left is
        // one message of texts.
        let parts = script
            .messages
            .into_iter()
            .flat_map(|message| message.parts);
        let parts = parts
            .filter(|part| !matches!(part, Part::Tool { .. }))
            .collect();
        script = Script {
            messages: vec![Message {
                parts,
                ..Message::default()
            }],
        };
    }
    let done = || Message {
        parts: vec![Part::Text("done".to_owned())],
        ..Message::default()
    };
    let mut message = script
        .messages
        .into_iter()
        .nth(standing.step)
        .unwrap_or_else(done);
    let faults_only = message
        .parts
        .iter()
        .all(|part| matches!(part, Part::Fault { .. }));
    if faults_only {
        message.parts.extend(done().parts);
    }
    Ok(message)
}

fn block(part: Part, request: &Request, standing: &Standing) -> Block {
    let fill = |text: String| fill(text, request, standing);
    match part {
        Part::Text(text) => Block::Text(fill(text)),
        Part::Thinking(text) => Block::Thinking(fill(text)),
        Part::Repeat { count, word } => Block::Text(vec![word; count].join(" ")),
        Part::Raw(text) => Block::Raw(text),
        Part::Tool { name, input } => Block::Tool {
            name,
            input: fill_value(input, &fill),
        },
        Part::Fault { .. } => unreachable!("faults are taken out before"),
    }
}

fn fill(text: String, request: &Request, standing: &Standing) -> String {
    if !text.contains("{{") {
        return text;
    }
    let result = standing.result.as_deref().unwrap_or_default();
    let text = text.replace("{{result}}", result);
    text.replace("{{cwd}}", &request.cwd().unwrap_or_else(|| ".".to_owned()))
}

fn fill_value(value: Value, fill: &impl Fn(String) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(fill(text)),
        Value::Array(items) => items
            .into_iter()
            .map(|item| fill_value(item, fill))
            .collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| (name, fill_value(value, fill)))
            .collect(),
        other => other,
    }
}

/// With a cache mark in the request, all but the newest text counts as written
/// to the cache at the first step of a conversation and as read from it later.
fn usage(
    request: &Request,
    length: usize,
    cached: bool,
    standing: &Standing,
    blocks: &[Block],
) -> Usage {
    let all = tokens(length);
    let fresh = match cached {
        true => tokens(standing.text.len()).min(all),
        false => all,
    };
    let (cache_write, cache_read) = match request.has_assistant_turn() {
        true => (0, all - fresh),
        false => (all - fresh, 0),
    };
    let output = blocks.iter().map(Block::length).sum();
    Usage {
        input: fresh,
        cache_write,
        cache_read,
        output: tokens(output).max(1),
    }
}

impl Block {
    fn length(&self) -> usize {
        match self {
            Self::Text(text) | Self::Thinking(text) => text.len(),
            Self::Tool { name, input } => name.len() + input.to_string().len(),
            Self::Raw(_) => 0,
        }
    }
}

impl Usage {
    /// The object of the API, with `output` tokens so far.
    pub(crate) fn object(&self, output: u64) -> Value {
        json!({
            "input_tokens": self.input,
            "cache_creation_input_tokens": self.cache_write,
            "cache_read_input_tokens": self.cache_read,
            "cache_creation": {
                "ephemeral_5m_input_tokens": self.cache_write,
                "ephemeral_1h_input_tokens": 0,
            },
            "output_tokens": output,
            "service_tier": "standard",
        })
    }
}

#[cfg(test)]
mod tests;
