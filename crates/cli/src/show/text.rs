//! Pieces of text: colours, the text of content blocks, a tool's input on one line.

use serde_json::Value;

/// The longest input of a tool that is shown.
const INPUT_WIDTH: usize = 160;

/// Colours, or none.
#[derive(Clone, Copy)]
pub struct Style {
    /// Whether there are any.
    pub colour: bool,
}

impl Style {
    /// What people said.
    pub fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    /// What is there for completeness.
    pub fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    /// What failed.
    pub fn red(self, text: &str) -> String {
        self.wrap("31", text)
    }

    /// What wants attention.
    pub fn yellow(self, text: &str) -> String {
        self.wrap("33", text)
    }

    /// What ran.
    pub fn cyan(self, text: &str) -> String {
        self.wrap("36", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// The text of content blocks; other blocks by their kind.
pub fn text_of(content: &Value) -> String {
    let text = match content {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => blocks.iter().map(block).collect::<Vec<_>>().join("\n"),
        _ => String::new(),
    };
    tame(&text)
}

/// A tool's input as one line: the one string it is about, or the whole as JSON.
pub fn one_line(input: &Value) -> String {
    let main = ["command", "file_path", "path", "pattern", "url", "query"]
        .iter()
        .find_map(|name| input[*name].as_str())
        .map_or_else(|| input.to_string(), str::to_owned);
    let line = tame(&main.split_whitespace().collect::<Vec<_>>().join(" "));
    match line.char_indices().nth(INPUT_WIDTH) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

fn block(block: &Value) -> String {
    match block["text"].as_str() {
        Some(text) => text.to_owned(),
        None => format!("({})", block["type"].as_str().unwrap_or("something")),
    }
}

/// The text with everything that a terminal would obey made visible instead: it comes from an
/// agent.
pub fn tame(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\n' && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn terminal_sequences_of_an_agent_are_not_obeyed() {
        assert_eq!(
            text_of(&json!([{"type": "text", "text": "a\x1b[2Jb\n"}])),
            "a\u{fffd}[2Jb\n"
        );
    }

    #[test]
    fn input_is_one_short_line() {
        assert_eq!(one_line(&json!({"command": "ls \n  -l"})), "ls -l");
        assert_eq!(one_line(&json!({"x": 1})), "{\"x\":1}");
        assert_eq!(
            one_line(&json!({"command": "é".repeat(200)}))
                .chars()
                .count(),
            INPUT_WIDTH + 1
        );
    }
}
