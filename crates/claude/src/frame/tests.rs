//! Frames of recorded runs, and of no run at all.

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

/// Recorded output, long texts and lists cut short.
const RECORDINGS: [(&str, &str); 10] = [
    (
        "partial_messages",
        include_str!("../../tests/fixtures/partial_messages.jsonl"),
    ),
    (
        "permissions",
        include_str!("../../tests/fixtures/permissions.jsonl"),
    ),
    ("hooks", include_str!("../../tests/fixtures/hooks.jsonl")),
    (
        "in_process_mcp",
        include_str!("../../tests/fixtures/in_process_mcp.jsonl"),
    ),
    (
        "interrupt",
        include_str!("../../tests/fixtures/interrupt.jsonl"),
    ),
    (
        "mirror_and_subagent",
        include_str!("../../tests/fixtures/mirror_and_subagent.jsonl"),
    ),
    (
        "await_claim",
        include_str!("../../tests/fixtures/await_claim.jsonl"),
    ),
    (
        "structured_output",
        include_str!("../../tests/fixtures/structured_output.jsonl"),
    ),
    (
        "api_retry",
        include_str!("../../tests/fixtures/api_retry.jsonl"),
    ),
    (
        "compact_and_clear",
        include_str!("../../tests/fixtures/compact_and_clear.jsonl"),
    ),
];

/// What no part of the host acts on, so that it is passed on as it is.
const UNKNOWN: [(&str, Option<&str>); 3] = [
    ("system", Some("background_tasks_changed")),
    ("system", Some("session_title_changed")),
    ("system", Some("ui_invalidate")),
];

fn parse(value: Value) -> Frame {
    Frame::parse(value.to_string().as_bytes()).unwrap()
}

fn recording(name: &str) -> Vec<Frame> {
    let (_, lines) = RECORDINGS.iter().find(|(known, _)| *known == name).unwrap();
    lines
        .lines()
        .map(|line| Frame::parse(line.as_bytes()).unwrap())
        .collect()
}

#[test]
fn every_recorded_line_is_known_but_for_a_listed_few() {
    for (name, lines) in RECORDINGS {
        for line in lines.lines() {
            let frame = Frame::parse(line.as_bytes()).unwrap();
            if let Frame::Unknown(unknown) = &frame {
                let seen = (unknown.kind.as_str(), unknown.subtype.as_deref());
                assert!(UNKNOWN.contains(&seen), "{name}: {line}");
            }
            if let Frame::ControlRequest(ControlRequest {
                kind: ControlRequestKind::Other { .. },
                ..
            }) = &frame
            {
                panic!("{name}: {line}");
            }
        }
    }
}

#[test]
fn a_permission_request_names_the_block_that_came_before_it() {
    let frames = recording("permissions");
    let asked = frames
        .iter()
        .position(|frame| matches!(frame, Frame::ControlRequest(_)))
        .unwrap();
    let Frame::ControlRequest(ControlRequest {
        kind: ControlRequestKind::CanUseTool(ask),
        ..
    }) = &frames[asked]
    else {
        panic!("not a permission request");
    };
    let before = frames[..asked].iter().any(|frame| match frame {
        Frame::Assistant(assistant) => assistant.content.iter().any(
            |block| matches!(block, Block::ToolUse { id, name, .. } if Some(id) == ask.tool_use_id.as_ref() && *name == ask.tool_name),
        ),
        _ => false,
    });
    assert!(before);
    assert!(ask.input.get().contains("touch allowed-file"));
}

#[test]
fn an_interrupted_turn_ends_with_its_reason_and_cancels_its_prompt() {
    let frames = recording("interrupt");
    let result = frames.iter().find_map(|frame| match frame {
        Frame::Result(result) if result.is_error => Some(result),
        _ => None,
    });
    let result = result.unwrap();
    assert_eq!(result.subtype, "error_during_execution");
    assert_eq!(result.terminal_reason.as_deref(), Some("aborted_streaming"));
    assert!(
        frames
            .iter()
            .any(|frame| matches!(frame, Frame::Assistant(assistant) if assistant.aborted))
    );
    assert!(frames.iter().any(|frame| matches!(
        frame,
        Frame::CommandLifecycle {
            state: CommandState::Cancelled,
            ..
        }
    )));
}

#[test]
fn a_result_is_read_whatever_the_order_of_its_keys() {
    let frame = parse(
        json!({"duration_ms": 5, "usage": {"input_tokens": 7, "new": {}, "cache_creation": null},
        "errors": null, "modelUsage": {"m": {}}, "total_cost_usd": 0.5, "subtype": "success",
        "api_error_status": null, "user_message_uuids": ["u1"], "type": "result", "is_error": false}),
    );
    let Frame::Result(result) = frame else {
        panic!("not a result")
    };
    assert_eq!((result.usage.input_tokens, result.total_cost_usd), (7, 0.5));
    assert_eq!(result.user_message_uuids, ["u1"]);
}

#[test]
fn mirrored_entries_are_kept_byte_for_byte() {
    let entry = r#"{ "type":"user",  "n":1.0e2, "text":"\u00e9" }"#;
    let line = format!(r#"{{"entries":[{entry}],"type":"transcript_mirror","filePath":"/p"}}"#);
    let Frame::Mirror(mirror) = Frame::parse(line.as_bytes()).unwrap() else {
        panic!("no mirror")
    };
    assert_eq!(mirror.entries[0].get(), entry);
}

#[test]
fn what_is_new_is_kept_as_it_came() {
    let line = r#"{"subtype":"b","x":[1.0],"type":"a"}"#;
    let Frame::Unknown(unknown) = Frame::parse(line.as_bytes()).unwrap() else {
        panic!("known")
    };
    assert_eq!(
        (unknown.kind.as_str(), unknown.subtype.as_deref()),
        ("a", Some("b"))
    );
    assert_eq!(unknown.raw.get(), line);
}

#[test]
fn a_known_type_in_a_new_shape_is_unknown_and_not_an_error() {
    for value in [
        json!({"type": "result", "num_turns": "many"}),
        json!({"type": "assistant", "message": "text"}),
        json!({"type": "system", "subtype": 5}),
        json!({"type": "system"}),
        json!({"type": ["user"]}),
        json!({}),
    ] {
        assert!(matches!(parse(value.clone()), Frame::Unknown(_)), "{value}");
    }
}

#[test]
fn new_blocks_inside_a_message_are_kept() {
    let frame = parse(
        json!({"type": "assistant", "message": {"id": "m", "content": [
        {"type": "text", "text": "a"}, {"type": "hologram", "x": 1}, {"type": "tool_use", "id": 5}]}}),
    );
    let Frame::Assistant(assistant) = frame else {
        panic!("not an answer")
    };
    assert!(matches!(&assistant.content[0], Block::Text(text) if text == "a"));
    assert!(matches!(&assistant.content[1], Block::Other { kind, .. } if kind == "hologram"));
    assert!(matches!(&assistant.content[2], Block::Other { kind, .. } if kind == "tool_use"));
}

#[test]
fn a_heartbeat_names_the_call_that_runs() {
    let frame = parse(
        json!({"type": "tool_progress", "tool_use_id": "toolu_1-heartbeat-0", "heartbeat": true,
        "tool_name": "mcp__custom__a", "parent_tool_use_id": "toolu_1", "elapsed_time_seconds": 30}),
    );
    let Frame::ToolProgress(progress) = frame else {
        panic!("not progress")
    };
    assert_eq!(progress.call.as_deref(), Some("toolu_1"));
}

#[test]
fn a_refused_request_says_why() {
    let frame = parse(
        json!({"type": "control_response", "response": {"subtype": "error",
        "request_id": "r1", "error": "Unsupported control request subtype: nope", "error_code": "unsupported_request"}}),
    );
    let Frame::ControlResponse(response) = frame else {
        panic!("not a response")
    };
    let error = response.outcome.unwrap_err();
    assert_eq!(error.code.as_deref(), Some("unsupported_request"));
}

#[test]
fn lines_that_are_no_objects_are_refused() {
    for line in ["", "[1]", "\"a\"", "{", "{\"type\":\"user\"} x", "null"] {
        assert!(Frame::parse(line.as_bytes()).is_err(), "{line}");
    }
    assert!(Frame::parse(b"{\"type\":\"\xff\"}").is_err());
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z_]{0,12}".prop_map(Value::from),
    ];
    let key = prop_oneof![
        "[a-z]{1,8}",
        prop::sample::select(vec![
            "type",
            "subtype",
            "message",
            "content",
            "request",
            "request_id",
            "response",
            "entries",
            "filePath",
            "event",
            "usage",
            "errors",
            "state",
            "uuid",
            "id",
            "name",
            "input",
            "text",
        ])
        .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn any_kind() -> impl Strategy<Value = (&'static str, &'static str)> {
    prop::sample::select(vec![
        ("system", "init"),
        ("system", "status"),
        ("system", "api_retry"),
        ("system", "task_started"),
        ("system", "compact_boundary"),
        ("system", "session_state_changed"),
        ("assistant", ""),
        ("user", ""),
        ("stream_event", ""),
        ("result", "success"),
        ("control_request", ""),
        ("control_response", ""),
        ("control_cancel_request", ""),
        ("transcript_mirror", ""),
        ("command_lifecycle", ""),
    ])
}

proptest! {
    #[test]
    fn no_object_is_an_error(body in any_json(), (kind, subtype) in any_kind()) {
        let mut object = body.as_object().cloned().unwrap_or_default();
        object.insert("type".into(), kind.into());
        object.insert("subtype".into(), subtype.into());
        prop_assert!(Frame::parse(Value::Object(object).to_string().as_bytes()).is_ok());
    }

    #[test]
    fn no_bytes_are_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = Frame::parse(&bytes);
    }

    #[test]
    fn a_recorded_line_with_a_field_gone_or_changed_is_never_an_error(
        recording in 0usize..10,
        line in any::<prop::sample::Index>(),
        field in any::<prop::sample::Index>(),
        change in prop::option::of(any_json()),
    ) {
        let lines: Vec<&str> = RECORDINGS[recording].1.lines().collect();
        let mut object: serde_json::Map<String, Value> = serde_json::from_str(lines[line.index(lines.len())]).unwrap();
        let key = field.get(&object.keys().cloned().collect::<Vec<_>>()).clone();
        match change {
            Some(value) => object.insert(key, value),
            None => object.remove(&key),
        };
        prop_assert!(Frame::parse(Value::Object(object).to_string().as_bytes()).is_ok());
    }
}

#[test]
fn the_stop_hook_says_what_is_left_to_do() {
    let line = br#"{"type":"control_request","request_id":"r","request":{"subtype":"hook_callback","callback_id":"stop","input":{"hook_event_name":"Stop","background_tasks":[{"id":"a"}],"session_crons":[]}}}"#;
    let Frame::ControlRequest(request) = Frame::parse(&bytes::Bytes::from_static(line)).unwrap()
    else {
        panic!()
    };
    let ControlRequestKind::HookCallback(hook) = request.kind else {
        panic!()
    };
    let left = hook.own_work().unwrap();
    assert_eq!((left.tasks, left.timers), (1, 0));
}
