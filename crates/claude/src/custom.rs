//! The in-process MCP server behind the agent's custom tools.
//!
//! The CLI sends JSON-RPC messages inside control requests; [`CustomTools::answer`] answers all
//! but one of them from the agent's definitions. A `tools/call` is handed out as a [`Call`] for
//! somebody else to carry out, however long that takes.
//!
//! What the CLI does with it: `initialize` comes before the CLI answers the host's own
//! `initialize`, then `notifications/initialized` and `tools/list`; the first turn waits for them.
//! Calls of tools that only read come all at once, others one after the other; custom tools do
//! their work elsewhere, so all of them are declared to only read, and a client sees every call of
//! an answer together. A waiting call brings a `tool_progress` frame every 30 seconds. An interrupt
//! takes a call back with `notifications/cancelled`, never with a control cancel; an answer that
//! comes later is ignored.

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use crate::tools::CUSTOM_SERVER;

/// A custom tool of the agent.
#[derive(Debug, Clone)]
pub struct CustomTool {
    /// Its name, 1 to 128 of letters, digits, `_` and `-`.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// The JSON schema of its arguments.
    pub input_schema: Box<RawValue>,
}

/// The custom tools of one launch.
#[derive(Debug, Clone, Default)]
pub struct CustomTools(Vec<CustomTool>);

/// What a message to the in-process server asks for.
#[derive(Debug)]
pub enum Asked {
    /// Send this back, with [`crate::input::mcp_reply`].
    Reply(Box<RawValue>),
    /// Carry out this call and send its result back later.
    Call(Call),
    /// The CLI gave up on a call. Stop working on it, and send `reply` back to this message.
    Cancelled {
        /// The JSON-RPC id of the call that is not wanted any more.
        id: Value,
        /// The answer to the notification itself.
        reply: Box<RawValue>,
    },
}

/// A call of a custom tool.
#[derive(Debug, Clone)]
pub struct Call {
    /// The JSON-RPC id, which goes into the reply.
    pub id: Value,
    /// The tool's name in the agent's definition.
    pub tool: String,
    /// The arguments, byte for byte.
    pub arguments: Box<RawValue>,
    /// The id of the `tool_use` block that this call comes from.
    pub tool_use_id: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    id: Option<Value>,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    params: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct CallParams {
    name: String,
    #[serde(default)]
    arguments: Option<Box<RawValue>>,
    #[serde(default, rename = "_meta")]
    meta: Option<CallMeta>,
}

#[derive(Deserialize)]
struct CallMeta {
    #[serde(default, rename = "claudecode/toolUseId")]
    tool_use_id: Option<String>,
}

#[derive(Deserialize)]
struct CancelParams {
    #[serde(rename = "requestId")]
    request_id: Value,
}

#[derive(Serialize)]
struct Listed<'a> {
    name: &'a str,
    description: &'a str,
    #[serde(rename = "inputSchema")]
    input_schema: &'a RawValue,
    annotations: Value,
}

/// JSON-RPC: the method does not exist.
const METHOD_NOT_FOUND: i64 = -32601;
/// JSON-RPC: the parameters are wrong.
const INVALID_PARAMS: i64 = -32602;

impl CustomTools {
    /// The server for these tools.
    pub fn new(tools: Vec<CustomTool>) -> Self {
        Self(tools)
    }

    /// Whether there is any tool; without one the server is not declared at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Answers a message, or says what the caller has to do for it. Never fails: a message that
    /// makes no sense is answered with a JSON-RPC error.
    pub fn answer(&self, message: &RawValue) -> Asked {
        let Ok(Message { id, method, params }) = serde_json::from_str(message.get()) else {
            return Asked::Reply(error(
                Value::Null,
                METHOD_NOT_FOUND,
                "not a json-rpc request",
            ));
        };
        let id = id.unwrap_or(Value::Null);
        match method.as_deref().unwrap_or_default() {
            "initialize" => Asked::Reply(result(&id, initialize(params.as_deref()))),
            "tools/list" => Asked::Reply(self.list(&id)),
            "tools/call" => self.call(id, params.as_deref()),
            "ping" => Asked::Reply(result(&id, json!({}))),
            "notifications/cancelled" => match cancelled(params.as_deref()) {
                Some(call) => Asked::Cancelled {
                    id: call,
                    reply: acknowledged(),
                },
                None => Asked::Reply(acknowledged()),
            },
            method if method.starts_with("notifications/") => Asked::Reply(acknowledged()),
            _ => Asked::Reply(error(id, METHOD_NOT_FOUND, "no such method")),
        }
    }

    fn list(&self, id: &Value) -> Box<RawValue> {
        let tools: Vec<Listed<'_>> = self
            .0
            .iter()
            .map(|tool| Listed {
                name: &tool.name,
                description: &tool.description,
                input_schema: &tool.input_schema,
                annotations: json!({"readOnlyHint": true}),
            })
            .collect();
        result(id, Tools { tools })
    }

    fn call(&self, id: Value, params: Option<&RawValue>) -> Asked {
        let params = params.and_then(|params| serde_json::from_str(params.get()).ok());
        let Some(CallParams {
            name,
            arguments,
            meta,
        }) = params
        else {
            return Asked::Reply(error(id, INVALID_PARAMS, "the call has no tool name"));
        };
        if !self.0.iter().any(|tool| tool.name == name) {
            return Asked::Reply(error(id, INVALID_PARAMS, "no such tool"));
        }
        Asked::Call(Call {
            id,
            tool: name,
            arguments: arguments.unwrap_or_else(|| raw(&json!({}))),
            tool_use_id: meta.and_then(|meta| meta.tool_use_id),
        })
    }
}

impl Call {
    /// The reply that carries the tool's result: `content` is an array of MCP content blocks, each
    /// `{"type":"text","text"}` or `{"type":"image","data","mimeType"}`.
    pub fn reply(&self, content: &impl Serialize, is_error: bool) -> Box<RawValue> {
        result(&self.id, CallResult { content, is_error })
    }
}

#[derive(Serialize)]
struct Tools<'a> {
    tools: Vec<Listed<'a>>,
}

#[derive(Serialize)]
struct CallResult<T> {
    content: T,
    #[serde(rename = "isError")]
    is_error: bool,
}

#[derive(Serialize)]
struct Reply<'a, T> {
    jsonrpc: &'a str,
    id: &'a Value,
    result: T,
}

fn initialize(params: Option<&RawValue>) -> Value {
    // The server speaks whatever version the CLI speaks: the four messages it serves are the same
    // in all of them.
    let asked = params
        .and_then(|params| serde_json::from_str::<Value>(params.get()).ok())
        .and_then(|params| params.get("protocolVersion").cloned())
        .unwrap_or_else(|| json!("2025-11-25"));
    json!({
        "protocolVersion": asked,
        "capabilities": {"tools": {}},
        "serverInfo": {"name": CUSTOM_SERVER, "version": env!("CARGO_PKG_VERSION")},
    })
}

fn cancelled(params: Option<&RawValue>) -> Option<Value> {
    Some(
        serde_json::from_str::<CancelParams>(params?.get())
            .ok()?
            .request_id,
    )
}

/// What the CLI expects in answer to a notification.
fn acknowledged() -> Box<RawValue> {
    raw(&json!({"jsonrpc": "2.0", "result": {}}))
}

fn result(id: &Value, result: impl Serialize) -> Box<RawValue> {
    raw(&Reply {
        jsonrpc: "2.0",
        id,
        result,
    })
}

fn error(id: Value, code: i64, message: &str) -> Box<RawValue> {
    raw(&json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}}))
}

fn raw(value: &impl Serialize) -> Box<RawValue> {
    to_raw_value(value).expect("strings, numbers and raw json always serialise")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tools() -> CustomTools {
        CustomTools::new(vec![CustomTool {
            name: "weather".into(),
            description: "tells the weather".into(),
            input_schema: raw(&json!({"type": "object", "properties": {"city": {}}})),
        }])
    }

    fn ask(message: Value) -> Asked {
        tools().answer(&raw(&message))
    }

    fn reply(message: Value) -> Value {
        let Asked::Reply(reply) = ask(message) else {
            panic!("not a reply")
        };
        serde_json::from_str(reply.get()).unwrap()
    }

    #[test]
    fn the_handshake_repeats_the_version_that_was_asked_for() {
        let reply = reply(json!({"jsonrpc": "2.0", "id": 0, "method": "initialize",
            "params": {"protocolVersion": "2031-01-01"}}));
        assert_eq!(reply["id"], 0);
        assert_eq!(reply["result"]["protocolVersion"], "2031-01-01");
    }

    #[test]
    fn the_list_has_the_definitions_and_declares_them_to_only_read() {
        let reply = reply(json!({"id": 1, "method": "tools/list"}));
        let tool = &reply["result"]["tools"][0];
        assert_eq!(tool["name"], "weather");
        assert_eq!(tool["inputSchema"]["type"], "object");
        assert_eq!(tool["annotations"]["readOnlyHint"], true);
    }

    #[test]
    fn a_call_is_handed_out_and_its_reply_keeps_the_id() {
        let asked = ask(
            json!({"id": 7, "method": "tools/call", "params": {"name": "weather",
            "arguments": {"city": "Rome"}, "_meta": {"claudecode/toolUseId": "toolu_1", "progressToken": 7}}}),
        );
        let Asked::Call(call) = asked else {
            panic!("not a call")
        };
        assert_eq!(
            (call.tool.as_str(), call.arguments.get()),
            ("weather", r#"{"city":"Rome"}"#)
        );
        assert_eq!(call.tool_use_id.as_deref(), Some("toolu_1"));
        let reply = call.reply(&json!([{"type": "text", "text": "sunny"}]), true);
        let reply: Value = serde_json::from_str(reply.get()).unwrap();
        assert_eq!(reply["id"], 7);
        assert_eq!(reply["result"]["isError"], true);
        assert_eq!(reply["result"]["content"][0]["text"], "sunny");
    }

    #[test]
    fn a_cancelled_call_is_named() {
        let asked = ask(json!({"method": "notifications/cancelled", "params": {"requestId": 7}}));
        let Asked::Cancelled { id, .. } = asked else {
            panic!("not cancelled")
        };
        assert_eq!(id, 7);
    }

    #[test]
    fn nonsense_is_answered_with_an_error_and_notifications_are_acknowledged() {
        assert_eq!(
            reply(json!({"id": 2, "method": "resources/list"}))["error"]["code"],
            METHOD_NOT_FOUND
        );
        assert_eq!(
            reply(json!({"id": 2, "method": "tools/call"}))["error"]["code"],
            INVALID_PARAMS
        );
        let unknown = json!({"id": 2, "method": "tools/call", "params": {"name": "other"}});
        assert_eq!(reply(unknown)["error"]["code"], INVALID_PARAMS);
        assert_eq!(reply(json!([1]))["error"]["code"], METHOD_NOT_FOUND);
        assert_eq!(
            reply(json!({"method": "notifications/initialized"}))["result"],
            json!({})
        );
        assert_eq!(
            reply(json!({"id": 3, "method": "ping"}))["result"],
            json!({})
        );
    }
}
