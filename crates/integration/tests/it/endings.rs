//! Archive and delete at every moment: done or refused as the contract says, and nothing is left of
//! what was.

use std::sync::Arc;

use integration::{Agent, Sandbox, Session, World, until};
use serde_json::json;

/// The session's sandbox is gone with all in it.
async fn gone(world: &World) {
    until("the end of the sandbox", || {
        let directory = std::fs::read_dir(world.data.join("sandboxes")).unwrap();
        (directory.count() == 0).then_some(())
    })
    .await;
}

async fn archived(world: &World, session: &Session) {
    let shown = session.archive().await.ok();
    assert_eq!(shown["status"], "terminated");
    assert!(shown["archived_at"].is_string());
    session.event("session.status_terminated").await;
    gone(world).await;
    let message = session.message("@say never");
    let late = session.send(&json!([message])).await;
    late.refused(
        400,
        "invalid_request_error",
        "the session is terminated and takes no more events",
    );
    assert_eq!(
        session.archive().await.ok()["archived_at"],
        shown["archived_at"],
        "again is the same"
    );
}

async fn deleted(world: &World, session: &Session) {
    let answer = session.delete().await.ok();
    assert_eq!(answer, json!({"id": session.id, "type": "session_deleted"}));
    gone(world).await;
    let message = session.message("@say never");
    session
        .send(&json!([message]))
        .await
        .refused(404, "not_found_error", &session.id);
    world
        .client
        .get(&session.path(""))
        .await
        .refused(404, "not_found_error", &session.id);
    world
        .client
        .get(&session.path("/events"))
        .await
        .refused(404, "not_found_error", &session.id);
    world
        .client
        .get(&session.path("/events/stream"))
        .await
        .refused(404, "not_found_error", &session.id);
    session
        .delete()
        .await
        .refused(404, "not_found_error", &session.id);
}

async fn neither_while_it_runs(session: &Session) {
    for answer in [session.archive().await, session.delete().await] {
        answer.refused(400, "invalid_request_error", "interrupt");
    }
}

async fn asking(world: &World) -> Arc<Session> {
    let session = world.session(&Agent::asking()).await;
    let turn = session
        .turn("@tool Bash {\"command\":\"echo ran\"}\n@say after")
        .await;
    assert_eq!(turn.stop_reason(), "requires_action");
    session
}

#[tokio::test]
async fn a_session_ends_before_its_first_message() {
    let Some(world) = World::new().await else {
        return;
    };
    archived(&world, &*world.session(&Agent::free()).await).await;
    deleted(&world, &*world.session(&Agent::free()).await).await;
    world.end().await;
}

#[tokio::test]
async fn a_session_ends_while_it_is_idle() {
    let Some(world) = World::new().await else {
        return;
    };
    for delete in [false, true] {
        let session = world.session(&Agent::free()).await;
        session.turn("@say hello").await.answered("hello");
        assert_eq!(Sandbox::all(&world.data).len(), 1);
        match delete {
            false => archived(&world, &session).await,
            true => deleted(&world, &session).await,
        }
    }
    world.end().await;
}

#[tokio::test]
async fn a_session_ends_while_it_asks() {
    let Some(world) = World::new().await else {
        return;
    };
    archived(&world, &*asking(&world).await).await;
    deleted(&world, &*asking(&world).await).await;
    world.end().await;
}

#[tokio::test]
async fn a_session_that_runs_is_neither_archived_nor_deleted() {
    let Some(world) = World::new().await else {
        return;
    };
    let session = world.session(&Agent::free()).await;
    session
        .say("@tool Bash {\"command\":\"sleep 300\"}\n@say after")
        .await;
    // While claude starts, while a tool runs, and after that it works.
    session.event("session.status_running").await;
    neither_while_it_runs(&session).await;
    world.sandbox().await.running("sleep 300").await;
    neither_while_it_runs(&session).await;
    session.interrupt().await;
    let turn = session.idle().await;
    assert_eq!(turn.stop_reason(), "end_turn");
    assert_eq!(turn.only("agent.tool_result")["is_error"], true);
    session.turn("@say still here").await.answered("still here");
    archived(&world, &session).await;
    deleted(&world, &session).await;
    world.end().await;
}

#[tokio::test]
async fn an_archived_session_stays_archived_after_a_crash_and_can_be_deleted() {
    let Some(mut world) = World::new().await else {
        return;
    };
    let session = asking(&world).await;
    archived(&world, &session).await;
    world.crash().await;
    world.restart().await;
    assert_eq!(session.show().await["status"], "terminated");
    deleted(&world, &session).await;
    world.end().await;
}
