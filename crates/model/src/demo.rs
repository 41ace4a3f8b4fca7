//! What is answered without a script: a small demonstration when the request
//! has the tools for it, and something sensible for the requests that clients
//! make for themselves.

use serde_json::{Map, Value, json};

use crate::conversation::{Request, Standing};
use crate::script::{Message, Part};

/// The directory of the demonstration when the prompt names none.
const WORKSPACE: &str = "/workspace";

/// The program that the demonstration writes and runs. It needs a shell only.
const PROGRAM: &str = "#!/bin/sh\n\
    # Written by the scripted model.\n\
    echo \"Hello from a sandbox, $(id -un 2>/dev/null || id -u).\"\n\
    echo \"kernel: $(uname -sr)\"\n\
    echo \"here: $(pwd)\"\n";

/// The words of the CLI's request for a summary of the conversation.
const SUMMARY: &str = "create a detailed summary";

/// The message for this step of a conversation without a script.
pub(crate) fn message(request: &Request, standing: &Standing) -> Message {
    if let Some(schema) = request.schema() {
        return say(instance(schema, &standing.text, 0).to_string());
    }
    if standing.text.contains(SUMMARY) {
        let text = "<analysis>\nA scripted conversation.\n</analysis>\n<summary>\n\
            The user and the scripted model went through a scripted conversation. \
            Nothing is left to do.\n</summary>";
        return say(text);
    }
    if request.has_tool("Write") && request.has_tool("Bash") {
        return demonstration(request, standing);
    }
    say(format!("You said: {}", standing.text))
}

/// Whether the request is one that a client makes for itself (a title, a
/// summary), so that a script inside the text it quotes must not run.
pub(crate) fn is_own_request(request: &Request, standing: &Standing) -> bool {
    request.schema().is_some() || standing.text.contains(SUMMARY)
}

fn demonstration(request: &Request, standing: &Standing) -> Message {
    let directory = request.cwd().unwrap_or_else(|| WORKSPACE.to_owned());
    let path = format!("{}/hello.sh", directory.trim_end_matches('/'));
    match standing.step {
        0 => with_tool(
            "I will write a small program first.",
            "Write",
            json!({"file_path": path, "content": PROGRAM}),
        ),
        1 => with_tool(
            "Now I will run it.",
            "Bash",
            json!({"command": format!("sh {path}"), "description": "Run the program"}),
        ),
        _ => {
            let output = standing.result.as_deref().unwrap_or_default().trim();
            say(format!(
                "Done. I wrote `{path}` and ran it. It said:\n\n{output}"
            ))
        }
    }
}

fn with_tool(text: &str, name: &str, input: Value) -> Message {
    let tool = Part::Tool {
        name: name.to_owned(),
        input,
    };
    Message {
        parts: vec![Part::Text(text.to_owned()), tool],
        ..Message::default()
    }
}

fn say(text: impl Into<String>) -> Message {
    Message {
        parts: vec![Part::Text(text.into())],
        ..Message::default()
    }
}

/// How deep a schema is followed; a recursive one ends here.
const MAX_DEPTH: usize = 8;

/// A small value that follows a schema, strings taken from the text.
fn instance(schema: &Value, text: &str, depth: usize) -> Value {
    if let Some(first) = schema["enum"].get(0) {
        return first.clone();
    }
    if let Some(value) = schema.get("const") {
        return value.clone();
    }
    let kind = schema["type"]
        .as_str()
        .or_else(|| schema["type"][0].as_str());
    match kind {
        _ if depth == MAX_DEPTH => Value::Null,
        Some("object") => {
            let required = schema["required"].as_array().cloned().unwrap_or_default();
            let fields: Map<String, Value> = required
                .iter()
                .filter_map(Value::as_str)
                .map(|name| {
                    let value = instance(&schema["properties"][name], text, depth + 1);
                    (name.to_owned(), value)
                })
                .collect();
            Value::Object(fields)
        }
        Some("array") => match schema["minItems"].as_u64() {
            Some(1..) => json!([instance(&schema["items"], text, depth + 1)]),
            _ => json!([]),
        },
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or_else(|| json!(0)),
        Some("boolean") => json!(false),
        Some("null") => Value::Null,
        _ => {
            let words: Vec<&str> = text.split_whitespace().take(5).collect();
            json!(words.join(" ").chars().take(60).collect::<String>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(request: Value) -> Vec<Part> {
        let request: Request = serde_json::from_value(request).unwrap();
        message(&request, &request.standing()).parts
    }

    fn tools() -> Value {
        json!([{"name": "Write"}, {"name": "Bash"}])
    }

    #[test]
    fn without_tools_it_echoes() {
        let parts = answer(json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]}));
        assert_eq!(parts, [Part::Text("You said: hi".into())]);
    }

    #[test]
    fn the_demonstration_writes_then_runs_then_quotes() {
        let mut messages = vec![json!({"role": "user", "content": "show me"})];
        let mut names = Vec::new();
        for _ in 0..2 {
            let parts = answer(json!({
                "model": "m", "messages": messages, "tools": tools(),
                "system": "Working directory: /srv",
            }));
            let [Part::Text(_), Part::Tool { name, input }] = parts.as_slice() else {
                panic!("{parts:?}");
            };
            assert!(input.to_string().contains("/srv/hello.sh"), "{input}");
            names.push(name.clone());
            messages.push(json!({"role": "assistant", "content": "x"}));
            messages.push(json!({"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "1", "content": "Hello from a sandbox"}]}));
        }
        assert_eq!(names, ["Write", "Bash"]);
        let parts = answer(json!({"model": "m", "messages": messages, "tools": tools()}));
        assert!(matches!(&parts[..], [Part::Text(text)] if text.contains("Hello from a sandbox")));
    }

    #[test]
    fn a_schema_gets_an_instance() {
        let schema = json!({
            "type": "object",
            "required": ["title", "kind", "n", "list"],
            "properties": {
                "title": {"type": "string"}, "kind": {"enum": ["a", "b"]},
                "n": {"type": "integer"}, "list": {"type": "array"}, "other": {"type": "string"},
            },
        });
        let parts = answer(json!({
            "model": "m", "messages": [{"role": "user", "content": "fix the bug"}],
            "output_config": {"format": {"type": "json_schema", "schema": schema}},
        }));
        let [Part::Text(text)] = parts.as_slice() else {
            panic!("{parts:?}")
        };
        let value: Value = serde_json::from_str(text).unwrap();
        assert_eq!(
            value,
            json!({"title": "fix the bug", "kind": "a", "n": 0, "list": []})
        );
    }
}
