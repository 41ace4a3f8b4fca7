//! Frozen when idle, saved when idle for longer, back with the next message.

use integration::{Agent, Events, Session, World, leftovers, until};
use serde_json::json;

use super::{answers, bash, frozen, restless, shell};

/// Makes files of each kind that a snapshot keeps.
const MAKE: &str = "mkdir -p a/b empty && echo content > a/b/file && chmod 640 a/b/file \
    && touch -d 2020-01-02T03:04:05Z a/b/file && ln -s b/file a/link \
    && printf '#!/bin/sh\\necho it ran' > tool && chmod 755 tool \
    && echo home > ~/note && echo result > /mnt/session/outputs/result";
/// Shows them.
const SHOW: &str = "pwd && cat a/link && readlink a/link && stat -c '%n %a %Y' a/b/file \
    && stat -c '%n %a' empty tool && ./tool && cat ~/note /mnt/session/outputs/result";

/// What happens between two messages.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Between {
    /// The session is saved.
    Saved,
    /// That, and the server is killed.
    SavedAndKilled,
    /// That, and the server is stopped.
    SavedAndStopped,
    /// The server is killed while the session is frozen.
    FrozenAndKilled,
    /// The server is stopped before the session has rested.
    Stopped,
}

async fn files_are_back(between: Between) {
    let setup = match between {
        Between::Stopped => restless().set("sandbox.freeze_after_ms", 3_600_000),
        _ => restless(),
    };
    let Some(mut world) = setup.start().await else {
        return;
    };
    let saves = !matches!(between, Between::FrozenAndKilled | Between::Stopped);
    let idle_timeout = if saves { json!(0.4) } else { json!(3600) };
    let hosting = json!({"idle_timeout": idle_timeout});
    let environment = world.environment(&hosting).await;
    let agent = world.agent(&Agent::free()).await;
    let session = world.hosted(&agent, &environment).await;
    session.turn("@say noted").await.answered("noted");
    shell(&session, MAKE).await;
    if between == Between::FrozenAndKilled {
        // What the next turn changes is not saved yet when the server is killed; this is.
        frozen(world.sandbox().await.claude().await).await;
    }
    let before = shell(&session, SHOW).await;
    assert!(
        before.contains("content") && before.contains("it ran"),
        "{before}"
    );
    pass(between, &mut world).await;
    let after = shell(&session, SHOW).await;
    assert_eq!(before, after, "{between:?}");
    world.remembered(&session);
    assert!(answers(&world).contains(&"noted".to_owned()));
    world.end().await;
}

/// Lets it happen.
async fn pass(between: Between, world: &mut World) {
    let sandbox = world.sandbox().await;
    let claude = sandbox.claude().await;
    match between {
        Between::Saved | Between::SavedAndKilled | Between::SavedAndStopped => {
            let groups = leftovers::groups(&world.data);
            let groups = groups.iter().map(|group| group.join(&sandbox.id));
            let groups: Vec<_> = groups.filter(|group| group.exists()).collect();
            assert!(!groups.is_empty());
            world.gone(&sandbox, &[claude]).await;
            let left = || groups.iter().any(|group| group.exists());
            until("the end of its control groups", || (!left()).then_some(())).await;
        }
        Between::FrozenAndKilled => frozen(claude).await,
        Between::Stopped => {}
    }
    match between {
        Between::Saved => return,
        Between::SavedAndKilled | Between::FrozenAndKilled => world.crash().await,
        Between::SavedAndStopped | Between::Stopped => world.stop().await,
    }
    world.restart().await;
    // A guest that is frozen does not see its server end; the next one removes it.
    world.gone(&sandbox, &[claude]).await;
}

#[tokio::test]
async fn an_idle_session_is_frozen_and_the_next_message_is_answered_by_the_same_claude() {
    let Some(world) = restless().start().await else {
        return;
    };
    let session = world.session(&Agent::free()).await;
    session.turn("@say first").await.answered("first");
    let sandbox = world.sandbox().await;
    let claude = sandbox.claude().await;
    for answer in ["second", "third"] {
        frozen(claude).await;
        session
            .turn(&format!("@say {answer}"))
            .await
            .answered(answer);
        assert!(claude.lives());
    }
    frozen(claude).await;
    session.archive().await.ok();
    world.gone(&sandbox, &[claude]).await;
    world.end().await;
}

#[tokio::test]
async fn a_session_that_was_saved_has_its_files_and_its_conversation() {
    files_are_back(Between::Saved).await;
}

#[tokio::test]
async fn a_saved_session_survives_a_killed_server() {
    files_are_back(Between::SavedAndKilled).await;
}

#[tokio::test]
async fn a_saved_session_survives_a_stopped_server() {
    files_are_back(Between::SavedAndStopped).await;
}

#[tokio::test]
async fn a_frozen_session_whose_server_is_killed_has_what_was_saved_when_it_rested() {
    files_are_back(Between::FrozenAndKilled).await;
}

#[tokio::test]
async fn a_server_that_stops_keeps_the_files_of_live_sessions() {
    files_are_back(Between::Stopped).await;
}

#[tokio::test]
async fn a_turn_that_a_stop_cuts_goes_on_with_its_files() {
    let Some(mut world) = restless().start().await else {
        return;
    };
    let session = world.session(&Agent::free()).await;
    let once = "if test -e been; then echo here again; else touch been; sleep 300.5; fi";
    session.say(&format!("{}\n@say done", bash(once))).await;
    world.sandbox().await.running("sleep 300.5").await;
    world.stop().await;
    world.restart().await;
    let turn = session.idle().await;
    turn.told(
        "unknown_error",
        "the server was restarted in the middle",
        "retrying",
    );
    assert_eq!(turn.texts(), ["done"]);
    assert_eq!(result(&turn), "here again");
    session.turn("@say fine").await.answered("fine");
    world.remembered(&session);
    world.end().await;
}

/// What the last tool said.
fn result(turn: &Events) -> String {
    let result = turn.of("agent.tool_result").pop().unwrap();
    result["content"][0]["text"].as_str().unwrap().to_owned()
}

/// Many messages one after the other, whatever the ladder does in between.
#[tokio::test]
async fn messages_that_come_while_a_session_goes_down_are_answered_once() {
    let Some(world) = restless().start().await else {
        return;
    };
    let environment = world.environment(&json!({"idle_timeout": 0.2})).await;
    let agent = world.agent(&Agent::free()).await;
    let session = world.hosted(&agent, &environment).await;
    // Around the moments at which it is frozen, saved, and gone.
    for pause in [0, 40, 60, 180, 200, 220, 260, 300] {
        let answer = format!("after {pause}");
        said(&session, &answer).await;
        tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
    }
    world.remembered(&session);
    world.end().await;
}

async fn said(session: &Session, answer: &str) {
    session
        .turn(&format!("@say {answer}"))
        .await
        .answered(answer);
}

#[tokio::test]
async fn files_that_cannot_be_brought_back_are_not_gone_on_without() {
    let Some(world) = restless().start().await else {
        return;
    };
    let environment = world.environment(&json!({"idle_timeout": 0.4})).await;
    let agent = world.agent(&Agent::free()).await;
    let session = world.hosted(&agent, &environment).await;
    shell(&session, "echo precious > file").await;
    let sandbox = world.sandbox().await;
    world.gone(&sandbox, &[]).await;
    let line = world.data.join("snapshots").join(&session.id);
    let away = world.data.join("away");
    std::fs::rename(&line, &away).unwrap();
    let turn = session.turn("@say without").await;
    let why = "cannot bring the files back";
    turn.told("unknown_error", why, "retrying");
    turn.told("unknown_error", why, "exhausted");
    assert!(!turn.kinds().contains(&"agent.message"));
    // Nothing was saved in its place.
    assert!(!line.exists());
    std::fs::rename(&away, &line).unwrap();
    assert_eq!(shell(&session, "cat file").await, "precious");
    session.archive().await.ok();
    world.end().await;
}
