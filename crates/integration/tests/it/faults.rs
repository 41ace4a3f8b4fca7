//! kill -9 of everything that can be killed, at every moment: nothing acknowledged is lost, nothing
//! is said twice, the session goes on, and nothing is left.

use std::sync::Arc;
use std::time::Duration;

use integration::chance::Chance;
use integration::{Agent, Events, Session, World};
use serde_json::Value;

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Victim {
    Claude,
    Guest,
    Server,
}

const ALL: [Victim; 3] = [Victim::Claude, Victim::Guest, Victim::Server];

impl Victim {
    async fn kill(self, world: &mut World) {
        world.note();
        match self {
            Victim::Claude => world.sandbox().await.claude().await.kill_and_wait().await,
            Victim::Guest => world.sandbox().await.guest.kill_and_wait().await,
            Victim::Server => {
                world.crash().await;
                world.deserted().await;
                world.restart().await;
            }
        }
    }

    /// What the session's events say of it.
    fn told(self, early: bool) -> &'static str {
        match self {
            Victim::Claude => "claude was killed by signal 9",
            Victim::Guest if early => "the link to the guest ended",
            Victim::Guest => "the sandbox ended",
            Victim::Server => "the server was restarted in the middle of the turn",
        }
    }
}

/// A session with one turn behind it, so that there is something to remember.
async fn began(world: &World, agent: &Agent) -> Arc<Session> {
    let session = world.session(agent).await;
    session.turn("@say first").await.answered("first");
    session
}

/// The turn was begun again once, said so, and ended as it should.
#[track_caller]
fn went_on(turn: &Events, why: &str, text: &str) {
    let kinds = turn.kinds();
    turn.told("unknown_error", why, "retrying");
    turn.told(
        "unknown_error",
        "; the turn is begun again from its transcript",
        "retrying",
    );
    assert_eq!(turn.errors().len(), 1, "{:?}", turn.errors());
    let at = |kind: &str| kinds.iter().rposition(|of| *of == kind).unwrap();
    assert_eq!(at("session.status_rescheduled"), at("session.error") + 1);
    assert_eq!(
        at("session.status_running"),
        at("session.status_rescheduled") + 1
    );
    assert_eq!(turn.texts().last().unwrap(), text, "{kinds:?}");
    assert_eq!(turn.stop_reason(), "end_turn");
    assert_eq!(
        kinds.iter().filter(|kind| **kind == "user.message").count(),
        1
    );
}

/// The next message works, and the conversation knows what was said before.
async fn ends_well(world: World, session: &Session) {
    session.turn("@say and on").await.answered("and on");
    world.remembered(session);
    world.end().await;
}

async fn killed_before_it_is_ready(victim: Victim) {
    let Some(mut world) = World::new().await else {
        return;
    };
    let session = world.session(&Agent::free()).await;
    session.say("@say first").await;
    session.event("session.status_running").await;
    victim.kill(&mut world).await;
    let turn = session.idle().await;
    // The guest may have lived long enough to be reached, or to be asked for something.
    let early = turn.errors()[0].1.contains("cannot ");
    went_on(&turn, victim.told(early), "first");
    ends_well(world, &session).await;
}

async fn killed_while_streaming(victim: Victim) {
    let Some(mut world) = World::new().await else {
        return;
    };
    let session = began(&world, &Agent::free()).await;
    session.say("@slow 40\n@repeat 60 word").await;
    session.event("event_delta").await;
    victim.kill(&mut world).await;
    let turn = session.idle().await;
    went_on(&turn, victim.told(false), &["word"; 60].join(" "));
    assert_eq!(turn.texts().len(), 1, "half a message is not in the log");
    ends_well(world, &session).await;
}

async fn killed_in_a_tool(victim: Victim) {
    let Some(mut world) = World::new().await else {
        return;
    };
    let session = began(&world, &Agent::free()).await;
    session
        .say("@say wait\n@tool Bash {\"command\":\"sleep 2.5\"}\n@say slept")
        .await;
    world.sandbox().await.running("sleep 2.5").await;
    victim.kill(&mut world).await;
    let turn = session.idle().await;
    went_on(&turn, victim.told(false), "slept");
    closed(&turn);
    ends_well(world, &session).await;
}

/// Every call has exactly one result.
#[track_caller]
fn closed(turn: &Events) {
    let calls: Vec<Value> = turn
        .of("agent.tool_use")
        .iter()
        .map(|call| call["id"].clone())
        .collect();
    let results = turn.of("agent.tool_result");
    let of: Vec<Value> = results
        .iter()
        .map(|result| result["tool_use_id"].clone())
        .collect();
    assert_eq!(calls, of);
    assert!(
        results[0]["content"][0]["text"]
            .as_str()
            .unwrap()
            .contains("result was lost")
    );
}

async fn killed_while_it_asks(victim: Victim) {
    let Some(mut world) = World::new().await else {
        return;
    };
    let session = began(&world, &Agent::asking()).await;
    session
        .say("@tool Bash {\"command\":\"echo done\"}\n@say after")
        .await;
    let lost = session.event("agent.tool_use").await;
    assert_eq!(session.idle().await.stop_reason(), "requires_action");
    victim.kill(&mut world).await;
    let again = session.idle().await;
    again.told("unknown_error", victim.told(false), "retrying");
    assert_eq!(again.stop_reason(), "requires_action");
    let asked = again.only("agent.tool_use");
    let idle = again.only("session.status_idle");
    assert_eq!(
        idle["stop_reason"]["event_ids"],
        serde_json::json!([asked["id"]])
    );
    assert_eq!(again.only("agent.tool_result")["tool_use_id"], lost["id"]);
    let late = session.allow(&lost).await;
    late.refused(
        400,
        "invalid_request_error",
        "is unknown or has been answered",
    );
    session.allow(&asked).await.ok();
    let turn = session.idle().await;
    turn.answered("after");
    assert!(
        turn.only("agent.tool_result")["content"][0]["text"]
            .as_str()
            .unwrap()
            .contains("done")
    );
    ends_well(world, &session).await;
}

async fn killed_while_idle(victim: Victim) {
    let Some(mut world) = World::new().await else {
        return;
    };
    let session = began(&world, &Agent::free()).await;
    victim.kill(&mut world).await;
    // The server may hear of it only after the next message has begun; then it says so.
    let turn = session.turn("@say next").await;
    assert_eq!(
        (turn.texts(), turn.stop_reason().as_str()),
        (vec!["next".to_owned()], "end_turn")
    );
    assert!(
        turn.errors().iter().all(|(.., next)| next == "retrying"),
        "{:?}",
        turn.errors()
    );
    ends_well(world, &session).await;
}

#[tokio::test]
async fn a_claude_killed_before_it_is_ready_is_started_again() {
    killed_before_it_is_ready(Victim::Claude).await;
}

#[tokio::test]
async fn a_claude_killed_while_streaming_says_it_again() {
    killed_while_streaming(Victim::Claude).await;
}

#[tokio::test]
async fn a_claude_killed_in_a_tool_calls_it_again() {
    killed_in_a_tool(Victim::Claude).await;
}

#[tokio::test]
async fn a_claude_killed_while_it_asks_asks_again() {
    killed_while_it_asks(Victim::Claude).await;
}

#[tokio::test]
async fn a_claude_killed_while_idle_is_not_missed() {
    killed_while_idle(Victim::Claude).await;
}

#[tokio::test]
async fn a_sandbox_killed_before_it_is_ready_is_made_again() {
    killed_before_it_is_ready(Victim::Guest).await;
}

#[tokio::test]
async fn a_sandbox_killed_while_streaming_is_made_again() {
    killed_while_streaming(Victim::Guest).await;
}

#[tokio::test]
async fn a_sandbox_killed_in_a_tool_is_made_again() {
    killed_in_a_tool(Victim::Guest).await;
}

#[tokio::test]
async fn a_sandbox_killed_while_it_asks_is_made_again_and_asks_again() {
    killed_while_it_asks(Victim::Guest).await;
}

#[tokio::test]
async fn a_sandbox_killed_while_idle_is_made_again_for_the_next_message() {
    killed_while_idle(Victim::Guest).await;
}

#[tokio::test]
async fn a_server_killed_before_the_sandbox_is_ready_goes_on() {
    killed_before_it_is_ready(Victim::Server).await;
}

#[tokio::test]
async fn a_server_killed_while_streaming_goes_on() {
    killed_while_streaming(Victim::Server).await;
}

#[tokio::test]
async fn a_server_killed_in_a_tool_goes_on() {
    killed_in_a_tool(Victim::Server).await;
}

#[tokio::test]
async fn a_server_killed_while_it_asks_asks_again() {
    killed_while_it_asks(Victim::Server).await;
}

#[tokio::test]
async fn a_server_killed_while_idle_remembers() {
    killed_while_idle(Victim::Server).await;
}

#[tokio::test]
async fn a_killed_tool_is_a_failed_tool() {
    let Some(world) = World::new().await else {
        return;
    };
    let session = began(&world, &Agent::free()).await;
    session
        .say("@tool Bash {\"command\":\"sleep 300\"}\n@say after")
        .await;
    world.sandbox().await.running("sleep 300").await.kill();
    let turn = session.idle().await;
    turn.answered("after");
    assert_eq!(turn.only("agent.tool_result")["is_error"], true);
    ends_well(world, &session).await;
}

#[tokio::test]
async fn a_turn_that_is_lost_twice_ends_and_the_next_message_works() {
    let Some(mut world) = World::new().await else {
        return;
    };
    let session = began(&world, &Agent::free()).await;
    session.say("@slow 40\n@repeat 100 word").await;
    session.event("event_delta").await;
    Victim::Claude.kill(&mut world).await;
    session.event("session.status_rescheduled").await;
    Victim::Claude.kill(&mut world).await;
    let turn = session.idle().await;
    turn.told("unknown_error", Victim::Claude.told(false), "retrying");
    turn.told("unknown_error", Victim::Claude.told(false), "exhausted");
    assert_eq!(turn.stop_reason(), "retries_exhausted");
    // Lost before claude wrote it down, the message is in the log only.
    session.turn("@say and on").await.answered("and on");
    world.end().await;
}

#[tokio::test]
async fn whatever_is_killed_whenever_the_session_goes_on() {
    let Some(mut world) = World::new().await else {
        return;
    };
    let mut chance = Chance::new();
    let session = began(&world, &Agent::free()).await;
    for round in 0..6 {
        session.say("@slow 15\n@repeat 40 word\n@next\n@tool Bash {\"command\":\"sleep 0.2\"}\n@say end").await;
        let (victim, moment) = (chance.one_of(&ALL), chance.below(1500));
        println!("round {round}: {victim:?} after {moment} ms");
        tokio::time::sleep(Duration::from_millis(moment)).await;
        victim.kill(&mut world).await;
        let turn = session.idle().await;
        assert_eq!(turn.stop_reason(), "end_turn", "{:?}", turn.errors());
        assert!(turn.errors().iter().all(|(.., next)| next == "retrying"));
        let turn = session.turn("@say fine").await;
        assert_eq!(turn.texts().last().unwrap(), "fine");
        assert_eq!(turn.stop_reason(), "end_turn", "{:?}", turn.errors());
        world.remembered(&session);
    }
    world.end().await;
}
