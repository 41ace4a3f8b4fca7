//! What the host says to the CLI: every line that is written to its standard input.
//!
//! Each function gives the whole line with its newline. Nothing else may ever be written: a line
//! that is not JSON kills the process. All of it may be pipelined; `initialize` and the first
//! prompt can go in one write right after the process was started.

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

/// A prompt.
///
/// `uuid` ties the turn's frames to the prompt; on resume the CLI drops a prompt whose uuid its
/// transcript already holds, so a prompt keeps its uuid for ever. The prompt is marked as composed
/// by a client, so that text from outside can neither run slash commands nor pull in files with
/// `@`.
pub fn user(uuid: &str, content: &impl Serialize) -> Result<Bytes, serde_json::Error> {
    line(&User {
        kind: "user",
        session_id: "",
        message: Message {
            role: "user",
            content,
        },
        parent_tool_use_id: None,
        uuid,
        client_composed: true,
    })
}

/// Stops the running turn. With `cancel_queued` also prompts that wait: without it a prompt that
/// was written just before still runs.
pub fn interrupt(request_id: &str, cancel_queued: bool) -> Bytes {
    request(
        request_id,
        &Interrupt {
            subtype: "interrupt",
            cancel_queued,
        },
    )
}

/// Any request of the host: `body` is an object with its `subtype`.
pub fn request(request_id: &str, body: &impl Serialize) -> Bytes {
    sure(&Request {
        kind: "control_request",
        request_id,
        request: body,
    })
}

/// Lets a tool call run, with other arguments when `input` is given.
pub fn allow(request_id: &str, input: Option<&RawValue>) -> Bytes {
    success(
        request_id,
        &Allow {
            behavior: "allow",
            updated_input: input,
        },
    )
}

/// Keeps a tool call from running. The model reads `message` as the tool's error, except when
/// `interrupt` also ends the turn: then it reads the CLI's own words.
pub fn deny(request_id: &str, message: &str, interrupt: bool) -> Bytes {
    success(
        request_id,
        &Deny {
            behavior: "deny",
            message,
            interrupt,
        },
    )
}

/// Answers a JSON-RPC message to an in-process MCP server; see [`crate::custom`].
pub fn mcp_reply(request_id: &str, reply: &RawValue) -> Bytes {
    success(
        request_id,
        &McpReply {
            mcp_response: reply,
        },
    )
}

/// Answers a request of the CLI with success.
pub fn success(request_id: &str, response: &impl Serialize) -> Bytes {
    sure(&Response {
        kind: "control_response",
        response: Success {
            subtype: "success",
            request_id,
            response,
        },
    })
}

/// Answers a request of the CLI that the host cannot serve.
pub fn failure(request_id: &str, error: &str) -> Bytes {
    sure(&Response {
        kind: "control_response",
        response: Failure {
            subtype: "error",
            request_id,
            error,
        },
    })
}

/// Serialises a line of our own strings and raw JSON, which cannot fail.
fn sure(value: &impl Serialize) -> Bytes {
    line(value).expect("strings, numbers and raw json always serialise")
}

fn line(value: &impl Serialize) -> Result<Bytes, serde_json::Error> {
    let mut line = serde_json::to_vec(value)?;
    // Raw JSON of a caller may be spread over lines; a newline can only stand between tokens
    // there, because inside strings it is escaped.
    for byte in &mut line {
        if matches!(*byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    line.push(b'\n');
    Ok(Bytes::from(line))
}

#[derive(Serialize)]
struct User<'a, T> {
    #[serde(rename = "type")]
    kind: &'a str,
    session_id: &'a str,
    message: Message<'a, T>,
    parent_tool_use_id: Option<&'a str>,
    uuid: &'a str,
    client_composed: bool,
}

#[derive(Serialize)]
struct Message<'a, T> {
    role: &'a str,
    content: T,
}

#[derive(Serialize)]
struct Request<'a, T> {
    #[serde(rename = "type")]
    kind: &'a str,
    request_id: &'a str,
    request: &'a T,
}

#[derive(Serialize)]
struct Interrupt<'a> {
    subtype: &'a str,
    cancel_queued: bool,
}

#[derive(Serialize)]
struct Response<'a, T> {
    #[serde(rename = "type")]
    kind: &'a str,
    response: T,
}

#[derive(Serialize)]
struct Success<'a, T> {
    subtype: &'a str,
    request_id: &'a str,
    response: &'a T,
}

#[derive(Serialize)]
struct Failure<'a> {
    subtype: &'a str,
    request_id: &'a str,
    error: &'a str,
}

#[derive(Serialize)]
struct Allow<'a> {
    behavior: &'a str,
    #[serde(rename = "updatedInput", skip_serializing_if = "Option::is_none")]
    updated_input: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Deny<'a> {
    behavior: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    interrupt: bool,
}

#[derive(Serialize)]
struct McpReply<'a> {
    mcp_response: &'a RawValue,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn value(line: &Bytes) -> Value {
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert_eq!(line.last(), Some(&b'\n'));
        serde_json::from_slice(line).unwrap()
    }

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn a_prompt_is_composed_by_a_client_and_keeps_its_uuid() {
        assert_eq!(
            value(&user("u1", &"/clear @f\nnext").unwrap()),
            json!({"type": "user", "session_id": "", "parent_tool_use_id": null, "uuid": "u1",
                "message": {"role": "user", "content": "/clear @f\nnext"}, "client_composed": true})
        );
    }

    #[test]
    fn raw_json_over_several_lines_becomes_one_line() {
        let line = user("u1", &raw("[\n{\"type\":\"text\",\r\n\"text\":\"a\\nb\"}]")).unwrap();
        assert_eq!(value(&line)["message"]["content"][0]["text"], "a\nb");
    }

    #[test]
    fn answers_to_permission_requests() {
        let response = |line: Bytes| value(&line)["response"]["response"].clone();
        assert_eq!(response(allow("r", None)), json!({"behavior": "allow"}));
        assert_eq!(
            response(allow("r", Some(&raw("{\"a\":1}")))),
            json!({"behavior": "allow", "updatedInput": {"a": 1}})
        );
        assert_eq!(
            response(deny("r", "no", false)),
            json!({"behavior": "deny", "message": "no"})
        );
        assert_eq!(response(deny("r", "no", true))["interrupt"], true);
        assert_eq!(
            value(&failure("r", "nope")),
            json!({"type": "control_response",
                "response": {"subtype": "error", "request_id": "r", "error": "nope"}})
        );
    }

    #[test]
    fn requests_carry_their_subtype() {
        let body = |line: Bytes| value(&line)["request"].clone();
        assert_eq!(
            body(interrupt("r", true)),
            json!({"subtype": "interrupt", "cancel_queued": true})
        );
    }
}
