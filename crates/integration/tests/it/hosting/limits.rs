//! What a turn and a session may use: who hits a limit hears which one, and the session goes on.

use integration::{Agent, Events};
use serde_json::{Value, json};

use super::{bash, restless};

/// A session whose first turn runs into a limit; that turn, and what a small one says afterwards.
async fn hits(limits: Value, script: &str) -> Option<(Events, Events)> {
    let world = restless().start().await?;
    let environment = world.environment(&json!({"limits": limits})).await;
    let agent = world.agent(&Agent::free()).await;
    let session = world.hosted(&agent, &environment).await;
    session.turn("@say first").await.answered("first");
    let turn = session.turn(script).await;
    let next = session.turn("@say fine").await;
    world.end().await;
    Some((turn, next))
}

fn call(number: u32) -> String {
    bash(&format!("echo {number}"))
}

fn told(turn: &Events, limit: &str) {
    turn.told("tool_use_limit_reached_error", limit, "exhausted");
    assert_eq!(turn.errors().len(), 1, "{:?}", turn.errors());
    assert_eq!(turn.stop_reason(), "retries_exhausted");
}

#[tokio::test]
async fn a_turn_that_takes_too_long_ends_and_names_the_limit() {
    let script = format!("{}\n@say never", bash("sleep 300"));
    let Some((turn, next)) = hits(json!({"max_turn_seconds": 4}), &script).await else {
        return;
    };
    told(&turn, "limit of 4 s (max_turn_seconds)");
    assert_eq!(turn.only("agent.tool_result")["is_error"], true);
    assert_eq!(turn.texts(), Vec::<String>::new());
    next.answered("fine");
}

#[tokio::test]
async fn a_turn_with_too_many_calls_ends_and_names_the_limit() {
    let script = format!("{}\n{}\n{}\n@say never", call(1), call(2), call(3));
    let limits = json!({"max_tool_calls": 2});
    let Some((turn, next)) = hits(limits.clone(), &script).await else {
        return;
    };
    told(&turn, "limit of 2 tool calls (max_tool_calls)");
    assert!(!turn.texts().contains(&"never".to_owned()));
    next.answered("fine");
    let script = format!(
        "{}\n@next\n{}\n@next\n{}\n@say never",
        call(1),
        call(2),
        call(3)
    );
    let Some((turn, next)) = hits(limits, &script).await else {
        return;
    };
    told(&turn, "limit of 2 tool calls (max_tool_calls)");
    next.answered("fine");
}

#[tokio::test]
async fn a_turn_with_too_many_rounds_ends_and_names_the_limit() {
    let script = format!(
        "{}\n@next\n{}\n@next\n{}\n@say never",
        call(1),
        call(2),
        call(3)
    );
    let Some((turn, next)) = hits(json!({"max_turns": 2}), &script).await else {
        return;
    };
    told(&turn, "2");
    assert!(
        turn.errors()[0].1.contains("max_turns"),
        "{:?}",
        turn.errors()
    );
    next.answered("fine");
}

#[tokio::test]
async fn a_session_that_costs_too_much_stops_and_names_the_limit() {
    let Some(world) = restless().start().await else {
        return;
    };
    let cost = json!({"amount": "1", "currency": "USD"});
    let environment = world
        .environment(&json!({"limits": {"max_cost": cost}}))
        .await;
    let agent = world.agent(&Agent::free()).await;
    let session = world.hosted(&agent, &environment).await;
    // More than a cent, and cheaper than what may still be spent until then.
    session.turn("@say much").await;
    // Once the money is gone no call is answered, and each turn says why.
    for _ in 0..2 {
        let turn = session.turn("@say much").await;
        assert_eq!(turn.stop_reason(), "budget_reached", "{:?}", turn.errors());
        turn.told("billing_error", "limits.max_cost", "exhausted");
    }
    assert_eq!(session.show().await["status"], "idle");
    world.end().await;
}
