use serde_json::json;

use super::*;

fn messages(text: &str) -> Vec<Message> {
    Script::parse(text).unwrap().unwrap().messages
}

fn problem(text: &str) -> String {
    Script::parse(text).unwrap_err().to_string()
}

#[test]
fn prose_is_no_script() {
    assert_eq!(
        Script::parse("hello @say\nmail me @ home\n@alice hi"),
        Ok(None)
    );
}

#[test]
fn a_message_ends_after_its_tools() {
    let script = messages(
        "Please:\n@say I will look.\n@tool Bash {\"command\":\"ls\"}\n@tool Read\n@say Two\n@say lines.",
    );
    assert_eq!(
        script,
        [
            Message {
                parts: vec![
                    Part::Text("I will look.".into()),
                    Part::Tool {
                        name: "Bash".into(),
                        input: json!({"command": "ls"})
                    },
                    Part::Tool {
                        name: "Read".into(),
                        input: json!({})
                    },
                ],
                ..Message::default()
            },
            Message {
                parts: vec![Part::Text("Two\nlines.".into())],
                ..Message::default()
            },
        ]
    );
}

#[test]
fn next_parts_tools_and_texts() {
    let script = messages("@tool A\n@next\n@tool B\n@next\n@say x\n@next\n@say y");
    assert_eq!(script.len(), 4);
}

#[test]
fn settings_belong_to_the_message_they_stand_in() {
    let script = messages("@slow 50\n@delay 300\n@say a\n@tool A\n@stop max_tokens\n@think b");
    assert_eq!(script[0].slow, Some(Duration::from_millis(50)));
    assert_eq!(script[0].delay, Some(Duration::from_millis(300)));
    assert_eq!(script[1].stop.as_deref(), Some("max_tokens"));
    assert_eq!(script[1].parts, [Part::Thinking("b".into())]);
}

#[test]
fn faults_have_options() {
    let script =
        messages("@error 429 rate_limit_error retry-after=1 times=2\n@cut\n@silent times=1");
    let fault = |fault, times| Part::Fault { fault, times };
    let error = Fault::Error {
        status: 429,
        kind: "rate_limit_error".into(),
        retry_after: Some(1),
    };
    assert_eq!(
        script[0].parts,
        [
            fault(error, Some(2)),
            fault(Fault::Cut, None),
            fault(Fault::Silent, Some(1))
        ]
    );
}

#[test]
fn a_wrong_line_is_named() {
    assert_eq!(
        problem("@say a\n@sya b"),
        "script line 2: @sya is not a directive"
    );
    assert_eq!(
        problem("x\n@tool Bash {oops"),
        "script line 2: the input of @tool is not a JSON object on one line"
    );
    assert_eq!(
        problem("@slow"),
        "script line 1: a number of milliseconds is missing"
    );
    assert_eq!(
        problem("@error 200 ok"),
        "script line 1: @error needs a status from 400 to 599"
    );
    assert_eq!(
        problem("@cut times=x"),
        "script line 1: times= needs a number"
    );
    assert_eq!(
        problem("@repeat 99999999 word"),
        "script line 1: @repeat is bounded to 64 MiB of text"
    );
}
