//! What holds for every path: keys, request ids, error bodies, limits.

use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::{KEY, World};

const SERVED: &[(&str, &str)] = &[
    ("GET", "/v1/agents"),
    ("POST", "/v1/agents"),
    ("GET", "/v1/agents/agent_1"),
    ("POST", "/v1/agents/agent_1"),
    ("POST", "/v1/agents/agent_1/archive"),
    ("GET", "/v1/agents/agent_1/versions"),
    ("GET", "/v1/environments"),
    ("POST", "/v1/environments"),
    ("GET", "/v1/environments/env_1"),
    ("POST", "/v1/environments/env_1"),
    ("DELETE", "/v1/environments/env_1"),
    ("POST", "/v1/environments/env_1/archive"),
    ("GET", "/v1/sessions"),
    ("POST", "/v1/sessions"),
    ("GET", "/v1/sessions/sesn_1"),
    ("POST", "/v1/sessions/sesn_1"),
    ("DELETE", "/v1/sessions/sesn_1"),
    ("POST", "/v1/sessions/sesn_1/archive"),
    ("POST", "/v1/sessions/sesn_1/fork"),
    ("GET", "/v1/sessions/sesn_1/events"),
    ("POST", "/v1/sessions/sesn_1/events"),
    ("GET", "/v1/sessions/sesn_1/events/stream"),
    ("GET", "/v1/sessions/sesn_1/events/ws"),
    ("GET", "/v1/files"),
    ("GET", "/v1/files/file_1"),
    ("DELETE", "/v1/files/file_1"),
    ("GET", "/v1/files/file_1/content"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/claude-opus-5-5"),
];

const UNSERVED: &[(&str, &str, &str)] = &[
    ("POST", "/v1/files", "uploads of files"),
    ("GET", "/v1/skills", "skills"),
    ("GET", "/v1/memory_stores", "memory_stores"),
    ("GET", "/v1/sessions/sesn_1/threads", "threads of sessions"),
    (
        "GET",
        "/v1/sessions/sesn_1/threads/sthr_1/stream",
        "threads of sessions",
    ),
    (
        "POST",
        "/v1/sessions/sesn_1/resources",
        "resources of sessions",
    ),
    (
        "GET",
        "/v1/environments/env_1/work/poll",
        "work of environments",
    ),
    ("GET", "/v1/deployments", "deployments"),
    ("GET", "/v1/deployment_runs", "deployment_runs"),
    ("POST", "/v1/dreams", "dreams"),
    ("GET", "/v1/user_profiles", "user_profiles"),
    ("GET", "/v1/tunnels", "tunnels"),
    ("GET", "/v1/organizations/webhooks", "organizations"),
    ("POST", "/v1/messages", "messages"),
    ("POST", "/v1/messages/batches", "messages"),
];

fn method(name: &str) -> Method {
    name.parse().unwrap()
}

#[tokio::test]
async fn every_path_needs_a_key() {
    let world = World::new().await;
    let unserved = UNSERVED.iter().map(|(method, path, _)| (method, path));
    for (name, path) in SERVED
        .iter()
        .map(|(method, path)| (method, path))
        .chain(unserved)
        .chain([(&"GET", &"/v1/nothing")])
    {
        let without = world.send(world.bare(method(name), path)).await;
        without.refuses(401, "authentication_error", "send a key");
        let wrong = world
            .send(world.bare(method(name), path).bearer_auth("hostel_wrong"))
            .await;
        wrong.refuses(401, "authentication_error", "not known");
        let empty = world
            .send(world.bare(method(name), path).header("x-api-key", ""))
            .await;
        empty.refuses(401, "authentication_error", "send a key");
    }
}

#[tokio::test]
async fn both_headers_carry_the_key_and_the_workspace_must_match() {
    let world = World::new().await;
    let get = |header: &str, value: &str| {
        world
            .bare(Method::GET, "/v1/agents?beta=true")
            .header(header, value)
    };
    let answer = world
        .send(get("x-api-key", KEY).header("anthropic-beta", "managed-agents-2026-04-01,nonsense"))
        .await;
    assert_eq!(answer.headers["anthropic-workspace-id"], "wrkspc_default");
    answer.ok();
    world
        .send(get("authorization", &format!("bearer {KEY}")))
        .await
        .ok();
    world
        .send(get("x-api-key", KEY).header("anthropic-workspace-id", "wrkspc_default"))
        .await
        .ok();
    let other = world
        .send(get("x-api-key", KEY).header("anthropic-workspace-id", "wrkspc_other"))
        .await;
    other.refuses(403, "permission_error", "workspace");
    let key_in_the_address = world
        .send(world.bare(Method::GET, &format!("/v1/agents?api_key={KEY}")))
        .await;
    key_in_the_address.refuses(401, "authentication_error", "send a key");
}

#[tokio::test]
async fn what_is_not_served_yet_says_so() {
    let world = World::new().await;
    for (name, path, what) in UNSERVED {
        let answer = world.send(world.request(method(name), path)).await;
        answer.refuses(
            404,
            "not_found_error",
            &format!("does not serve {what} yet"),
        );
    }
    for path in ["/v1/nothing", "/v1/sessions/sesn_1/nothing", "/v1", "/v1/"] {
        world
            .get(path)
            .await
            .refuses(404, "not_found_error", "nothing at this path");
    }
    world
        .send(world.bare(Method::GET, "/nothing"))
        .await
        .refuses(404, "not_found_error", "below /v1");
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let world = World::new().await;
    for (name, path, allowed) in [
        ("DELETE", "/v1/agents", "GET,HEAD,POST"),
        ("PATCH", "/v1/environments/env_1", "GET,HEAD,POST,DELETE"),
        ("GET", "/v1/agents/agent_1/archive", "POST"),
        ("POST", "/healthz", "GET,HEAD"),
    ] {
        let answer = world.send(world.request(method(name), path)).await;
        answer.refuses(405, "invalid_request_error", "allow header");
        assert_eq!(answer.headers["allow"], allowed);
    }
}

#[tokio::test]
async fn health_needs_no_key() {
    let world = World::new().await;
    assert_eq!(
        world.send(world.bare(Method::GET, "/healthz")).await.ok(),
        json!({"status": "ok"})
    );
    assert_eq!(
        world.send(world.bare(Method::GET, "/readyz")).await.ok(),
        json!({"status": "ready"})
    );
}

#[tokio::test]
async fn malformed_bodies_are_refused() {
    let world = World::with(|config| config.limits.request_bytes = 64 * 1024).await;
    let post = |body: Vec<u8>| world.request(Method::POST, "/v1/agents").body(body);
    let deep = "[".repeat(5_000);
    for body in [
        &b""[..],
        b"{",
        b"{\"name\": \"\xff\"}",
        b"{} {}",
        deep.as_bytes(),
    ] {
        world.send(post(body.to_vec())).await.refuses(
            400,
            "invalid_request_error",
            "not valid JSON",
        );
    }
    world.send(post(vec![b' '; 65 * 1024])).await.refuses(
        413,
        "request_too_large",
        "larger than 65536 bytes",
    );
    world.send(post(b"null".to_vec())).await.refuses(
        400,
        "invalid_request_error",
        "must be an object, got null",
    );
}

#[tokio::test]
async fn a_body_that_never_ends_is_refused_when_it_is_too_large() {
    let world = World::with(|config| config.limits.request_bytes = 64 * 1024).await;
    let chunks = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 4096]));
    let request = world
        .request(Method::POST, "/v1/agents")
        .body(reqwest::Body::wrap_stream(chunks));
    // The server answers and closes; a client may see either first.
    if let Ok(response) = request.send().await {
        assert_eq!(response.status().as_u16(), 413);
    }
    world.get("/v1/agents").await.ok();
}

#[tokio::test]
async fn unknown_query_parameters_are_named() {
    let world = World::new().await;
    for (name, path) in SERVED
        .iter()
        .filter(|(name, path)| *name == "GET" && !path.ends_with("/ws"))
    {
        let answer = world
            .send(world.request(method(name), &format!("{path}?beta=true&colour=red")))
            .await;
        answer.refuses(
            400,
            "invalid_request_error",
            "unknown query parameter \"colour\"",
        );
    }
}

#[tokio::test]
async fn a_stopping_server_ends_its_connections() {
    let world = World::new().await;
    let mut idle = TcpStream::connect(world.server.address()).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut first = [0; 64];
    assert!(idle.read(&mut first).await.unwrap() > 0);
    let address = world.server.address();
    let started = std::time::Instant::now();
    world.server.shutdown().await;
    assert!(
        started.elapsed().as_secs() < 4,
        "the shutdown waited for its deadline"
    );
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_repeated_create_gets_the_first_answer() {
    let world = World::new().await;
    let create = |retries: &str, name: &str| {
        let body = json!({"model": "m", "name": name});
        world
            .request(Method::POST, "/v1/agents")
            .header("x-stainless-retry-count", retries)
            .json(&body)
    };
    let first = world.send(create("0", "a")).await.ok();
    assert_eq!(world.send(create("1", "a")).await.ok()["id"], first["id"]);
    assert_eq!(world.send(create("2", "a")).await.ok()["id"], first["id"]);
    assert_ne!(world.send(create("1", "b")).await.ok()["id"], first["id"]);
    let second = world.send(create("0", "a")).await.ok();
    assert_ne!(
        second["id"], first["id"],
        "a first attempt is never taken for a repetition"
    );
    world
        .send(create("0", ""))
        .await
        .refuses(400, "invalid_request_error", "name");
    world
        .send(create("1", ""))
        .await
        .refuses(400, "invalid_request_error", "name");
}

#[tokio::test]
async fn without_any_key_one_is_made_and_shown_once() {
    let world = World::with(|config| config.api_key = None).await;
    let key = world.server.new_key().unwrap().expose().to_owned();
    assert!(key.starts_with("hostel_") && key.len() > 40);
    world
        .send(world.bare(Method::GET, "/v1/agents").bearer_auth(&key))
        .await
        .ok();
    let keys = world.store.keys();
    let now = world.clock.now();
    assert!(
        keys.any(store::DEFAULT_WORKSPACE, "admin", now)
            .await
            .unwrap()
    );
}
