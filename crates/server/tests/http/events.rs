//! Events: sent, listed, streamed.

use std::time::Duration;

use futures::StreamExt;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::world::{KEY, World};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);

fn event(number: u32) -> Value {
    json!({"id": format!("sevt_{number}"), "type": "agent.message", "content": [{"type": "text", "text": format!("{number} ü\n")}], "processed_at": "2026-11-22T12:00:00.000000Z"})
}

/// Reads a stream until its text contains `end`.
async fn read_until(request: RequestBuilder, end: &str) -> String {
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert!(
        response.headers()["request-id"]
            .to_str()
            .unwrap()
            .starts_with("req_")
    );
    let mut chunks = response.bytes_stream();
    let mut text = String::new();
    let reading = async {
        while !text.contains(end) {
            let chunk = chunks
                .next()
                .await
                .expect("the stream ended early")
                .unwrap();
            text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    };
    tokio::time::timeout(PATIENCE, reading)
        .await
        .unwrap_or_else(|_| panic!("no {end:?} in time"));
    text
}

#[tokio::test]
async fn a_returning_reader_gets_what_it_has_not_seen_framed_exactly() {
    let world = World::new().await;
    let id = world.session().await;
    let bodies = [event(1), event(2), event(3)];
    world.append(&id, &bodies).await;
    let path = format!("/v1/sessions/{id}/events");
    let stream = world
        .request(Method::GET, &format!("{path}/stream"))
        .header("last-event-id", "1");
    let text = read_until(stream, "sevt_3\",\"type\":\"agent.message\",\"content\":[{\"type\":\"text\",\"text\":\"3 ü\\n\"}],\"processed_at\":\"2026-11-22T12:00:00.000000Z\"}\n\n").await;
    let frame = |seq: usize| {
        format!(
            "event: agent.message\nid: {seq}\ndata: {}\n\n",
            bodies[seq - 1]
        )
    };
    assert_eq!(text, format!("{}{}", frame(2), frame(3)));
    // What is listed has the same bytes.
    let listed = world.send(world.request(Method::GET, &path)).await;
    assert_eq!(listed.ok()["data"], json!(bodies));
}

#[tokio::test]
async fn headers_come_before_any_event_and_pings_keep_the_stream_alive() {
    let world = World::new().await;
    let id = world.session().await;
    let stream = world.request(Method::GET, &format!("/v1/sessions/{id}/events/stream"));
    let response = tokio::time::timeout(Duration::from_millis(250), stream.send()).await;
    let response = response
        .expect("the headers waited for the first frame")
        .unwrap();
    let first = tokio::time::timeout(PATIENCE, response.bytes_stream().next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(&first[..], b"event: ping\ndata: {\"type\":\"ping\"}\n\n");
}

#[tokio::test]
async fn streams_refuse_what_they_cannot_do() {
    let world = World::new().await;
    let path = format!("/v1/sessions/{}/events/stream", world.session().await);
    world
        .get("/v1/sessions/sesn_x/events/stream")
        .await
        .refuses(404, "not_found_error", "sesn_x");
    let answer = world
        .get(&format!("{path}?event_deltas[]=agent.tool_use"))
        .await;
    answer.refuses(
        400,
        "invalid_request_error",
        "event_deltas[]: must be one of",
    );
    let many = "&event_deltas[]=agent.message".repeat(101);
    world.get(&format!("{path}?{many}")).await.refuses(
        400,
        "invalid_request_error",
        "at most 100 values, got 101",
    );
    let answer = world
        .send(
            world
                .request(Method::GET, &path)
                .header("last-event-id", "sevt_1"),
        )
        .await;
    answer.refuses(400, "invalid_request_error", "last-event-id");
}

#[tokio::test]
async fn a_stopping_server_ends_its_streams() {
    let world = World::new().await;
    let id = world.session().await;
    let response = world
        .request(Method::GET, &format!("/v1/sessions/{id}/events/stream"))
        .send()
        .await
        .unwrap();
    let started = std::time::Instant::now();
    world.server.shutdown().await;
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "the shutdown waited for its deadline"
    );
    let rest: Vec<_> = tokio::time::timeout(PATIENCE, response.bytes_stream().collect())
        .await
        .unwrap();
    assert!(
        rest.iter().all(Result::is_ok),
        "the stream was cut instead of ended"
    );
}

#[tokio::test]
async fn the_same_log_comes_over_a_websocket() {
    let world = World::new().await;
    let id = world.session().await;
    let bodies = [event(1), event(2)];
    world.append(&id, &bodies).await;
    let address = format!("ws://{}/v1/sessions/{id}/events/ws", world.server.address());
    let mut request = format!("{address}?after=0").into_client_request().unwrap();
    request
        .headers_mut()
        .insert("x-api-key", KEY.parse().unwrap());
    let (mut socket, response) = tokio_tungstenite::connect_async(request).await.unwrap();
    assert!(response.headers().contains_key("request-id"));
    let mut texts = Vec::new();
    let mut pinged = false;
    while !pinged || texts.len() < 2 {
        match tokio::time::timeout(PATIENCE, socket.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
        {
            Message::Text(text) => texts.push(text.to_string()),
            Message::Ping(_) => pinged = true,
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(texts, bodies.map(|body| body.to_string()));
    world.server.shutdown().await;
    let last = tokio::time::timeout(PATIENCE, socket.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(matches!(last, Message::Close(_)), "{last:?}");
}

#[tokio::test]
async fn a_websocket_needs_an_upgrade_and_a_key_in_a_header() {
    let world = World::new().await;
    let path = format!("/v1/sessions/{}/events/ws", world.session().await);
    world
        .get(&path)
        .await
        .refuses(400, "invalid_request_error", "upgrade");
    let answer = world
        .send(world.bare(Method::GET, &format!("{path}?api_key={KEY}")))
        .await;
    answer.refuses(401, "authentication_error", "send a key");
}

#[tokio::test]
async fn a_send_is_taken_whole_or_not_at_all() {
    let world = World::new().await;
    let path = format!("/v1/sessions/{}/events", world.session().await);
    let message = json!({"type": "user.message", "content": [{"type": "text", "text": "hi"}]});
    let rows = [
        (json!({}), "events: field required"),
        (json!({"events": []}), "events: needs at least one event"),
        (
            json!({"events": [message, {"type": "user.message", "content": [{"type": "text", "text": ""}]}]}),
            "events.1.content.0.text: cannot be empty",
        ),
        (
            json!({"events": [message, {"type": "system.message"}]}),
            "events.1.type: `system.message` is not served",
        ),
        (
            json!({"events": [message, {"type": "user.tool_confirmation", "tool_use_id": "sevt_x", "result": "allow"}]}),
            "events.1: ",
        ),
        (
            json!({"events": [message], "stream": true}),
            "stream: unknown field",
        ),
    ];
    for (body, refusal) in rows {
        world
            .post(&path, body)
            .await
            .refuses(400, "invalid_request_error", refusal);
    }
    assert_eq!(
        world.get(&path).await.ok(),
        json!({"data": [], "next_page": null})
    );
    world
        .post("/v1/sessions/sesn_x/events", json!({"events": [message]}))
        .await
        .refuses(404, "not_found_error", "sesn_x");
}

#[tokio::test]
async fn sent_events_come_back_with_ids_and_are_listed() {
    let world = World::new().await;
    let path = format!("/v1/sessions/{}/events", world.session().await);
    let message = json!({"type": "user.message", "content": [{"type": "text", "text": "hi"}]});
    let sent = world.post(&path, json!({"events": [message]})).await.ok();
    let echo = &sent["data"][0];
    assert!(echo["id"].as_str().unwrap().starts_with("sevt_01"));
    assert_eq!(
        (&echo["processed_at"], &echo["content"]),
        (&Value::Null, &message["content"])
    );
    let listed = world
        .get(&format!("{path}?types[]=user.message"))
        .await
        .ok();
    assert_eq!(listed["data"][0]["id"], echo["id"]);
}

#[tokio::test]
async fn events_are_listed_in_either_order_and_by_type() {
    let world = World::new().await;
    let id = world.session().await;
    let bodies: Vec<Value> = (1..=5).map(event).collect();
    world.append(&id, &bodies).await;
    let path = format!("/v1/sessions/{id}/events");
    let first = world.get(&format!("{path}?order=desc&limit=2")).await.ok();
    assert_eq!(first["data"], json!([bodies[4], bodies[3]]));
    let next = first["next_page"].as_str().unwrap();
    let second = world
        .get(&format!("{path}?order=desc&limit=2&page={next}"))
        .await
        .ok();
    assert_eq!(second["data"], json!([bodies[2], bodies[1]]));
    world.get(&format!("{path}?page={next}")).await.refuses(
        400,
        "invalid_request_error",
        "another order",
    );
    assert_eq!(
        world
            .get(&format!("{path}?types[]=session.error"))
            .await
            .ok()["data"],
        json!([])
    );
    world
        .get(&format!("{path}?types[]=event_delta"))
        .await
        .refuses(400, "invalid_request_error", "types[]: ");
    world.get(&format!("{path}?limit=1001")).await.refuses(
        400,
        "invalid_request_error",
        "from 1 to 1000",
    );
    let later = "created_at%5Bgt%5D=2026-11-22T12:00:00Z";
    assert_eq!(
        world.get(&format!("{path}?{later}")).await.ok()["data"],
        json!([])
    );
}

#[tokio::test]
async fn a_long_replay_loses_nothing_whatever_the_size_of_its_events() {
    let world = World::new().await;
    let id = world.session().await;
    let padded = |number: u32, size: usize| {
        let mut body = event(number);
        body["content"][0]["text"] = json!("x".repeat(size));
        body
    };
    // Frames far above and far below what goes out in one write, over more than one page of the log.
    let bodies: Vec<Value> = (1..=600)
        .map(|number| padded(number, if number % 7 == 0 { 50_000 } else { 10 }))
        .collect();
    world.append(&id, &bodies).await;
    let stream = world
        .request(Method::GET, &format!("/v1/sessions/{id}/events/stream"))
        .header("last-event-id", "0");
    let text = read_until(stream, "\nid: 600\n").await;
    let ids: Vec<u32> = text
        .lines()
        .filter_map(|line| line.strip_prefix("id: ")?.parse().ok())
        .collect();
    assert_eq!(ids, (1..=600).collect::<Vec<u32>>());
}
