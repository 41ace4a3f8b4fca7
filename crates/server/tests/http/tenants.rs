//! Workspaces and their keys: made, used, rotated and revoked over the API.

use chrono::TimeDelta;
use futures::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::world::{Answer, World};

async fn with(world: &World, key: &Value, method: Method, path: &str, body: Value) -> Answer {
    let key = key["key"].as_str().unwrap();
    let request = world.bare(method, path).bearer_auth(key).json(&body);
    world.send(request).await
}

async fn read(world: &World, key: &Value, path: &str) -> Answer {
    let key = key["key"].as_str().unwrap();
    world
        .send(world.bare(Method::GET, path).bearer_auth(key))
        .await
}

fn id(value: &Value) -> &str {
    value["id"].as_str().unwrap()
}

#[tokio::test]
async fn a_key_is_shown_once_and_stored_nowhere() {
    let world = World::new().await;
    let made = world
        .post("/v1/api_keys", json!({"name": "ci", "scope": "sessions"}))
        .await
        .ok();
    let key = made["key"].as_str().unwrap();
    assert!(key.starts_with("hostel_") && key.len() > 40);
    let shown = world.get(&format!("/v1/api_keys/{}", id(&made))).await.ok();
    assert_eq!(shown.get("key"), None);
    assert_eq!(
        (
            shown["type"].as_str(),
            shown["status"].as_str(),
            shown["scope"].as_str()
        ),
        (Some("api_key"), Some("active"), Some("sessions"))
    );
    assert_eq!(shown["workspace_id"], "wrkspc_default");
    assert!(key.starts_with(shown["partial_key_hint"].as_str().unwrap()));
    let list = world.get("/v1/api_keys").await.ok();
    assert_eq!(list["data"], json!([shown]));
    assert!(!list.to_string().contains(key));
    for file in ["hostel.db", "hostel.db-wal"] {
        let bytes = std::fs::read(world.data().join(file)).unwrap();
        let found = bytes
            .windows(key.len())
            .any(|window| window == key.as_bytes());
        assert!(!found, "the key is in {file}");
    }
}

#[tokio::test]
async fn a_rotated_key_is_good_for_as_long_as_was_said() {
    let world = World::new().await;
    let old = world.key(json!({"scope": "read_only"})).await;
    let rotate = format!("/v1/api_keys/{}/rotate", id(&old));
    let new = world.post(&rotate, json!({"grace_seconds": 60})).await.ok();
    assert_ne!(new["key"], old["key"]);
    assert_eq!((&new["name"], &new["scope"]), (&old["name"], &old["scope"]));
    for key in [&old, &new] {
        read(&world, key, "/v1/agents").await.ok();
    }
    world.clock.advance(TimeDelta::seconds(60));
    read(&world, &new, "/v1/agents").await.ok();
    let late = read(&world, &old, "/v1/agents").await;
    late.refuses(401, "authentication_error", "has expired");
    let again = world.post(&rotate, json!({})).await;
    again.refuses(400, "invalid_request_error", "create a new one");
    let at_once = format!("/v1/api_keys/{}/rotate", id(&new));
    world.post(&at_once, json!({})).await.ok();
    let over = read(&world, &new, "/v1/agents").await;
    over.refuses(401, "authentication_error", "has expired");
}

#[tokio::test]
async fn a_revoked_key_is_listed_only_when_asked_for() {
    let world = World::new().await;
    let key = world.key(json!({"scope": "sessions"})).await;
    let revoke = format!("/v1/api_keys/{}/revoke", id(&key));
    let revoked = world.post_nothing(&revoke).await.ok();
    assert_eq!(revoked["status"], "revoked");
    assert_eq!(world.post_nothing(&revoke).await.ok(), revoked);
    assert_eq!(world.get("/v1/api_keys").await.ok()["data"], json!([]));
    let all = world.get("/v1/api_keys?include_revoked=true").await.ok();
    assert_eq!(all["data"], json!([revoked]));
}

#[tokio::test]
async fn the_last_use_is_told_to_the_minute() {
    let world = World::new().await;
    let key = world.key(json!({"scope": "read_only"})).await;
    let path = format!("/v1/api_keys/{}", id(&key));
    assert_eq!(world.get(&path).await.ok()["last_used_at"], Value::Null);
    read(&world, &key, "/v1/agents").await.ok();
    let written = async {
        while world.get(&path).await.ok()["last_used_at"].is_null() {
            tokio::task::yield_now().await;
        }
    };
    let bound = std::time::Duration::from_secs(10);
    tokio::time::timeout(bound, written).await.unwrap();
    let shown = world.get(&path).await.ok();
    assert_eq!(shown["last_used_at"], "2026-11-22T12:00:00.000000Z");
}

#[tokio::test]
async fn the_administrator_of_a_workspace_sees_its_own_and_no_other() {
    let world = World::new().await;
    let theirs = world.workspace().await;
    let mine = world.key(json!({"scope": "sessions"})).await;
    let admin = world
        .key(json!({"scope": "admin", "workspace_id": theirs}))
        .await;
    let made = with(
        &world,
        &admin,
        Method::POST,
        "/v1/api_keys",
        json!({"name": "k", "scope": "read_only"}),
    )
    .await
    .ok();
    assert_eq!(made["workspace_id"].as_str(), Some(&*theirs));
    let keys = read(&world, &admin, "/v1/api_keys").await.ok();
    assert_eq!(keys["data"].as_array().unwrap().len(), 2);
    assert!(!keys.to_string().contains(id(&mine)));
    let spaces = read(&world, &admin, "/v1/workspaces").await.ok();
    assert_eq!(spaces["data"].as_array().unwrap().len(), 1);
    let all = world.get("/v1/workspaces").await.ok();
    assert_eq!(all["data"].as_array().unwrap().len(), 2);
    let foreign = json!({"name": "k", "scope": "admin", "workspace_id": "wrkspc_default"});
    let refused = with(&world, &admin, Method::POST, "/v1/api_keys", foreign).await;
    refused.refuses(404, "not_found_error", "no workspace");
    let refused = with(
        &world,
        &admin,
        Method::POST,
        "/v1/workspaces",
        json!({"name": "w"}),
    )
    .await;
    refused.refuses(403, "permission_error", "default workspace");
}

#[tokio::test]
async fn a_workspace_is_changed_and_shown_with_its_limits() {
    let world = World::new().await;
    let limits = json!({"max_sessions": 2});
    let made = world
        .post("/v1/workspaces", json!({"name": "w", "limits": limits}))
        .await
        .ok();
    assert_eq!(
        (made["name"].as_str(), made["type"].as_str()),
        (Some("w"), Some("workspace"))
    );
    assert_eq!(made["limits"]["max_sessions"], 2);
    let path = format!("/v1/workspaces/{}", id(&made));
    assert_eq!(world.get(&path).await.ok(), made);
    let changed = world.post(&path, json!({"name": "v"})).await.ok();
    assert_eq!(
        (changed["name"].as_str(), &changed["limits"]),
        (Some("v"), &made["limits"])
    );
    let none = world.post(&path, json!({"limits": null})).await.ok();
    assert_eq!(none["limits"]["max_sessions"], Value::Null);
}

#[tokio::test]
async fn a_workspace_has_no_more_sessions_than_it_may() {
    let world = World::new().await;
    let path = "/v1/workspaces/wrkspc_default";
    world
        .post(path, json!({"limits": {"max_sessions": 1}}))
        .await
        .ok();
    let session = world.session().await;
    let row = world.get(&format!("/v1/sessions/{session}")).await.ok();
    let next = json!({"agent": row["agent"]["id"], "environment_id": row["environment_id"]});
    let refused = world.post("/v1/sessions", next.clone()).await;
    refused.refuses(429, "rate_limit_error", "may have no more");
    assert_eq!(refused.headers["x-should-retry"], "false");
    let fork = world
        .post(&format!("/v1/sessions/{session}/fork"), json!({}))
        .await;
    fork.refuses(429, "rate_limit_error", "may have no more");
    world
        .post_nothing(&format!("/v1/sessions/{session}/archive"))
        .await
        .ok();
    world.post("/v1/sessions", next).await.ok();
}

#[tokio::test]
async fn a_workspace_sends_no_faster_than_it_may() {
    let world = World::new().await;
    let session = world.session().await;
    let path = "/v1/workspaces/wrkspc_default";
    world
        .post(path, json!({"limits": {"max_events_per_second": 1}}))
        .await
        .ok();
    let events = format!("/v1/sessions/{session}/events");
    let interrupt = json!({"type": "user.interrupt"});
    // Taken whole, and then nothing for the rest of a minute.
    let many = json!({"events": vec![interrupt.clone(); 50]});
    world.post(&events, many).await.ok();
    let refused = world.post(&events, json!({"events": [interrupt]})).await;
    refused.refuses(429, "rate_limit_error", "more than 1 events a second");
    let wait: u64 = refused.headers["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    let theirs = world.workspace().await;
    let key = world
        .key(json!({"scope": "admin", "workspace_id": theirs}))
        .await;
    let other = with(
        &world,
        &key,
        Method::POST,
        "/v1/agents",
        json!({"model": "m", "name": "a"}),
    );
    other.await.ok();
    world.post(path, json!({"limits": null})).await.ok();
    world
        .post(&events, json!({"events": [{"type": "user.interrupt"}]}))
        .await
        .ok();
}

#[tokio::test]
async fn a_repeated_request_of_another_key_is_another_request() {
    let world = World::new().await;
    let theirs = world.workspace().await;
    let body = json!({"model": "m", "name": "a"});
    let keys = [
        world.key(json!({"scope": "admin"})).await,
        world
            .key(json!({"scope": "admin", "workspace_id": theirs}))
            .await,
    ];
    let mut made = Vec::new();
    for key in &keys {
        let request = world.bare(Method::POST, "/v1/agents");
        let request = request
            .bearer_auth(key["key"].as_str().unwrap())
            .json(&body);
        let answer = world
            .send(request.header("x-stainless-retry-count", "1"))
            .await
            .ok();
        made.push(answer["id"].clone());
    }
    assert_ne!(made[0], made[1]);
}

#[tokio::test]
async fn an_expiry_in_the_past_and_an_absent_environment_are_refused() {
    let world = World::new().await;
    for (extra, status, message) in [
        (
            json!({"expires_at": "2026-11-22T12:00:00Z"}),
            400,
            "must be in the future",
        ),
        (json!({"environment_id": "env_9"}), 404, "no environment"),
        (json!({"workspace_id": "wrkspc_9"}), 404, "no workspace"),
    ] {
        let mut body = json!({"name": "k", "scope": "sessions"});
        body.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        let answer = world.post("/v1/api_keys", body).await;
        assert_eq!(answer.status.as_u16(), status, "{answer:?}");
        assert!(answer.message().contains(message), "{answer:?}");
    }
}

#[tokio::test]
async fn what_a_key_opened_ends_with_the_key() {
    let world = World::new().await;
    let session = world.session().await;
    let key = world.key(json!({"scope": "read_only"})).await;
    let secret = key["key"].as_str().unwrap();
    let events = format!("/v1/sessions/{session}/events");
    let stream = world.bare(Method::GET, &format!("{events}/stream"));
    let stream = stream.bearer_auth(secret).send().await.unwrap();
    let address = format!("ws://{}{events}/ws", world.server.address());
    let mut request = address.into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("x-api-key", secret.parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    let revoke = format!("/v1/api_keys/{}/revoke", id(&key));
    world.post_nothing(&revoke).await.ok();
    let ended = async {
        let rest: Vec<_> = stream.bytes_stream().collect().await;
        assert!(
            rest.iter().all(Result::is_ok),
            "the stream was cut instead of ended"
        );
        loop {
            match socket.next().await.unwrap().unwrap() {
                Message::Ping(_) => {}
                Message::Close(Some(frame)) => break u16::from(frame.code),
                other => panic!("unexpected {other:?}"),
            }
        }
    };
    let bound = std::time::Duration::from_secs(10);
    assert_eq!(tokio::time::timeout(bound, ended).await.unwrap(), 1008);
}
