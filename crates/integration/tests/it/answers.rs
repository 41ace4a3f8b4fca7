//! Calls that wait for the client while the server comes and goes: they are asked again, answered
//! once, and never lost.

use integration::{Agent, World};
use serde_json::json;

#[tokio::test]
async fn a_custom_tool_waits_for_its_result_through_a_stop_of_the_server() {
    let Some(mut world) = World::new().await else {
        return;
    };
    let session = world.session(&Agent::with_custom_tool("lookup")).await;
    session
        .say("@tool mcp__custom__lookup {}\n@say got {{result}}")
        .await;
    let lost = session.event("agent.custom_tool_use").await;
    assert_eq!(lost["name"], "lookup");
    assert_eq!(session.idle().await.stop_reason(), "requires_action");
    world.stop().await;
    world.restart().await;
    let again = session.idle().await;
    assert_eq!(again.stop_reason(), "requires_action", "{again:#?}");
    let call = again.only("agent.custom_tool_use");
    session.result(&lost, "late").await.refused(
        400,
        "invalid_request_error",
        "is unknown or has been answered",
    );
    session.result(&call, "42").await.ok();
    session.idle().await.answered("got 42");
    let twice = session.result(&call, "43").await;
    twice.refused(
        400,
        "invalid_request_error",
        "is unknown or has been answered",
    );
    world.remembered(&session);
    world.end().await;
}

#[tokio::test]
async fn a_confirmation_waits_through_a_stop_of_the_server() {
    let Some(mut world) = World::new().await else {
        return;
    };
    let session = world.session(&Agent::asking()).await;
    session
        .say("@tool Bash {\"command\":\"echo ran\"}\n@say after")
        .await;
    assert_eq!(session.idle().await.stop_reason(), "requires_action");
    world.stop().await;
    world.restart().await;
    let again = session.idle().await;
    assert_eq!(again.stop_reason(), "requires_action", "{again:#?}");
    let call = again.only("agent.tool_use");
    let answer = json!({
        "type": "user.tool_confirmation", "tool_use_id": call["id"], "result": "deny",
        "deny_message": "not today"
    });
    session.send(&json!([answer])).await.ok();
    let turn = session.idle().await;
    turn.answered("after");
    let result = turn.only("agent.tool_result");
    assert_eq!(
        (&result["is_error"], &result["content"][0]["text"]),
        (
            &json!(true),
            &json!("The user rejected this tool call: not today")
        )
    );
    world.end().await;
}

#[tokio::test]
async fn a_result_that_was_acknowledged_before_a_crash_is_not_asked_for_as_if_it_never_came() {
    let Some(mut world) = World::new().await else {
        return;
    };
    let session = world.session(&Agent::with_custom_tool("lookup")).await;
    session.say("@tool mcp__custom__lookup {}\n@slow 200\n@say got {{result}}, and that took a while to say").await;
    let call = session.event("agent.custom_tool_use").await;
    session.idle().await;
    session.result(&call, "42").await.ok();
    session.event("event_delta").await;
    world.crash().await;
    world.restart().await;
    let turn = session.idle().await;
    // The turn may have to ask again, under a new id, or go on with the result that it has.
    let turn = match turn.stop_reason().as_str() {
        "requires_action" => {
            let call = turn.of("agent.custom_tool_use").pop().unwrap();
            session.result(&call, "42").await.ok();
            session.idle().await
        }
        _ => turn,
    };
    assert_eq!(
        turn.texts().last().unwrap(),
        "got 42, and that took a while to say"
    );
    assert_eq!(turn.stop_reason(), "end_turn");
    world.remembered(&session);
    world.end().await;
}

#[tokio::test]
async fn messages_that_wait_behind_a_question_come_after_its_turn_also_after_a_crash() {
    let Some(mut world) = World::new().await else {
        return;
    };
    let session = world.session(&Agent::asking()).await;
    session
        .say("@tool Bash {\"command\":\"echo ran\"}\n@say one")
        .await;
    assert_eq!(session.idle().await.stop_reason(), "requires_action");
    session.say("@say two").await;
    world.crash().await;
    world.restart().await;
    let again = session.idle().await;
    session.allow(&again.only("agent.tool_use")).await.ok();
    let turn = session.idle().await;
    assert_eq!(
        (turn.texts(), turn.stop_reason().as_str()),
        (vec!["one".to_owned(), "two".to_owned()], "end_turn")
    );
    world.remembered(&session);
    world.end().await;
}
