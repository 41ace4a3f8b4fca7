//! A new session from a point in another's log.

use serde_json::{Value, json};
use store::{NewSnapshot, Status, Write};

use crate::world::World;

const WS: &str = store::DEFAULT_WORKSPACE;

/// A session with two turns in its log, of which the second is cut; the ids of its events.
async fn origin(world: &World) -> (String, Vec<String>) {
    let session = world.session().await;
    let idle = json!({"type": "session.status_idle", "stop_reason": {"type": "end_turn"}, "stop_details": null});
    let bodies = [
        json!({"type": "session.status_running"}),
        json!({"type": "user.message", "content": [{"type": "text", "text": "hi"}]}),
        idle,
        json!({"type": "session.status_running"}),
        json!({"type": "agent.tool_use", "name": "bash", "input": {}}),
        json!({"type": "agent.message", "content": []}),
    ];
    let ids: Vec<String> = (1..=bodies.len())
        .map(|number| format!("sevt_{session}_{number}"))
        .collect();
    let bodies: Vec<Value> = bodies
        .into_iter()
        .zip(&ids)
        .map(|(mut body, id)| {
            body["id"] = json!(id);
            body
        })
        .collect();
    world.append(&session, &bodies).await;
    (session, ids)
}

async fn kinds(world: &World, session: &str) -> Vec<String> {
    let path = format!("/v1/sessions/{session}/events?order=asc");
    let page = world.get(&path).await.ok();
    let events = page["data"].as_array().unwrap().clone();
    let kind = |event: &Value| event["type"].as_str().unwrap().to_owned();
    events.iter().map(kind).collect()
}

#[tokio::test]
async fn a_fork_is_a_session_of_its_own_with_the_log_up_to_the_point() {
    let world = World::new().await;
    let (session, ids) = origin(&world).await;
    let path = format!("/v1/sessions/{session}");
    let update = json!({"title": "t", "metadata": {"k": "v"}});
    world.post(&path, update).await.ok();
    let request = json!({"event_id": ids[2]});
    let forked = world.post(&format!("{path}/fork"), request).await.ok();
    let id = forked["id"].as_str().unwrap();
    assert_ne!(id, session);
    assert_eq!(world.get(&format!("/v1/sessions/{id}")).await.ok(), forked);
    let origin = world.get(&path).await.ok();
    for key in ["agent", "environment_id", "title", "metadata", "budget"] {
        assert_eq!(forked[key], origin[key], "{key}");
    }
    assert_eq!(forked["status"], "idle");
    assert_eq!(
        kinds(&world, id).await,
        [
            "session.status_running",
            "user.message",
            "session.status_idle"
        ]
    );
    let events = world.get(&format!("/v1/sessions/{id}/events")).await.ok();
    for event in events["data"].as_array().unwrap() {
        let event = event["id"].as_str().unwrap();
        assert!(event.starts_with("sevt_01") && !ids.contains(&event.to_owned()));
    }
    // The origin can go, the fork stays.
    world.delete(&path).await.ok();
    assert_eq!(kinds(&world, id).await.len(), 3);
}

#[tokio::test]
async fn a_fork_in_the_middle_of_a_turn_is_at_rest() {
    let world = World::new().await;
    let (session, ids) = origin(&world).await;
    let path = format!("/v1/sessions/{session}/fork");
    let request = json!({"title": "f", "metadata": {"a": "b"}, "workspace": "empty"});
    let forked = world.post(&path, request).await.ok();
    assert_eq!(forked["title"], "f");
    assert_eq!(forked["metadata"], json!({"a": "b"}));
    let id = forked["id"].as_str().unwrap();
    let all = kinds(&world, id).await;
    assert_eq!(
        all[6..],
        [
            "agent.tool_result",
            "session.thread_status_idle",
            "session.status_idle"
        ]
    );
    let events = world
        .get(&format!("/v1/sessions/{id}/events?order=asc"))
        .await
        .ok();
    let (call, result) = (&events["data"][4], &events["data"][6]);
    assert_eq!(result["tool_use_id"], call["id"]);
    assert_ne!(call["id"], ids[4]);
    let thread = events["data"][7]["session_thread_id"].as_str().unwrap();
    assert_eq!(thread.replace("sthr_", "sesn_"), id);
}

#[tokio::test]
async fn what_cannot_be_forked_is_refused() {
    let world = World::new().await;
    let (session, ids) = origin(&world).await;
    let path = format!("/v1/sessions/{session}/fork");
    let nobody = world.post("/v1/sessions/sesn_other/fork", json!({})).await;
    nobody.refuses(404, "not_found_error", "sesn_other");
    for request in [
        json!({"event_id": "sevt_other"}),
        json!({"workspace": "new"}),
    ] {
        let key = request.as_object().unwrap().keys().next().unwrap().clone();
        let answer = world.post(&path, request).await;
        answer.refuses(400, "invalid_request_error", &format!("{key}: "));
    }
    let other = world.session().await;
    let answer = world
        .post(
            &format!("/v1/sessions/{other}/fork"),
            json!({"event_id": ids[0]}),
        )
        .await;
    answer.refuses(400, "invalid_request_error", "event_id: the session has no");
    let status = async |status| {
        let fence = world
            .store
            .sessions()
            .claim(&session, "test")
            .await
            .unwrap();
        let write = Write::Status {
            status,
            attention: false,
            updated_at: world.clock.now(),
        };
        let events = world.store.events();
        events.commit(&session, fence, vec![write]).await.unwrap();
    };
    status(Status::Running).await;
    let answer = world.post(&path, json!({})).await;
    answer.refuses(409, "conflict_error", "the session is running");
    status(Status::Terminated).await;
    world.post(&path, json!({})).await.ok();
    let row = world
        .store
        .sessions()
        .get(&store::Realm::of(WS), &session)
        .await
        .unwrap()
        .unwrap();
    let archive = format!("/v1/environments/{}/archive", row.environment_id);
    world.post_nothing(&archive).await.ok();
    let answer = world.post(&path, json!({})).await;
    answer.refuses(400, "invalid_request_error", "the environment is archived");
}

#[tokio::test]
async fn a_fork_has_the_files_of_its_point() {
    let world = World::new().await;
    let (session, ids) = origin(&world).await;
    let first = world.save(&session).await;
    let fence = world
        .store
        .sessions()
        .claim(&session, "test")
        .await
        .unwrap();
    let row = |id: &str| {
        Write::Snapshot(NewSnapshot {
            id: id.to_owned(),
            created_at: world.clock.now(),
            files: 1,
            bytes: 5,
            written: 5,
        })
    };
    let events = world.store.events();
    events
        .commit(&session, fence, vec![row(&first)])
        .await
        .unwrap();
    let later = json!({"id": "sevt_later", "type": "session.status_running"});
    world.append(&session, &[later]).await;
    let second = world.save(&session).await;
    let fence = world
        .store
        .sessions()
        .claim(&session, "test")
        .await
        .unwrap();
    events
        .commit(&session, fence, vec![row(&second)])
        .await
        .unwrap();
    let path = format!("/v1/sessions/{session}/fork");
    for (request, expected) in [
        (json!({}), Some(&second)),
        (json!({"event_id": ids[5]}), Some(&first)),
        (json!({"event_id": ids[4]}), None),
        (
            json!({"event_id": ids[4], "workspace": "latest"}),
            Some(&second),
        ),
        (json!({"workspace": "empty"}), None),
    ] {
        let forked = world.post(&path, request.clone()).await.ok();
        let id = forked["id"].as_str().unwrap();
        let latest = world.store.snapshots().latest(id).await.unwrap();
        assert_eq!(
            latest.map(|row| row.snapshot.id).as_ref(),
            expected,
            "{request}"
        );
        let lines = world.snapshots.lines().await.unwrap();
        assert_eq!(lines.contains(&id.to_owned()), expected.is_some());
        // Its content goes with it, and with it alone.
        world.delete(&format!("/v1/sessions/{id}")).await.ok();
        let lines = world.snapshots.lines().await.unwrap();
        assert_eq!(lines, std::slice::from_ref(&session));
    }
}
