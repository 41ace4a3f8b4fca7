//! Reads what a model call used out of the answer as it passes.
//!
//! It looks at copies of the bytes, keeps at most one line of a stream or the
//! few values of a JSON answer it needs, and never changes or delays anything.
//! An answer it cannot read is an answer without a count, not an error.

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use crate::prices::Terms;
use crate::scan::TopLevel;
use crate::usage::Tokens;

/// Bytes of a token where nobody counted: what most text has.
pub(crate) const BYTES_PER_TOKEN: u64 = 4;

/// Bytes of a delta's line around its text.
const AROUND: u64 = 86;

/// Longest line of a stream that is read; those with numbers are below 4 kB.
const MAX_LINE: usize = 256 * 1024;

/// What one answer said so far.
pub(crate) struct Meter {
    form: Form,
    reading: Reading,
}

/// What was counted.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Reading {
    /// The model that answered.
    pub(crate) model: Option<String>,
    /// Tokens, when the answer said any.
    pub(crate) tokens: Option<Tokens>,
    /// On which terms they are sold.
    pub(crate) terms: Terms,
    /// `error.type` of an error answer or event.
    pub(crate) error: Option<String>,
    /// A stream's end mark went by. `None` for answers that have no such mark.
    pub(crate) ended: Option<bool>,
    /// About how many tokens a stream has said, for one without its own count.
    pub(crate) said: u64,
}

enum Form {
    Stream(Lines),
    Json(TopLevel),
    Opaque,
}

impl Meter {
    /// A meter for an answer with this head.
    pub(crate) fn new(status: StatusCode, headers: &HeaderMap) -> Self {
        let encoded = headers
            .get(CONTENT_ENCODING)
            .is_some_and(|value| value.as_bytes() != b"identity");
        let kind = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let mut reading = Reading::default();
        let form = if encoded {
            Form::Opaque
        } else if kind.starts_with("text/event-stream") {
            reading.ended = status.is_success().then_some(false);
            Form::Stream(Lines::default())
        } else if kind.starts_with("application/json") {
            Form::Json(TopLevel::new(&["model", "usage", "error"]))
        } else {
            Form::Opaque
        };
        Self { form, reading }
    }

    /// Looks at the next bytes of the body.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        match &mut self.form {
            Form::Stream(lines) => lines.feed(bytes, &mut self.reading),
            Form::Json(scan) => scan.feed(bytes),
            Form::Opaque => {}
        }
    }

    /// The count so far.
    pub(crate) fn reading(&self) -> Reading {
        let mut reading = self.reading.clone();
        if let Form::Json(scan) = &self.form {
            reading.model = scan.get("model");
            if let Some(usage) = scan.get::<UsageObject>("usage") {
                reading.take(usage);
            }
            reading.error = scan.get::<ErrorObject>("error").map(|error| error.kind);
        }
        reading
    }
}

impl Reading {
    /// Lays a `usage` object over what is known: numbers are cumulative, and a
    /// later object may leave some out.
    fn take(&mut self, usage: UsageObject) {
        let tokens = self.tokens.get_or_insert_default();
        let set = |place: &mut u64, value: Option<u64>| *place = value.unwrap_or(*place);
        set(&mut tokens.input, usage.input_tokens);
        set(&mut tokens.output, usage.output_tokens);
        set(&mut tokens.cache_read, usage.cache_read_input_tokens);
        match (usage.cache_creation, usage.cache_creation_input_tokens) {
            (Some(split), _) => {
                set(&mut tokens.cache_write_5m, split.ephemeral_5m_input_tokens);
                set(&mut tokens.cache_write_1h, split.ephemeral_1h_input_tokens);
            }
            // A total without a split: the split of before stands when it adds
            // up, else all of it counts as the default of five minutes.
            (None, Some(total)) if total != tokens.cache_write_5m + tokens.cache_write_1h => {
                (tokens.cache_write_5m, tokens.cache_write_1h) = (total, 0);
            }
            (None, _) => {}
        }
        if let Some(tools) = usage.server_tool_use {
            set(&mut tokens.web_searches, tools.web_search_requests);
        }
        if let Some(geo) = usage.inference_geo {
            self.terms.us_only = geo == "us";
        }
        let other = |value: Option<String>| value.is_some_and(|value| value != "standard");
        self.terms.unlisted |= other(usage.speed) || other(usage.service_tier);
    }

    fn take_event(&mut self, data: &[u8]) {
        let Ok(event) = serde_json::from_slice::<Event>(data) else {
            return;
        };
        match event {
            Event::MessageStart { message } => {
                self.model = message.model.or(self.model.take());
                if let Some(usage) = message.usage {
                    self.take(usage);
                }
            }
            Event::MessageDelta { usage: Some(usage) } => self.take(usage),
            Event::MessageStop {} => self.ended = Some(true),
            Event::Error { error } => self.error = Some(error.kind),
            Event::MessageDelta { usage: None } | Event::Other => {}
        }
    }
}

/// Splits a stream into lines and hands on those with numbers.
#[derive(Default)]
struct Lines {
    line: Vec<u8>,
    too_long: bool,
    /// The event under way is one without numbers: its data is not copied.
    skip: bool,
    /// The event under way is a piece of what the model says.
    delta: bool,
    /// Bytes of the line, kept or not.
    length: u64,
}

impl Lines {
    fn feed(&mut self, bytes: &[u8], reading: &mut Reading) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let whole = piece.ends_with(b"\n");
            self.length += piece.len() as u64;
            // An empty line inside a skipped event ends it, so its first bytes
            // are kept, and no more.
            let room = if self.skip { 2 } else { MAX_LINE };
            if self.line.len() + piece.len() <= room {
                self.line.extend_from_slice(piece);
            } else {
                self.too_long = true;
            }
            if whole {
                self.end_line(reading);
            }
        }
    }

    fn end_line(&mut self, reading: &mut Reading) {
        let line = self.line.trim_ascii_end();
        if self.delta && (self.too_long || !line.is_empty()) {
            let text = self.length.saturating_sub(AROUND);
            reading.said += (text / BYTES_PER_TOKEN).max(1);
        }
        if !self.too_long {
            if line.is_empty() {
                (self.skip, self.delta) = (false, false);
            } else if let Some(name) = line.strip_prefix(b"event:") {
                let name = name.trim_ascii();
                self.delta = name == b"content_block_delta";
                self.skip = !matches!(
                    name,
                    b"message_start" | b"message_delta" | b"message_stop" | b"error"
                );
            } else if let (false, Some(data)) = (self.skip, line.strip_prefix(b"data:")) {
                reading.take_event(data);
            }
        }
        self.line.clear();
        (self.too_long, self.length) = (false, 0);
    }
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event {
    MessageStart {
        message: Message,
    },
    MessageDelta {
        usage: Option<UsageObject>,
    },
    MessageStop {},
    Error {
        error: ErrorObject,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Message {
    model: Option<String>,
    usage: Option<UsageObject>,
}

#[derive(Deserialize)]
struct ErrorObject {
    #[serde(rename = "type", deserialize_with = "short")]
    kind: String,
}

#[derive(Deserialize)]
struct UsageObject {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_creation: Option<CacheCreation>,
    server_tool_use: Option<ServerToolUse>,
    service_tier: Option<String>,
    speed: Option<String>,
    inference_geo: Option<String>,
}

#[derive(Deserialize)]
struct CacheCreation {
    ephemeral_5m_input_tokens: Option<u64>,
    ephemeral_1h_input_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct ServerToolUse {
    web_search_requests: Option<u64>,
}

/// An error type is an identifier; anything longer is not one and is cut.
fn short<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let text = value.as_str().unwrap_or("error");
    Ok(text.chars().take(64).collect())
}

#[cfg(test)]
mod tests;
