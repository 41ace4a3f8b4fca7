//! Reads a request to the Messages API: what was said last, and how far the
//! answer to it has come.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Deserialize;
use serde_json::Value;

/// The body of `POST /v1/messages`, as far as it matters here. Other fields are
/// taken and passed over, as unknown ones of newer clients must be.
#[derive(Debug, Deserialize)]
pub(crate) struct Request {
    pub(crate) model: String,
    pub(crate) max_tokens: Option<u64>,
    pub(crate) messages: Vec<Message>,
    #[serde(default)]
    pub(crate) stream: bool,
    #[serde(default)]
    system: Content,
    #[serde(default)]
    tools: Vec<Tool>,
    output_config: Option<OutputConfig>,
    output_format: Option<OutputFormat>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Message {
    role: String,
    #[serde(default)]
    content: Content,
}

#[derive(Debug, Deserialize)]
struct Tool {
    #[serde(default)]
    name: String,
}

#[derive(Debug, Deserialize)]
struct OutputConfig {
    format: Option<OutputFormat>,
}

#[derive(Debug, Deserialize)]
struct OutputFormat {
    schema: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Blocks(Vec<Block>),
    Other(serde::de::IgnoredAny),
}

#[derive(Debug, Deserialize)]
struct Block {
    #[serde(rename = "type", default)]
    kind: String,
    text: Option<String>,
    content: Option<Value>,
}

impl Default for Content {
    fn default() -> Self {
        Self::Blocks(Vec::new())
    }
}

/// Where the conversation stands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The newest text of the user.
    pub(crate) text: String,
    /// Assistant messages since then.
    pub(crate) step: usize,
    /// The newest tool result since then, as text.
    pub(crate) result: Option<String>,
    /// A name for this step of this conversation: the same when the request is
    /// tried again.
    pub(crate) key: u64,
}

impl Request {
    /// Whether a tool may be called.
    pub(crate) fn has_tool(&self, name: &str) -> bool {
        self.tools.iter().any(|tool| tool.name == name)
    }

    /// Whether any tool may be called.
    pub(crate) fn has_tools(&self) -> bool {
        !self.tools.is_empty()
    }

    /// The schema that the answer's text must follow, when one is asked for.
    pub(crate) fn schema(&self) -> Option<&Value> {
        let format = self
            .output_config
            .as_ref()
            .and_then(|config| config.format.as_ref());
        format.or(self.output_format.as_ref())?.schema.as_ref()
    }

    /// Whether the model has spoken before.
    pub(crate) fn has_assistant_turn(&self) -> bool {
        self.messages
            .iter()
            .any(|message| message.role == "assistant")
    }

    /// Where the conversation stands, by its newest user text.
    pub(crate) fn standing(&self) -> Standing {
        let found = self
            .messages
            .iter()
            .enumerate()
            .rev()
            .find_map(|(at, message)| Some((at, message.user_text()?)));
        let (at, text) = found.unwrap_or_default();
        let since = &self.messages[at.min(self.messages.len())..];
        let step = since
            .iter()
            .filter(|message| message.role == "assistant")
            .count();
        let result = since.iter().rev().find_map(Message::tool_result);
        let mut hasher = DefaultHasher::new();
        (at, &text, step).hash(&mut hasher);
        Standing {
            text,
            step,
            result,
            key: hasher.finish(),
        }
    }

    /// The working directory that the prompt names.
    pub(crate) fn cwd(&self) -> Option<String> {
        let texts = self
            .system
            .texts()
            .chain(self.messages.iter().flat_map(|m| m.content.texts()));
        texts.into_iter().find_map(|text| {
            text.lines().find_map(|line| {
                let (_, path) = line.split_once("orking directory: ")?;
                let path = path.trim().trim_matches('`');
                path.starts_with('/').then(|| path.to_owned())
            })
        })
    }
}

impl Message {
    /// What the user said in this message, or `None` when it is not the user's,
    /// or brings tool results, or holds nothing but what a client added.
    fn user_text(&self) -> Option<String> {
        if self.role != "user" {
            return None;
        }
        // Clients put messages that follow each other into one, a text for each: the newest counts.
        let text = self
            .content
            .texts()
            .map(|text| without_wrappings(text).trim().to_owned())
            .filter(|text| !text.is_empty() && !is_continuation(text))
            .last()
            .unwrap_or_default();
        // A client may say something next to a result; it is a prompt only when
        // it is a script.
        let brings_results = self
            .content
            .blocks()
            .any(|block| block.kind == "tool_result");
        let scripted = || !matches!(crate::script::Script::parse(&text), Ok(None));
        (!text.is_empty() && (!brings_results || scripted())).then_some(text)
    }

    fn tool_result(&self) -> Option<String> {
        let block = self
            .content
            .blocks()
            .filter(|block| block.kind == "tool_result")
            .last()?;
        Some(match &block.content {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(parts)) => {
                let texts: Vec<&str> = parts
                    .iter()
                    .filter_map(|part| part["text"].as_str())
                    .collect();
                texts.join("\n")
            }
            _ => String::new(),
        })
    }
}

impl Content {
    fn blocks(&self) -> impl Iterator<Item = &Block> {
        match self {
            Self::Blocks(blocks) => blocks.as_slice(),
            Self::Text(_) | Self::Other(_) => &[],
        }
        .iter()
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        let whole = match self {
            Self::Text(text) => Some(text.as_str()),
            Self::Blocks(_) | Self::Other(_) => None,
        };
        let blocks = self.blocks().filter(|block| block.kind == "text");
        whole
            .into_iter()
            .chain(blocks.filter_map(|block| block.text.as_deref()))
    }
}

/// Elements that clients wrap around what the user did not write.
const WRAPPINGS: &[&str] = &[
    "system-reminder",
    "local-command-caveat",
    "local-command-stdout",
    "command-name",
    "command-message",
    "command-args",
    "task-notification",
];

/// How texts begin that the CLI writes in the user's place to have an answer
/// continued: they move the script on and do not replace it.
const CONTINUATIONS: &[&str] = &[
    "Your response above was ",
    "Output token limit hit. ",
    "[Request interrupted by user",
    "Continue from where you left off.",
];

fn is_continuation(text: &str) -> bool {
    CONTINUATIONS.iter().any(|start| text.starts_with(start))
}

fn without_wrappings(text: &str) -> String {
    let mut text = text.to_owned();
    for name in WRAPPINGS {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        while let Some(start) = text.find(&open) {
            let end = text[start..]
                .find(&close)
                .map_or(text.len(), |at| start + at + close.len());
            text.replace_range(start..end, "");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_joined_messages_the_newest_counts_and_a_note_of_the_client_does_not() {
        let text = |text: &str| json!({"type": "text", "text": text});
        let blocks = [
            text("@error 529 x"),
            text("@say y"),
            text("Continue from where you left off."),
        ];
        let message: Message =
            serde_json::from_value(json!({"role": "user", "content": blocks})).unwrap();
        assert_eq!(message.user_text().as_deref(), Some("@say y"));
    }

    fn request(messages: Value) -> Request {
        serde_json::from_value(json!({"model": "m", "messages": messages})).unwrap()
    }

    fn standing(messages: Value) -> (String, usize, Option<String>) {
        let standing = request(messages).standing();
        (standing.text, standing.step, standing.result)
    }

    #[test]
    fn the_newest_user_text_counts_and_the_answers_after_it() {
        let messages = json!([
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": "a"},
            {"role": "user", "content": [
                {"type": "text", "text": "<system-reminder>\nx\n</system-reminder>"},
                {"type": "text", "text": "second"}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "A", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "out"}]},
                {"type": "text", "text": "Tool loaded."}]},
            {"role": "system", "content": "mode changed"},
        ]);
        assert_eq!(standing(messages), ("second".into(), 1, Some("out".into())));
    }

    #[test]
    fn a_message_of_reminders_only_is_not_the_users() {
        let messages = json!([
            {"role": "user", "content": "real"},
            {"role": "assistant", "content": "a"},
            {"role": "user", "content": "<system-reminder>again</system-reminder>"},
        ]);
        assert_eq!(standing(messages), ("real".into(), 1, None));
    }

    #[test]
    fn a_request_to_continue_moves_the_script_on() {
        let messages = json!([
            {"role": "user", "content": "real"},
            {"role": "assistant", "content": "half"},
            {"role": "user", "content": "Output token limit hit. Resume directly."},
        ]);
        assert_eq!(standing(messages), ("real".into(), 1, None));
        let messages = json!([
            {"role": "user", "content": "first"},
            {"role": "user", "content": [
                {"type": "text", "text": "[Request interrupted by user]"},
                {"type": "text", "text": "second"}]},
        ]);
        assert_eq!(standing(messages), ("second".into(), 0, None));
    }

    #[test]
    fn nothing_at_all_is_an_empty_text() {
        assert_eq!(standing(json!([])), (String::new(), 0, None));
        assert_eq!(
            standing(json!([{"role": "user", "content": 5}])),
            (String::new(), 0, None)
        );
    }

    #[test]
    fn the_key_is_the_same_for_a_retry_and_another_for_the_next_step() {
        let key = |messages| request(messages).standing().key;
        let first = json!([{"role": "user", "content": "x"}]);
        let second =
            json!([{"role": "user", "content": "x"}, {"role": "assistant", "content": "a"}]);
        assert_eq!(key(first.clone()), key(first.clone()));
        assert_ne!(key(first), key(second));
    }

    #[test]
    fn the_working_directory_is_found_in_the_prompt() {
        let request: Request = serde_json::from_value(json!({
            "model": "m", "messages": [],
            "system": [{"type": "text", "text": "# Environment\n - Primary working directory: /srv/app\n"}],
        }))
        .unwrap();
        assert_eq!(request.cwd().as_deref(), Some("/srv/app"));
    }
}
