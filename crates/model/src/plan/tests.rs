use std::cell::Cell;

use super::*;

struct Count(Cell<u32>);

impl Attempts for Count {
    fn count(&self, _: u64, _: usize) -> u32 {
        self.0.replace(self.0.get() + 1)
    }
}

fn plans(request: Value, attempts: u32) -> Vec<Plan> {
    let length = request.to_string().len();
    let request: Request = serde_json::from_value(request).unwrap();
    let count = Count(Cell::new(0));
    (0..attempts)
        .map(|_| Plan::of(&request, length, true, &count).unwrap())
        .collect()
}

fn request(text: &str, answers: &[&str]) -> Value {
    let mut messages = vec![json!({"role": "user", "content": text})];
    for result in answers {
        messages.push(json!({"role": "assistant", "content": "x"}));
        messages.push(json!({"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "1", "content": result}]}));
    }
    json!({"model": "m", "messages": messages, "tools": [{"name": "Bash"}]})
}

fn plan(text: &str, answers: &[&str]) -> Plan {
    plans(request(text, answers), 1).remove(0)
}

const SCRIPT: &str = "@say look\n@tool Bash {\"command\":\"ls\"}\n@say It said {{result}}.";

#[test]
fn each_step_has_its_message() {
    let first = plan(SCRIPT, &[]);
    let input = json!({"command": "ls"});
    let tool = Block::Tool {
        name: "Bash".into(),
        input,
    };
    assert_eq!(first.blocks, [Block::Text("look".into()), tool]);
    assert_eq!(first.stop_reason, "tool_use");
    let second = plan(SCRIPT, &["a.txt"]);
    assert_eq!(second.blocks, [Block::Text("It said a.txt.".into())]);
    assert_eq!(second.stop_reason, "end_turn");
    assert_eq!(
        plan(SCRIPT, &["a", "b"]).blocks,
        [Block::Text("done".into())]
    );
}

#[test]
fn a_request_without_tools_gets_the_texts() {
    let mut request = request(SCRIPT, &[]);
    request["tools"] = json!([]);
    let plan = plans(request, 1).remove(0);
    assert_eq!(
        plan.blocks,
        [Block::Text("look".into()), Block::Text("It said .".into())]
    );
}

#[test]
fn a_fault_passes_after_its_times() {
    let script = "@error 529 overloaded_error times=2\n@say fine";
    let faults: Vec<bool> = plans(request(script, &[]), 4)
        .iter()
        .map(|plan| plan.fault.is_some())
        .collect();
    assert_eq!(faults, [true, true, false, false]);
}

#[test]
fn a_fault_without_times_stays_and_keeps_what_came_before() {
    let plans = plans(request("@say half\n@cut\n@say rest", &[]), 3);
    for plan in plans {
        assert_eq!(plan.blocks, [Block::Text("half".into())]);
        assert_eq!(plan.fault, Some(Fault::Cut));
    }
}

#[test]
fn tokens_follow_lengths_and_the_cache_fills_then_serves() {
    let (first, later) = (plan("abcdefgh", &[]), plan("abcdefgh", &["x"]));
    assert_eq!((first.usage.input, first.usage.cache_read), (2, 0));
    assert!(first.usage.cache_write > 0);
    assert_eq!(later.usage.cache_write, 0);
    assert!(later.usage.cache_read > first.usage.cache_write);
    assert_eq!(first.usage.output, tokens("You said: abcdefgh".len()));
}

#[test]
fn a_stop_reason_can_be_said() {
    assert_eq!(
        plan("@say x\n@stop max_tokens", &[]).stop_reason,
        "max_tokens"
    );
}

#[test]
fn a_wrong_script_is_an_error() {
    let request: Request = serde_json::from_value(request("@say a\n@nonsense", &[])).unwrap();
    let error = Plan::of(&request, 0, true, &Count(Cell::new(0))).unwrap_err();
    assert_eq!(error.line, 2);
}
