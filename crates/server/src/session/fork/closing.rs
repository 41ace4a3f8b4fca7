//! What a copied log needs so that it ends at rest: a point can lie in the middle of a turn, and
//! nobody will ever go on with that turn in the copy. A function over events; no I/O.

use std::collections::BTreeMap;

use api::event::{Body, ModelUsage, StopReason};
use serde_json::{Value, json};
use store::EventRow;

/// What the result of a call says that was open at the point.
const CUT: &str = "The session was forked before this call was answered.";

/// What is open in a log as far as it was read.
#[derive(Debug, Default)]
pub(super) struct Closing {
    /// Whether the session works, or waits for an answer to one of its calls.
    busy: bool,
    /// Calls without a result, in their order.
    calls: BTreeMap<i64, (String, Kind)>,
    /// The start of a model request that has not ended.
    request: Option<String>,
}

/// Which result a call gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    BuiltIn,
    Mcp,
    /// Its result is the client's; the log of a cut turn ends without it.
    Custom,
}

impl Closing {
    /// Takes the next event of the log.
    pub(super) fn event(&mut self, event: &EventRow) {
        let body = || serde_json::from_str::<Value>(&event.body).unwrap_or_default();
        match event.kind.as_str() {
            "session.status_running" | "session.status_rescheduled" => self.busy = true,
            "session.status_idle" => {
                self.busy = body()["stop_reason"]["type"] == "requires_action";
            }
            "agent.tool_use" => self.open(event, Kind::BuiltIn),
            "agent.mcp_tool_use" => self.open(event, Kind::Mcp),
            "agent.custom_tool_use" => self.open(event, Kind::Custom),
            "agent.tool_result" => self.close(&body()["tool_use_id"]),
            "agent.mcp_tool_result" => self.close(&body()["mcp_tool_use_id"]),
            "user.custom_tool_result" => self.close(&body()["custom_tool_use_id"]),
            "span.model_request_start" => self.request = Some(event.id.clone()),
            "span.model_request_end" => self.request = None,
            _ => {}
        }
    }

    fn open(&mut self, event: &EventRow, kind: Kind) {
        self.calls.insert(event.seq, (event.id.clone(), kind));
    }

    fn close(&mut self, id: &Value) {
        self.calls
            .retain(|_, (call, _)| Some(call.as_str()) != id.as_str());
    }

    /// The events that end what is open; none when the log ends at rest.
    pub(super) fn bodies(self, thread: &str, agent: &str) -> Vec<Body> {
        if !self.busy {
            return Vec::new();
        }
        let end = self.request.map(|start| Body::ModelRequestEnd {
            model_request_start_id: start,
            is_error: true,
            model_usage: ModelUsage::default(),
        });
        let results = self.calls.into_values().filter_map(|(id, kind)| {
            let (content, is_error) = (vec![json!({"type": "text", "text": CUT})], true);
            match kind {
                Kind::BuiltIn => Some(Body::AgentToolResult {
                    tool_use_id: id,
                    content,
                    is_error,
                }),
                Kind::Mcp => Some(Body::AgentMcpToolResult {
                    mcp_tool_use_id: id,
                    content,
                    is_error,
                }),
                Kind::Custom => None,
            }
        });
        let idle = [
            Body::ThreadStatusIdle {
                session_thread_id: thread.to_owned(),
                agent_name: agent.to_owned(),
                stop_reason: StopReason::EndTurn,
                stop_details: None,
            },
            Body::SessionStatusIdle {
                stop_reason: StopReason::EndTurn,
                stop_details: None,
            },
        ];
        end.into_iter().chain(results).chain(idle).collect()
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn closing(events: &[(&str, &str, Value)]) -> Vec<String> {
        let mut closing = Closing::default();
        for (index, (id, kind, body)) in events.iter().enumerate() {
            closing.event(&EventRow {
                seq: index as i64 + 1,
                id: (*id).to_owned(),
                kind: (*kind).to_owned(),
                processed_at: DateTime::UNIX_EPOCH,
                body: body.to_string().into(),
            });
        }
        let shown = closing.bodies("sthr_1", "a").into_iter().map(|body| {
            let value = serde_json::to_value(&body).unwrap();
            let of = ["tool_use_id", "mcp_tool_use_id", "model_request_start_id"];
            let of = of.iter().find_map(|key| value[*key].as_str());
            format!("{} {}", body.kind(), of.unwrap_or("-"))
        });
        shown.collect()
    }

    const RUNNING: (&str, &str, Value) = ("r", "session.status_running", Value::Null);
    const IDLE: [&str; 2] = ["session.thread_status_idle -", "session.status_idle -"];

    fn idle(reason: &str) -> (&'static str, &'static str, Value) {
        let body = json!({"stop_reason": {"type": reason}});
        ("i", "session.status_idle", body)
    }

    #[test]
    fn a_log_at_rest_needs_nothing() {
        assert!(closing(&[]).is_empty());
        assert!(closing(&[RUNNING, idle("end_turn")]).is_empty());
        assert!(closing(&[RUNNING, idle("retries_exhausted")]).is_empty());
    }

    #[test]
    fn a_cut_turn_ends_with_what_was_open() {
        let call = |id: &'static str, kind: &'static str| (id, kind, Value::Null);
        let answered = ("x", "agent.tool_result", json!({"tool_use_id": "c1"}));
        let events = [
            RUNNING,
            call("q1", "span.model_request_start"),
            call("q2", "span.model_request_end"),
            call("c1", "agent.tool_use"),
            call("c2", "agent.mcp_tool_use"),
            call("c3", "agent.tool_use"),
            call("c4", "agent.custom_tool_use"),
            answered,
            call("q3", "span.model_request_start"),
        ];
        let mut expected = vec![
            "span.model_request_end q3",
            "agent.mcp_tool_result c2",
            "agent.tool_result c3",
        ];
        expected.extend(IDLE);
        assert_eq!(closing(&events), expected);
    }

    #[test]
    fn a_turn_that_waits_for_an_answer_is_over_in_the_fork() {
        let call = ("c1", "agent.tool_use", Value::Null);
        let mut expected = vec!["agent.tool_result c1"];
        expected.extend(IDLE);
        assert_eq!(closing(&[RUNNING, call, idle("requires_action")]), expected);
    }
}
