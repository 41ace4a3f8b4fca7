use serde_json::json;

use super::*;

fn read(event: &Value) -> Result<ClientEvent, Invalid> {
    let body = serde_json::to_vec(&json!({"events": [event]})).unwrap();
    crate::read::body::<SendEvents>(&body).map(|mut send| send.events.remove(0))
}

fn message(block: &Value) -> Value {
    json!({"type": "user.message", "content": [block]})
}

#[test]
fn every_served_event_comes_back_as_it_was_sent() {
    let rows = [
        message(&json!({"type": "text", "text": "hi"})),
        message(
            &json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAA="}}),
        ),
        message(
            &json!({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}, "title": "t", "context": null}),
        ),
        json!({"type": "user.interrupt"}),
        json!({"type": "user.interrupt", "session_thread_id": "sthr_1"}),
        json!({"type": "user.tool_confirmation", "tool_use_id": "sevt_1", "result": "deny", "deny_message": "no"}),
        json!({"type": "user.custom_tool_result", "custom_tool_use_id": "sevt_1", "is_error": null, "content": [
            {"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "x"}], "citations": {"enabled": true}},
        ]}),
    ];
    for row in rows {
        let event = read(&row).unwrap();
        assert_eq!(serde_json::to_value(&event).unwrap(), row);
        assert_eq!(row["type"], event.kind());
        assert_eq!(serde_json::from_value::<ClientEvent>(row).unwrap(), event);
    }
}

#[test]
fn refusals_name_the_place() {
    let long = "x".repeat(10_001);
    let confirm = |result: &str, message: &str| json!({"type": "user.tool_confirmation", "tool_use_id": "t", "result": result, "deny_message": message});
    let rows = [
        (json!({}), "events.0.type: field required"),
        (
            json!({"type": "user.shout"}),
            "events.0.type: must be one of `user.message`",
        ),
        (
            json!({"type": "user.define_outcome"}),
            "events.0.type: `user.define_outcome` is not served",
        ),
        (
            json!({"type": "system.message", "content": []}),
            "events.0.type: `system.message` is not served",
        ),
        (
            json!({"type": "user.tool_result"}),
            "events.0.type: `user.tool_result` is not served",
        ),
        (
            json!({"type": "user.message", "content": "hi"}),
            "events.0.content: must be a list, got a string",
        ),
        (
            json!({"type": "user.message", "content": []}),
            "events.0.content: needs at least one block",
        ),
        (
            json!({"type": "user.message", "content": [], "role": "user"}),
            "events.0.content: needs",
        ),
        (
            message(&json!({"type": "text", "text": ""})),
            "events.0.content.0.text: cannot be empty",
        ),
        (
            message(&json!({"type": "text", "text": "x", "cache_control": {}})),
            "events.0.content.0.cache_control: unknown field",
        ),
        (
            message(&json!({"type": "redacted"})),
            "events.0.content.0.type: `redacted` blocks come from the server",
        ),
        (
            message(&json!({"type": "search_result"})),
            "events.0.content.0.type: must be one of",
        ),
        (
            message(&json!({"type": "image", "source": {"type": "file", "file_id": "f"}})),
            "events.0.content.0.source.type: `file` is not served",
        ),
        (
            message(
                &json!({"type": "image", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}),
            ),
            "events.0.content.0.source.type: must be one of `base64`, `url`",
        ),
        (
            message(
                &json!({"type": "image", "source": {"type": "base64", "media_type": "image/bmp", "data": "AAAA"}}),
            ),
            "events.0.content.0.source.media_type: must be",
        ),
        (
            message(
                &json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A"}}),
            ),
            "events.0.content.0.source.data: must be base 64",
        ),
        (
            json!({"type": "user.interrupt", "why": 1}),
            "events.0.why: unknown field",
        ),
        (
            confirm("maybe", ""),
            "events.0.result: must be `allow` or `deny`, got \"maybe\"",
        ),
        (
            confirm("allow", "no"),
            "events.0.deny_message: only goes with",
        ),
        (
            confirm("deny", &long),
            "events.0.deny_message: at most 10000 characters, got 10001",
        ),
        (
            json!({"type": "user.custom_tool_result", "custom_tool_use_id": ""}),
            "events.0.custom_tool_use_id: cannot be empty",
        ),
    ];
    for (event, message) in rows {
        let error = read(&event).unwrap_err();
        assert!(
            error.message.starts_with(message),
            "{} does not start with {message}",
            error.message
        );
    }
}

#[test]
fn a_send_holds_1_to_50_events() {
    let send = |count: usize| {
        let events = vec![json!({"type": "user.interrupt"}); count];
        SendEvents::read(json!({"events": events}), At::root())
    };
    assert!(send(50).is_ok());
    assert_eq!(
        send(0).unwrap_err().message,
        "events: needs at least one event"
    );
    assert_eq!(
        send(51).unwrap_err().message,
        "events: at most 50 items, got 51"
    );
}

#[test]
fn what_is_not_json_is_refused() {
    let deep = "[".repeat(10_000);
    for body in [
        &b"{"[..],
        b"",
        b"{\"events\":[\"\xff\"]}",
        deep.as_bytes(),
        b"{} {}",
    ] {
        let error = crate::read::body::<SendEvents>(body).unwrap_err();
        assert!(
            error
                .message
                .starts_with("the request body is not valid JSON: "),
            "{}",
            error.message
        );
    }
}
