//! Stories of a session, told as inputs, checked as the log they leave.

use api::event::StopReason;
use serde_json::json;

use super::*;

struct Count(u32);

impl Ids for Count {
    fn event(&mut self) -> String {
        self.0 += 1;
        format!("e{}", self.0)
    }
}

struct Story {
    state: State,
    ids: Count,
}

impl Story {
    fn new() -> Story {
        let tools = Tools::of(&json!({"tools": [
            {"type": "agent_toolset_20260401", "configs": [{"name": "bash", "permission_policy": {"type": "always_ask"}}]},
            {"type": "custom", "name": "weather"},
        ]}));
        let facts = Facts {
            agent_name: "a".into(),
            thread_id: "t".into(),
            tools,
            max_tool_calls: None,
        };
        Story {
            state: State::new(facts),
            ids: Count(0),
        }
    }

    /// Feeds inputs and tells what they did, one short word per effect.
    fn tell(&mut self, inputs: impl IntoIterator<Item = Input>) -> String {
        let mut words = Vec::new();
        for input in inputs {
            words.extend(step(&mut self.state, input, &mut self.ids).iter().map(word));
        }
        words.join(" ")
    }
}

fn word(effect: &Effect) -> String {
    match effect {
        Effect::Log(Entry::Event { id, body }) => match body {
            Body::SessionStatusIdle {
                stop_reason: StopReason::RequiresAction { event_ids },
                ..
            } => {
                format!("idle(requires {})", event_ids.join(","))
            }
            Body::SessionStatusIdle { stop_reason, .. } => format!("idle({stop_reason:?})"),
            Body::SessionError { error } => {
                format!("error({:?},{:?})", error.kind, error.retry_status)
            }
            Body::AgentToolResult {
                tool_use_id,
                is_error,
                ..
            } => format!("result({tool_use_id},{is_error})"),
            Body::AgentToolUse { .. }
            | Body::AgentCustomToolUse { .. }
            | Body::AgentMessage { .. } => {
                format!("{}:{id}", body.kind().trim_start_matches("agent."))
            }
            Body::ThreadStatusIdle { .. }
            | Body::ThreadStatusRunning { .. }
            | Body::ThreadStatusRescheduled { .. } => "thread".into(),
            body => body
                .kind()
                .trim_start_matches("session.status_")
                .trim_start_matches("span.")
                .to_owned(),
        },
        Effect::Log(Entry::Processed(id)) => format!("took({id})"),
        Effect::Log(Entry::Usage) => "usage".into(),
        Effect::Log(Entry::Done) => "done".into(),
        Effect::Log(Entry::Status(status, waits)) => {
            format!("={status:?}{}", if *waits { "!" } else { "" })
        }
        Effect::Preview(Preview::EventStart { event }) => format!("start:{}", event.id),
        Effect::Preview(Preview::EventDelta { event_id, .. }) => format!("delta:{event_id}"),
        Effect::Tell(tell) => match tell {
            Tell::Prompt(prompt) => format!(">{}", prompt.event_id),
            Tell::Interrupt => ">interrupt".into(),
            Tell::Allow { request_id, .. } => format!(">allow {request_id}"),
            Tell::Deny { request_id, .. } => format!(">deny {request_id}"),
            Tell::ToolResult { request_id, .. } => format!(">result {request_id}"),
        },
        Effect::Start { interrupted } => format!("START({interrupted})"),
        Effect::Kill => "KILL".into(),
    }
}

fn prompt(id: &str) -> Input {
    Input::Asked(Asked::Prompt(Prompt {
        event_id: id.into(),
        uuid: format!("u-{id}"),
        content: json!(id),
    }))
}

fn interrupt(id: &str) -> Input {
    Input::Asked(Asked::Interrupt {
        event_id: id.into(),
    })
}

fn answer(id: &str, call: &str, answer: Answer) -> Input {
    Input::Asked(Asked::Answer {
        event_id: id.into(),
        call: call.into(),
        answer,
    })
}

fn said(said: Said) -> Input {
    Input::Said(said)
}

fn call(id: &str, name: &str) -> Input {
    said(Said::Call {
        tool_use_id: id.into(),
        name: name.into(),
        input: json!({}),
    })
}

fn may_i(request: &str, id: &str, name: &str) -> Input {
    said(Said::MayI {
        request_id: request.into(),
        tool_use_id: id.into(),
        name: name.into(),
        input: json!({}),
    })
}

fn result(id: &str) -> Input {
    said(Said::Result {
        tool_use_id: id.into(),
        content: vec![],
        is_error: false,
    })
}

fn done() -> [Input; 2] {
    [said(Said::Outcome(Outcome::Done)), said(Said::Idle)]
}

fn lost() -> Input {
    Input::Lost {
        why: "gone".into(),
        again: true,
    }
}

#[test]
fn a_turn_goes_from_running_to_idle_with_usage_right_before_idle() {
    let mut story = Story::new();
    assert_eq!(
        story.tell([prompt("m1")]),
        "START(false) >m1 running thread =Running took(m1)"
    );
    assert_eq!(story.tell([said(Said::Text("hi".into()))]), "message:e3");
    assert_eq!(story.tell(done()), "thread usage idle(EndTurn) =Idle");
    assert_eq!(
        story.tell([prompt("m2")]),
        ">m2 running thread =Running took(m2)",
        "claude lives on"
    );
}

#[test]
fn claude_s_first_idle_ends_no_turn() {
    let mut story = Story::new();
    story.tell([prompt("m1")]);
    assert_eq!(story.tell([said(Said::Idle)]), "");
    assert_eq!(story.state.status(), Status::Running);
}

#[test]
fn prompts_wait_for_the_turn_before_them() {
    let mut story = Story::new();
    story.tell([prompt("m1")]);
    assert_eq!(story.tell([prompt("m2"), prompt("m3")]), "");
    assert_eq!(
        story.tell(done()),
        ">m2 took(m2)",
        "the session stays running, without a spurious idle"
    );
    assert_eq!(story.tell(done()), ">m3 took(m3)");
    assert_eq!(story.tell(done()), "thread usage idle(EndTurn) =Idle");
}

#[test]
fn text_is_previewed_under_the_id_of_its_event() {
    let mut story = Story::new();
    story.tell([prompt("m1")]);
    let inputs = [
        said(Said::RequestStart(ModelUsage::default())),
        said(Said::BlockStart(Block::Thinking)),
        said(Said::Thinking),
        said(Said::BlockStart(Block::Text)),
        said(Said::TextDelta("a".into())),
        said(Said::TextDelta("b".into())),
        said(Said::Text("ab".into())),
        said(Said::RequestEnd),
    ];
    assert_eq!(
        story.tell(inputs),
        "model_request_start start:e4 agent.thinking start:e5 delta:e5 delta:e5 message:e5 model_request_end"
    );
}

#[test]
fn a_call_that_must_be_asked_for_waits_and_goes_on_with_the_answer() {
    let mut story = Story::new();
    story.tell([prompt("m1")]);
    assert_eq!(
        story.tell([call("c1", "Bash"), may_i("r1", "c1", "Bash")]),
        "tool_use:e3 thread usage idle(requires e3) =Idle!"
    );
    assert_eq!(
        story.tell([answer("a1", "e3", Answer::Allow)]),
        "running thread =Running took(a1) >allow r1"
    );
    assert_eq!(story.tell([result("c1")]), "result(e3,false)");
}

#[test]
fn a_partly_answered_wait_stays_idle_with_what_is_left() {
    let mut story = Story::new();
    story.tell([
        prompt("m1"),
        call("c1", "Bash"),
        call("c2", "Bash"),
        may_i("r1", "c1", "Bash"),
        may_i("r2", "c2", "Bash"),
    ]);
    assert_eq!(
        story.tell([answer("a1", "e3", Answer::Deny("no".into()))]),
        "took(a1) thread usage idle(requires e4) =Idle! >deny r1"
    );
    assert_eq!(
        story.tell([answer("a2", "e4", Answer::Allow)]),
        "running thread =Running took(a2) >allow r2"
    );
}

#[test]
fn a_session_waits_when_the_model_has_spoken_for_all_its_calls_together() {
    let mut story = Story::new();
    let start = said(Said::RequestStart(ModelUsage::default()));
    let asks = [
        call("c1", "Bash"),
        may_i("r1", "c1", "Bash"),
        call("c2", "Bash"),
        may_i("r2", "c2", "Bash"),
    ];
    story.tell([prompt("m1"), start]);
    assert_eq!(story.tell(asks), "tool_use:e4 tool_use:e5");
    assert_eq!(
        story.tell([said(Said::RequestEnd)]),
        "model_request_end thread usage idle(requires e4,e5) =Idle!"
    );
}

#[test]
fn an_answer_may_come_before_the_question() {
    let mut story = Story::new();
    story.tell([prompt("m1"), call("c1", "mcp__custom__weather")]);
    assert_eq!(
        story.tell([answer(
            "a1",
            "e3",
            Answer::Result {
                content: vec![],
                is_error: false
            }
        )]),
        "took(a1)"
    );
    let run = Said::RunCustom {
        request_id: "r1".into(),
        rpc_id: json!(7),
        tool_use_id: "c1".into(),
        name: "mcp__custom__weather".into(),
        input: json!({}),
    };
    assert_eq!(story.tell([said(run)]), ">result r1");
}

#[test]
fn allowed_tools_run_and_unknown_ones_do_not() {
    let mut story = Story::new();
    story.tell([prompt("m1")]);
    assert_eq!(
        story.tell([call("c1", "Read"), may_i("r1", "c1", "Read")]),
        "tool_use:e3 >allow r1"
    );
    assert_eq!(story.tell([may_i("r2", "c2", "mcp__other__x")]), ">deny r2");
}

#[test]
fn an_interrupt_ends_the_turn_and_closes_open_calls() {
    let mut story = Story::new();
    story.tell([prompt("m1"), call("c1", "Read")]);
    assert_eq!(story.tell([interrupt("i1")]), "took(i1) >interrupt");
    assert_eq!(
        story.tell([interrupt("i2")]),
        "took(i2)",
        "the second asks for nothing new"
    );
    let aborted = Outcome::Failed {
        status: None,
        message: "aborted".into(),
    };
    assert_eq!(
        story.tell([said(Said::Outcome(aborted)), said(Said::Idle)]),
        "result(e3,true) thread usage idle(EndTurn) =Idle"
    );
}

#[test]
fn an_interrupt_of_a_session_that_waits_for_nothing_does_nothing() {
    let mut story = Story::new();
    assert_eq!(story.tell([interrupt("i1")]), "took(i1)");
}

#[test]
fn a_prompt_cancelled_before_claude_took_it_ends_its_turn() {
    let mut story = Story::new();
    story.tell([prompt("m1"), interrupt("i1")]);
    assert_eq!(
        story.tell([said(Said::PromptCancelled {
            uuid: "u-m1".into()
        })]),
        "thread usage idle(EndTurn) =Idle"
    );
}

#[test]
fn a_lost_claude_is_brought_back_once_and_knows_its_prompt_by_uuid() {
    let mut story = Story::new();
    story.tell([prompt("m1"), call("c1", "Read")]);
    assert_eq!(
        story.tell([lost()]),
        "result(e3,true) error(UnknownError,Retrying) rescheduled thread =Rescheduling START(true) running thread =Running >m1"
    );
    assert_eq!(
        story.tell([lost()]),
        "error(UnknownError,Exhausted) thread usage idle(RetriesExhausted) =Idle"
    );
    assert_eq!(
        story.tell([prompt("m2")]),
        "START(false) >m2 running thread =Running took(m2)"
    );
}

#[test]
fn a_prompt_that_comes_while_claude_is_replaced_is_told_to_the_next_one_unseen() {
    let mut story = Story::new();
    story.tell([prompt("m1")].into_iter().chain(done()));
    assert_eq!(story.tell([Input::Recycled]), "");
    assert_eq!(
        story.tell([prompt("m2")]),
        "START(false) >m2 running thread =Running took(m2)"
    );
    assert_eq!(story.tell([Input::Recycled]), "START(true) >m2");
    story.tell([interrupt("i1")]);
    assert_eq!(
        story.tell([Input::Recycled]),
        "thread usage idle(EndTurn) =Idle"
    );
}

#[test]
fn a_resumed_claude_that_finds_its_prompt_answered_ends_the_turn() {
    let mut story = Story::new();
    story.tell([prompt("m1"), lost()]);
    assert_eq!(
        story.tell([
            said(Said::PromptDone {
                uuid: "u-m1".into()
            }),
            said(Said::Idle)
        ]),
        "thread usage idle(EndTurn) =Idle"
    );
}

#[test]
fn a_prompt_that_claude_only_says_it_knows_is_not_answered() {
    let mut story = Story::new();
    let done = said(Said::PromptDone {
        uuid: "u-m1".into(),
    });
    story.tell([prompt("m1"), lost(), done]);
    assert_eq!(
        story.tell([lost()]),
        "error(UnknownError,Exhausted) thread usage idle(RetriesExhausted) =Idle"
    );
}

#[test]
fn claude_lost_while_idle_is_no_event() {
    let mut story = Story::new();
    story.tell([prompt("m1")].into_iter().chain(done()));
    assert_eq!(story.tell([lost()]), "");
    assert_eq!(
        story.tell([prompt("m2")]),
        "START(false) >m2 running thread =Running took(m2)"
    );
}

#[test]
fn claude_lost_after_its_result_loses_nothing() {
    let mut story = Story::new();
    story.tell([prompt("m1"), said(Said::Outcome(Outcome::Done))]);
    assert_eq!(story.tell([lost()]), "thread usage idle(EndTurn) =Idle");
}

#[test]
fn what_cannot_start_is_said_and_not_tried_for_ever() {
    let mut story = Story::new();
    story.tell([prompt("m1")]);
    assert_eq!(
        story.tell([Input::Lost {
            why: "no runtime".into(),
            again: false
        }]),
        "error(UnknownError,Exhausted) thread usage idle(RetriesExhausted) =Idle"
    );
}

#[test]
fn an_overdue_claude_is_killed() {
    let mut story = Story::new();
    story.tell([prompt("m1"), interrupt("i1")]);
    assert_eq!(
        story.tell([Input::Overdue { why: "deaf".into() }]),
        "KILL thread usage idle(EndTurn) =Idle"
    );
}

#[test]
fn failures_of_the_model_name_their_kind() {
    for (status, kind) in [
        (Some(429), "ModelRateLimitedError"),
        (Some(529), "ModelOverloadedError"),
        (Some(401), "ModelRequestFailedError"),
        (None, "ModelRequestFailedError"),
    ] {
        let mut story = Story::new();
        story.tell([prompt("m1")]);
        let failed = Outcome::Failed {
            status,
            message: "no".into(),
        };
        assert_eq!(
            story.tell([said(Said::Outcome(failed)), said(Said::Idle)]),
            format!("error({kind},Exhausted) thread usage idle(RetriesExhausted) =Idle")
        );
    }
}

#[test]
fn a_used_up_budget_is_the_reason_to_stop() {
    let mut story = Story::new();
    let why = Some("the budget of today".to_owned());
    let refused = [Input::BudgetReached(why.clone()), Input::BudgetReached(why)];
    story.tell([prompt("m1")]);
    assert_eq!(story.tell(refused), "error(BillingError,Exhausted)");
    let failed = Outcome::Failed {
        status: Some(402),
        message: "no".into(),
    };
    assert_eq!(
        story.tell([said(Said::Outcome(failed)), said(Said::Idle)]),
        "thread usage idle(BudgetReached) =Idle"
    );
}

#[test]
fn a_credential_that_fails_is_told_and_the_session_goes_on() {
    let mut story = Story::new();
    let failed = || Input::CredentialFailed {
        server: "docs".into(),
        message: "no".into(),
    };
    let told = "error(McpAuthenticationFailedError,Retrying)";
    assert_eq!(story.tell([failed()]), told);
    story.tell([prompt("m1")]);
    assert_eq!(story.tell([failed()]), told);
    let done = [said(Said::Outcome(Outcome::Done)), said(Said::Idle)];
    assert!(story.tell(done).contains("idle(EndTurn)"));
}

#[test]
fn a_budget_of_one_turn_says_nothing_about_the_next() {
    let mut story = Story::new();
    story.tell([prompt("m1"), Input::BudgetReached(None)]);
    let done = || [said(Said::Outcome(Outcome::Done)), said(Said::Idle)];
    assert!(story.tell(done()).contains("idle(BudgetReached)"));
    assert!(!story.state.finished());
    story.tell([prompt("m2")]);
    assert!(story.tell(done()).contains("idle(EndTurn)"));
    assert!(story.state.finished());
}

#[test]
fn a_limit_of_the_turn_stops_it_and_says_which() {
    let mut story = Story::new();
    story.tell([prompt("m1")]);
    let limit = || Input::TurnLimit("1 s".into());
    assert_eq!(story.tell([limit(), limit()]), ">interrupt");
    assert_eq!(
        story.tell([said(Said::Outcome(Outcome::Done)), said(Said::Idle)]),
        "error(ToolUseLimitReachedError,Exhausted) thread usage idle(RetriesExhausted) =Idle"
    );
    assert!(!story.state.finished());
    // A claude that dies of it changes nothing.
    story.tell([prompt("m2"), limit()]);
    let lost = Input::Lost {
        why: "gone".into(),
        again: true,
    };
    assert_eq!(
        story.tell([lost]),
        "error(ToolUseLimitReachedError,Exhausted) thread usage idle(RetriesExhausted) =Idle"
    );
}

#[test]
fn one_call_too_many_stops_the_turn() {
    let mut story = Story::new();
    story.state.facts.max_tool_calls = Some(1);
    story.tell([prompt("m1")]);
    assert!(!story.tell([call("c1", "Read")]).contains(">interrupt"));
    assert!(story.tell([call("c2", "Read")]).contains(">interrupt"));
}

#[test]
fn a_task_that_is_done_ends_its_session() {
    let mut story = Story::new();
    story.tell([
        prompt("m1"),
        said(Said::Outcome(Outcome::Done)),
        said(Said::Idle),
    ]);
    let end = story.tell([Input::Done]);
    assert!(end.starts_with("KILL") && end.ends_with("done"), "{end}");
    assert_eq!(story.state.status(), Status::Terminated);
}

#[test]
fn a_session_cut_by_the_end_of_its_server_goes_on() {
    let mut story = Story::new();
    let prompt = Prompt {
        event_id: "m1".into(),
        uuid: "u-m1".into(),
        content: json!("m1"),
    };
    let facts = story.state.facts.clone();
    story.state = State::cut(
        facts,
        Some(prompt),
        vec![("e9".into(), Tool::BuiltIn("bash".into()))],
        Some("e8".into()),
    );
    assert_eq!(
        story.tell([lost()]),
        "model_request_end result(e9,true) error(UnknownError,Retrying) rescheduled thread =Rescheduling START(true) running thread =Running >m1"
    );
}

#[test]
fn an_archived_session_says_so_last_and_hears_nothing_more() {
    let mut story = Story::new();
    story.tell([prompt("m1")].into_iter().chain(done()));
    assert_eq!(
        story.tell([Input::Archive]),
        "KILL session.thread_status_terminated terminated =Terminated"
    );
    assert_eq!(story.tell([prompt("m2"), lost(), Input::Archive]), "");
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn any_input() -> impl Strategy<Value = Input> {
        let id = "[a-c]";
        prop_oneof![
            id.prop_map(|id| prompt(&id)),
            id.prop_map(|id| interrupt(&id)),
            (id, "e[1-9]").prop_map(|(id, target)| answer(&id, &target, Answer::Allow)),
            id.prop_map(|id| call(&id, "Bash")),
            id.prop_map(|id| may_i(&format!("r{id}"), &id, "Bash")),
            id.prop_map(|id| result(&id)),
            Just(said(Said::Working)),
            Just(said(Said::Idle)),
            Just(said(Said::Outcome(Outcome::Done))),
            Just(said(Said::RequestStart(ModelUsage::default()))),
            Just(said(Said::BlockStart(Block::Text))),
            Just(said(Said::TextDelta("x".into()))),
            Just(said(Said::Text("x".into()))),
            Just(said(Said::RequestEnd)),
            Just(lost()),
            Just(Input::Overdue { why: "late".into() }),
        ]
    }

    proptest! {
        /// Whatever comes in whatever order: usage stands right before every idle, every request span
        /// that starts ends before the session is idle for good, no call gets two results, and a
        /// prompt is taken exactly once.
        #[test]
        fn the_log_is_well_formed(inputs in prop::collection::vec(any_input(), 0..60)) {
            let mut story = Story::new();
            let mut log = Vec::new();
            for (n, input) in inputs.into_iter().enumerate() {
                let input = match input {
                    Input::Asked(Asked::Prompt(_)) => prompt(&format!("m{n}")),
                    other => other,
                };
                for effect in step(&mut story.state, input, &mut story.ids) {
                    if let Effect::Log(entry) = effect { log.push(entry) }
                }
            }
            let mut open = 0;
            let mut took = std::collections::HashSet::new();
            let mut results = std::collections::HashSet::new();
            for (at, entry) in log.iter().enumerate() {
                match entry {
                    Entry::Processed(id) if id.starts_with('m') => prop_assert!(took.insert(id.clone())),
                    Entry::Event { body: Body::SessionStatusIdle { stop_reason, .. }, .. } => {
                        prop_assert_eq!(&log[at - 1], &Entry::Usage);
                        let waits = matches!(stop_reason, StopReason::RequiresAction { .. });
                        prop_assert!(open == 0 || waits);
                    }
                    Entry::Event { body: Body::ModelRequestStart {}, .. } => open += 1,
                    Entry::Event { body: Body::ModelRequestEnd { .. }, .. } => open -= 1,
                    Entry::Event { body: Body::AgentToolResult { tool_use_id, .. }, .. } => {
                        prop_assert!(results.insert(tool_use_id.clone()));
                    }
                    _ => {}
                }
            }
        }
    }
}
