//! The script that a prompt carries, and its parser.
//!
//! A line that starts with `@` and one of these words is a directive; other
//! lines are prose and mean nothing. Directives build assistant messages, one
//! for each step of the turn. A message ends after its last `@tool` line, at
//! `@next`, or at the end.
//!
//! | directive | what the model does |
//! | --- | --- |
//! | `@say text` | says the text; several lines make one text of several lines |
//! | `@think text` | thinks it, in a thinking block |
//! | `@tool Name {"a":1}` | calls the tool; the input is one line of JSON, `{}` when left out |
//! | `@repeat N word` | says the word N times |
//! | `@next` | ends the message, the next one begins |
//! | `@stop reason` | ends the message with this stop reason (`max_tokens`, `refusal`, …) |
//! | `@slow MS` | waits before each delta of the message |
//! | `@delay MS` | waits before the head of the answer |
//! | `@error STATUS type [retry-after=S] [times=N]` | answers with an error instead |
//! | `@break type [times=N]` | an error event after what the message has so far |
//! | `@cut [times=N]` | closes in the middle, after what the message has so far |
//! | `@stall [times=N]` | goes silent after what the message has so far |
//! | `@silent [times=N]` | takes the request and never answers |
//! | `@raw text` | sends the text as the data of an event of its own |
//!
//! Without `times` a fault happens at every attempt; with it, at the first N
//! attempts of the same step, and then the message goes on. In texts and tool
//! inputs `{{result}}` stands for the newest tool result and `{{cwd}}` for the
//! working directory that the prompt names.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

/// The messages of a turn.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Script {
    /// One for each step.
    pub messages: Vec<Message>,
}

/// One assistant message.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Message {
    /// What it consists of, in order.
    pub parts: Vec<Part>,
    /// The stop reason, when it is not the usual one.
    pub stop: Option<String>,
    /// Wait before each delta.
    pub slow: Option<Duration>,
    /// Wait before the answer.
    pub delay: Option<Duration>,
}

/// A part of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// A text block.
    Text(String),
    /// A thinking block.
    Thinking(String),
    /// A tool call.
    Tool {
        /// The tool's name.
        name: String,
        /// Its input.
        input: Value,
    },
    /// A text block that repeats a word.
    Repeat {
        /// How many times.
        count: usize,
        /// The word.
        word: String,
    },
    /// An event as it is written.
    Raw(String),
    /// Something goes wrong here.
    Fault {
        /// What.
        fault: Fault,
        /// At how many attempts; `None` is every one.
        times: Option<u32>,
    },
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// An error answer.
    Error {
        /// HTTP status.
        status: u16,
        /// `error.type`.
        kind: String,
        /// Seconds in `retry-after`.
        retry_after: Option<u64>,
    },
    /// An error event.
    Break(String),
    /// The connection closes.
    Cut,
    /// Silence in the middle.
    Stall,
    /// Silence from the start.
    Silent,
}

/// A directive that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptError {
    /// Line of the prompt, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "script line {}: {}", self.line, self.problem)
    }
}

impl std::error::Error for ScriptError {}

/// Largest text of `@repeat`, in bytes.
const MAX_REPEAT: usize = 64 * 1024 * 1024;

const DIRECTIVES: &[&str] = &[
    "say", "think", "tool", "repeat", "next", "stop", "slow", "delay", "error", "break", "cut",
    "stall", "silent", "raw",
];

impl Script {
    /// The script in a prompt; `None` when no line of it is a directive, so that
    /// a prompt that mentions `@somebody` is not one.
    ///
    /// # Errors
    /// When a line of a script is not a directive or its arguments are wrong.
    pub fn parse(prompt: &str) -> Result<Option<Self>, ScriptError> {
        let lines: Vec<(usize, &str, &str)> = prompt
            .lines()
            .enumerate()
            .filter_map(|(at, line)| Some((at + 1, line.trim().strip_prefix('@')?)))
            .map(|(number, rest)| {
                let (word, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
                (number, word, rest.trim())
            })
            .collect();
        if !lines.iter().any(|(_, word, _)| DIRECTIVES.contains(word)) {
            return Ok(None);
        }
        let mut builder = Builder::default();
        for (line, word, rest) in lines {
            builder
                .take(word, rest)
                .map_err(|problem| ScriptError { line, problem })?;
        }
        Ok(Some(builder.finish()))
    }
}

#[derive(Default)]
struct Builder {
    done: Vec<Message>,
    open: Message,
    touched: bool,
}

impl Builder {
    fn take(&mut self, word: &str, rest: &str) -> Result<(), String> {
        let after_tool = matches!(self.open.parts.last(), Some(Part::Tool { .. }));
        if after_tool && !matches!(word, "tool" | "next") {
            self.close();
        }
        self.touched |= word != "next";
        match word {
            "say" => self.say(rest),
            "think" => self.open.parts.push(Part::Thinking(rest.to_owned())),
            "tool" => self.open.parts.push(tool(rest)?),
            "repeat" => self.open.parts.push(repeat(rest)?),
            "raw" => self.open.parts.push(Part::Raw(rest.to_owned())),
            "next" => self.close(),
            "stop" if !rest.is_empty() => self.open.stop = Some(rest.to_owned()),
            "stop" => return Err("@stop needs a stop reason".to_owned()),
            "slow" => self.open.slow = Some(milliseconds(rest)?),
            "delay" => self.open.delay = Some(milliseconds(rest)?),
            "error" | "break" | "cut" | "stall" | "silent" => {
                self.open.parts.push(fault(word, rest)?);
            }
            _ => return Err(format!("@{word} is not a directive")),
        }
        Ok(())
    }

    fn say(&mut self, text: &str) {
        match self.open.parts.last_mut() {
            Some(Part::Text(before)) => {
                before.push('\n');
                before.push_str(text);
            }
            _ => self.open.parts.push(Part::Text(text.to_owned())),
        }
    }

    fn close(&mut self) {
        if std::mem::take(&mut self.touched) {
            self.done.push(std::mem::take(&mut self.open));
        }
    }

    fn finish(mut self) -> Script {
        self.close();
        Script {
            messages: self.done,
        }
    }
}

fn tool(rest: &str) -> Result<Part, String> {
    let (name, input) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    if name.is_empty() {
        return Err("@tool needs the name of a tool".to_owned());
    }
    let input = match input.trim() {
        "" => Value::Object(serde_json::Map::new()),
        text => serde_json::from_str(text)
            .ok()
            .filter(Value::is_object)
            .ok_or("the input of @tool is not a JSON object on one line")?,
    };
    Ok(Part::Tool {
        name: name.to_owned(),
        input,
    })
}

fn repeat(rest: &str) -> Result<Part, String> {
    let (count, word) = rest
        .split_once(char::is_whitespace)
        .unwrap_or((rest, "word"));
    let count: usize = count
        .parse()
        .map_err(|_| "@repeat needs a number and a word")?;
    if count.saturating_mul(word.len() + 1) > MAX_REPEAT {
        return Err("@repeat is bounded to 64 MiB of text".to_owned());
    }
    Ok(Part::Repeat {
        count,
        word: word.to_owned(),
    })
}

fn milliseconds(rest: &str) -> Result<Duration, String> {
    rest.parse()
        .map(Duration::from_millis)
        .map_err(|_| "a number of milliseconds is missing".to_owned())
}

fn fault(word: &str, rest: &str) -> Result<Part, String> {
    let (mut words, mut times, mut retry_after) = (Vec::new(), None, None);
    for piece in rest.split_whitespace() {
        match piece.split_once('=') {
            Some(("times", number)) => {
                times = Some(number.parse().map_err(|_| "times= needs a number")?);
            }
            Some(("retry-after", number)) => {
                retry_after = Some(number.parse().map_err(|_| "retry-after= needs seconds")?);
            }
            Some((name, _)) => return Err(format!("{name}= is not an option of @{word}")),
            None => words.push(piece),
        }
    }
    let fault = match (word, words.as_slice()) {
        ("error", [status, kind]) => Fault::Error {
            status: status
                .parse()
                .ok()
                .filter(|status| (400..600).contains(status))
                .ok_or("@error needs a status from 400 to 599")?,
            kind: (*kind).to_owned(),
            retry_after,
        },
        ("error", _) => return Err("@error needs a status and a type".to_owned()),
        ("break", [kind]) => Fault::Break((*kind).to_owned()),
        ("break", _) => return Err("@break needs a type".to_owned()),
        ("cut", []) => Fault::Cut,
        ("stall", []) => Fault::Stall,
        ("silent", []) => Fault::Silent,
        _ => return Err(format!("@{word} takes no words")),
    };
    Ok(Part::Fault { fault, times })
}

#[cfg(test)]
mod tests;
