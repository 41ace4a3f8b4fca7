//! A session's events as a person reads them: what was said, what ran, what it came to.
//! An event of an unknown kind is shown by its name, never lost and never an error.

mod text;

use std::collections::HashMap;

use serde_json::Value;

pub use text::tame;
use text::{Style, one_line, text_of};

/// How much of a tool's output is shown; all of it is in the log.
const OUTPUT_LINES: usize = 12;

/// Shows the events of one session, one after the other.
pub struct Show {
    style: Style,
    /// How much of each unfinished message was already shown, by its event id.
    streamed: HashMap<String, usize>,
    /// Whether the last piece ended within a line.
    open: bool,
    totals: Totals,
}

/// What the model requests that were shown came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests that ended.
    pub requests: u64,
    /// Input tokens, cached ones included.
    pub input: u64,
    /// Output tokens.
    pub output: u64,
}

impl Show {
    /// Nothing shown yet.
    pub fn new(colour: bool) -> Show {
        Show {
            style: Style { colour },
            streamed: HashMap::new(),
            open: false,
            totals: Totals::default(),
        }
    }

    /// What the model requests came to so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The text for an event, with its line ends; empty for one that says nothing to a person.
    pub fn event(&mut self, event: &Value) -> String {
        if event["type"] == "event_delta" {
            return self.delta(event);
        }
        if event["type"] == "agent.message"
            && let Some(rest) = self.rest_of_message(event)
        {
            return rest;
        }
        let text = self.whole(event);
        if text.is_empty() {
            return text;
        }
        // A message that was cut leaves its line open.
        let start = if std::mem::take(&mut self.open) {
            "\n"
        } else {
            ""
        };
        format!("{start}{text}\n")
    }

    fn delta(&mut self, event: &Value) -> String {
        let text = tame(
            event["delta"]["content"]["text"]
                .as_str()
                .unwrap_or_default(),
        );
        let id = event["event_id"].as_str().unwrap_or_default();
        *self.streamed.entry(id.to_owned()).or_default() += text.len();
        self.open = self.open && text.is_empty() || !text.is_empty() && !text.ends_with('\n');
        text
    }

    fn whole(&mut self, event: &Value) -> String {
        let style = self.style;
        match event["type"].as_str().unwrap_or_default() {
            "user.message" => style.bold(&format!("> {}", text_of(&event["content"]))),
            "user.interrupt" => style.bold("> (interrupt)"),
            "user.tool_confirmation" => style.bold(&format!(
                "> ({})",
                event["result"].as_str().unwrap_or("confirmed")
            )),
            "user.custom_tool_result" => style.dim(&output_of(&event["content"])),
            "agent.message" => text_of(&event["content"]),
            "agent.tool_use" | "agent.custom_tool_use" => self.call(event, ""),
            "agent.mcp_tool_use" => {
                self.call(event, event["mcp_server_name"].as_str().unwrap_or_default())
            }
            "agent.tool_result" | "agent.mcp_tool_result" => {
                let output = output_of(&event["content"]);
                if event["is_error"] == true {
                    style.red(&output)
                } else {
                    style.dim(&output)
                }
            }
            "span.model_request_end" => self.request(event),
            "session.status_idle" => self.idle(event),
            "hostel.queued" => style.yellow(&queued(event)),
            "session.status_rescheduled" => style.yellow("the session is being started again"),
            "session.status_terminated" => style.yellow("the session is over"),
            "session.deleted" => style.yellow("the session was deleted"),
            "session.error" => self.error(&event["error"]),
            "agent.thread_context_compacted" => style.dim("(the conversation was compacted)"),
            // Signs of progress, and facts that another line already says.
            "agent.thinking"
            | "event_start"
            | "session.status_running"
            | "session.usage"
            | "session.updated"
            | "span.model_request_start" => String::new(),
            kind if kind.starts_with("session.thread_") => String::new(),
            kind => self.other(kind, event),
        }
    }

    /// What is left to show of a message that was shown as it came; none if it was not. Deltas
    /// are a prefix of their message.
    fn rest_of_message(&mut self, event: &Value) -> Option<String> {
        let shown = self.streamed.remove(event["id"].as_str()?)?;
        let text = text_of(&event["content"]);
        let rest = text.get(shown..).unwrap_or_default();
        let open = std::mem::take(&mut self.open);
        let ended = if rest.is_empty() {
            !open
        } else {
            rest.ends_with('\n')
        };
        Some(format!("{rest}{}", if ended { "" } else { "\n" }))
    }

    fn call(&self, event: &Value, server: &str) -> String {
        let name = event["name"].as_str().unwrap_or("tool");
        let name = if server.is_empty() {
            name.to_owned()
        } else {
            format!("{server}/{name}")
        };
        let asks = if event["evaluated_permission"] == "ask" {
            " (asks)"
        } else {
            ""
        };
        format!(
            "{}{asks} {}",
            self.style.cyan(&format!("● {name}")),
            one_line(&event["input"])
        )
    }

    fn request(&mut self, event: &Value) -> String {
        let usage = &event["model_usage"];
        let tokens = |name: &str| usage[name].as_u64().unwrap_or(0);
        let input = tokens("input_tokens")
            + tokens("cache_read_input_tokens")
            + tokens("cache_creation_input_tokens");
        self.totals.requests += 1;
        self.totals.input += input;
        self.totals.output += tokens("output_tokens");
        if event["is_error"] == true {
            self.style.dim("  (the model request did not finish)")
        } else {
            String::new()
        }
    }

    fn idle(&self, event: &Value) -> String {
        match event["stop_reason"]["type"].as_str().unwrap_or_default() {
            "end_turn" => String::new(),
            "requires_action" => self
                .style
                .yellow("waiting for an answer (`hostel send --allow` or `--deny`)"),
            "budget_reached" => self.style.yellow("stopped: the budget is used up"),
            "refusal" => self.style.yellow("stopped: the model refused"),
            "retries_exhausted" => self.style.red("stopped: the errors above did not go away"),
            other => self.style.yellow(&format!("stopped: {other}")),
        }
    }

    fn error(&self, error: &Value) -> String {
        let message = error["message"].as_str().unwrap_or("no reason given");
        let again = if error["retry_status"]["type"] == "retrying" {
            " (trying again)"
        } else {
            ""
        };
        self.style.red(&format!("! {message}{again}"))
    }

    fn other(&self, kind: &str, event: &Value) -> String {
        match event["message"].as_str() {
            Some(message) => self.style.dim(&format!("  {message}")),
            None => self.style.dim(&format!("  ({kind})")),
        }
    }
}

/// Where a session stands that waits for a sandbox.
fn queued(event: &Value) -> String {
    let for_what = match event["reason"].as_str() {
        Some("workspace_limit") => "its workspace has as much as it may have",
        _ => "every sandbox is in use",
    };
    format!(
        "waiting for a sandbox, number {} in the line: {for_what}",
        event["position"]
    )
}

/// A tool's output, indented and cut to what fits a glance.
fn output_of(content: &Value) -> String {
    let text = text_of(content);
    let lines: Vec<&str> = text.lines().collect();
    let mut shown: Vec<String> = lines
        .iter()
        .take(OUTPUT_LINES)
        .map(|line| format!("  {line}"))
        .collect();
    if lines.len() > OUTPUT_LINES {
        shown.push(format!("  … {} more lines", lines.len() - OUTPUT_LINES));
    }
    if shown.is_empty() {
        "  (no output)".to_owned()
    } else {
        shown.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(events: &[Value]) -> String {
        let mut show = Show::new(false);
        events.iter().map(|event| show.event(event)).collect()
    }

    #[test]
    fn a_turn_reads_as_a_conversation() {
        let text = shown(&[
            json!({"type": "user.message", "id": "1", "content": [{"type": "text", "text": "list"}]}),
            json!({"type": "session.status_running", "id": "2"}),
            json!({"type": "agent.tool_use", "id": "3", "name": "bash", "input": {"command": "ls"}}),
            json!({"type": "agent.tool_result", "id": "4", "content": [{"type": "text", "text": "a\nb"}]}),
            json!({"type": "agent.message", "id": "5", "content": [{"type": "text", "text": "two files"}]}),
            json!({"type": "session.status_idle", "id": "6", "stop_reason": {"type": "end_turn"}}),
        ]);
        assert_eq!(text, "> list\n● bash ls\n  a\n  b\ntwo files\n");
    }

    #[test]
    fn a_streamed_message_is_shown_once() {
        let delta = |text: &str| json!({"type": "event_delta", "event_id": "5", "delta": {"content": {"text": text}}});
        let message = json!({"type": "agent.message", "id": "5", "content": [{"type": "text", "text": "two files"}]});
        assert_eq!(
            shown(&[delta("two "), delta("files"), message.clone()]),
            "two files\n"
        );
        assert_eq!(shown(&[delta("two "), message]), "two files\n");
    }

    #[test]
    fn a_cut_message_does_not_swallow_the_next_line() {
        let text = shown(&[
            json!({"type": "event_delta", "event_id": "5", "delta": {"content": {"text": "half"}}}),
            json!({"type": "user.interrupt", "id": "6"}),
        ]);
        assert_eq!(text, "half\n> (interrupt)\n");
    }

    #[test]
    fn unknown_kinds_are_named() {
        assert_eq!(
            shown(&[json!({"type": "session.newer", "id": "1"})]),
            "  (session.newer)\n"
        );
    }

    #[test]
    fn long_output_is_cut_with_a_count() {
        let long = (0..20)
            .map(|n| n.to_string())
            .collect::<Vec<_>>()
            .join("\n");
        let text = output_of(&json!([{"type": "text", "text": long}]));
        assert!(text.ends_with("  … 8 more lines"), "{text}");
    }

    #[test]
    fn tokens_add_up() {
        let mut show = Show::new(false);
        let end = json!({"type": "span.model_request_end", "model_usage":
            {"input_tokens": 3, "output_tokens": 2, "cache_read_input_tokens": 10}});
        show.event(&end);
        show.event(&end);
        assert_eq!(
            show.totals(),
            Totals {
                requests: 2,
                input: 26,
                output: 4
            }
        );
    }
}
