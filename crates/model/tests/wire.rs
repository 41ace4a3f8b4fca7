//! The server as a client sees it: bytes, order of events, faults.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::SocketAddr;
use std::time::Duration;

use model::{Model, Options, Running};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(10);

async fn start() -> Running {
    start_with(Options::default()).await
}

async fn start_with(options: Options) -> Running {
    let addr = SocketAddr::from(([127, 0, 0, 1], 0));
    Model::bind_with(addr, options).await.unwrap().spawn()
}

/// Sends a request and returns the connection.
async fn send(model: &Running, head: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(model.addr()).await.unwrap();
    let text = format!(
        "{head} HTTP/1.1\r\nhost: model\r\nconnection: close\r\ncontent-length: {}\r\nx-api-key: k\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// Status, head and body of an answer.
async fn exchange(model: &Running, head: &str, body: &str) -> (u16, String, String) {
    let mut stream = send(model, head, body).await;
    let mut bytes = Vec::new();
    let read = timeout(LIMIT, stream.read_to_end(&mut bytes))
        .await
        .unwrap();
    read.unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (
        head[9..12].parse().unwrap(),
        head.to_owned(),
        dechunk(head, body),
    )
}

fn dechunk(head: &str, body: &str) -> String {
    if !head.contains("transfer-encoding: chunked") {
        return body.to_owned();
    }
    let (mut rest, mut text) = (body, String::new());
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 || after.len() < size {
            break;
        }
        text.push_str(&after[..size]);
        rest = &after[size + 2..];
    }
    text
}

fn message(prompt: &str, stream: bool) -> String {
    json!({
        "model": "claude-opus-5-5", "max_tokens": 100, "stream": stream,
        "tools": [{"name": "Bash"}],
        "messages": [{"role": "user", "content": prompt}],
    })
    .to_string()
}

async fn ask(model: &Running, prompt: &str, stream: bool) -> (u16, String, String) {
    exchange(
        model,
        "POST /v1/messages?beta=true",
        &message(prompt, stream),
    )
    .await
}

/// The events of a stream: names, which must equal the types, and data.
fn events(body: &str) -> Vec<Value> {
    body.split_terminator("\n\n")
        .map(|event| {
            let (name, data) = event.split_once('\n').unwrap();
            let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            assert_eq!(name, format!("event: {}", data["type"].as_str().unwrap()));
            data
        })
        .collect()
}

fn outline(events: &[Value]) -> Vec<String> {
    events
        .iter()
        .map(|event| {
            let kind = event["type"].as_str().unwrap();
            let inner = event["delta"]["type"]
                .as_str()
                .or(event["content_block"]["type"].as_str());
            inner.map_or(kind.to_owned(), |inner| format!("{kind} {inner}"))
        })
        .collect()
}

#[tokio::test]
async fn a_streamed_message_has_the_events_in_order() {
    let model = start().await;
    let prompt = "@think hm\n@say hello\n@tool Bash {\"command\":\"ls\"}";
    let (status, head, body) = ask(&model, prompt, true).await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/event-stream; charset=utf-8"));
    assert!(head.contains("request-id: req_01"));
    let events = events(&body);
    assert_eq!(
        outline(&events),
        [
            "message_start",
            "content_block_start thinking",
            "ping",
            "content_block_delta thinking_delta",
            "content_block_delta signature_delta",
            "content_block_stop",
            "content_block_start text",
            "content_block_delta text_delta",
            "content_block_stop",
            "content_block_start tool_use",
            "content_block_delta input_json_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]
    );
    assert_eq!(events[0]["message"]["model"], "claude-opus-5-5");
    assert_eq!(events[10]["delta"]["partial_json"], "{\"command\":\"ls\"}");
    assert_eq!(events[12]["delta"]["stop_reason"], "tool_use");
    assert!(events[12]["usage"]["output_tokens"].as_u64().unwrap() > 1);
}

#[tokio::test]
async fn the_deltas_of_a_text_make_the_text() {
    let model = start().await;
    let text = "ä".repeat(500);
    let (_, _, body) = ask(&model, &format!("@say {text}"), true).await;
    let events = events(&body);
    let deltas: Vec<&str> = events
        .iter()
        .filter_map(|e| e["delta"]["text"].as_str())
        .collect();
    assert!(deltas.len() > 10);
    assert_eq!(deltas.concat(), text);
}

#[tokio::test]
async fn a_large_text_arrives_whole() {
    let model = start().await;
    let (_, _, body) = ask(&model, "@repeat 200000 word", true).await;
    let text: String = events(&body)
        .iter()
        .filter_map(|e| e["delta"]["text"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(text.len(), 200_000 * 5 - 1);
}

#[tokio::test]
async fn without_streaming_it_is_one_object() {
    let model = start().await;
    let (status, _, body) = ask(&model, "@say hello\n@tool Bash {}", false).await;
    let message: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, 200);
    assert_eq!(
        message["content"][0],
        json!({"type": "text", "text": "hello"})
    );
    assert_eq!(message["content"][1]["name"], "Bash");
    assert_eq!(message["stop_reason"], "tool_use");
}

#[tokio::test]
async fn the_same_request_has_the_same_usage() {
    let model = start().await;
    let usage = |body: &str| serde_json::from_str::<Value>(body).unwrap()["usage"].clone();
    let (_, _, first) = ask(&model, "@say hello", false).await;
    let (_, _, second) = ask(&model, "@say hello", false).await;
    assert_eq!(usage(&first), usage(&second));
    assert_eq!(usage(&first)["output_tokens"], 2);
}

#[tokio::test]
async fn errors_have_the_apis_shape() {
    let model = start().await;
    let prompt = "@error 429 rate_limit_error retry-after=7 times=1\n@say fine";
    let (status, head, body) = ask(&model, prompt, true).await;
    assert_eq!(status, 429);
    assert!(head.contains("retry-after: 7"));
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["error"]["type"], "rate_limit_error");
    assert_eq!(ask(&model, prompt, true).await.0, 200);
}

#[tokio::test]
async fn bad_requests_are_refused_with_a_reason() {
    let model = start().await;
    for (body, status, reason) in [
        ("{", 400, "not valid"),
        ("{\"messages\":[]}", 400, "missing field `model`"),
        (
            r#"{"model":"gpt-5","max_tokens":1,"messages":[{"role":"user","content":"x"}]}"#,
            404,
            "model: gpt-5",
        ),
        (
            r#"{"model":"claude-opus-5","messages":[{"role":"user","content":"x"}]}"#,
            400,
            "max_tokens",
        ),
        (
            r#"{"model":"claude-opus-5","max_tokens":1,"messages":[]}"#,
            400,
            "messages",
        ),
        (&message("@say a\n@nope", true), 400, "script line 2"),
    ] {
        let (got, _, text) = exchange(&model, "POST /v1/messages", body).await;
        assert_eq!(got, status, "{body}");
        assert!(text.contains(reason), "{text}");
    }
    assert_eq!(exchange(&model, "GET /v1/nothing", "").await.0, 404);
    assert_eq!(exchange(&model, "GET /v1/models/gpt-5", "").await.0, 404);
}

#[tokio::test]
async fn a_cut_ends_the_connection_without_an_end() {
    let model = start().await;
    let mut stream = send(
        &model,
        "POST /v1/messages",
        &message("@say half\n@cut", true),
    )
    .await;
    let mut bytes = Vec::new();
    let _ = timeout(LIMIT, stream.read_to_end(&mut bytes))
        .await
        .unwrap();
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.contains("half"), "what came before is sent: {text}");
    assert!(!text.ends_with("0\r\n\r\n") && !text.contains("message_stop"));
}

#[tokio::test]
async fn a_stall_says_what_came_before_and_then_nothing() {
    let model = start().await;
    let mut stream = send(
        &model,
        "POST /v1/messages",
        &message("@say half\n@stall", true),
    )
    .await;
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("half") {
        let read = timeout(LIMIT, stream.read_buf(&mut seen)).await.unwrap();
        assert!(read.unwrap() > 0);
    }
    let more = timeout(Duration::from_millis(100), stream.read_buf(&mut seen)).await;
    assert!(more.is_err(), "the stream is open and silent");
}

#[tokio::test]
async fn a_slow_message_comes_in_pieces() {
    let model = start().await;
    let prompt = format!("@slow 20\n@say {}", "x".repeat(24 * 5));
    let began = std::time::Instant::now();
    let (_, _, body) = ask(&model, &prompt, true).await;
    assert!(began.elapsed() >= Duration::from_millis(100));
    assert_eq!(
        outline(&events(&body))
            .iter()
            .filter(|kind| kind.contains("text_delta"))
            .count(),
        5
    );
}

#[tokio::test]
async fn a_required_key_is_required() {
    let model = start_with(Options {
        key: Some("other".into()),
        ..Options::default()
    })
    .await;
    let (status, _, body) = ask(&model, "hi", false).await;
    assert_eq!(status, 401);
    assert!(body.contains("authentication_error"));
}

#[tokio::test]
async fn models_tokens_and_probes_are_served() {
    let model = start().await;
    let (_, _, body) = exchange(&model, "GET /v1/models?limit=3", "").await;
    let page: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(page["data"].as_array().unwrap().len(), 3);
    let (_, _, body) = exchange(
        &model,
        "POST /v1/messages/count_tokens",
        &message("hi", false),
    )
    .await;
    assert!(
        serde_json::from_str::<Value>(&body).unwrap()["input_tokens"]
            .as_u64()
            .unwrap()
            > 0
    );
    let (status, head, body) = exchange(&model, "HEAD /api/hello", "").await;
    assert_eq!((status, body.as_str()), (200, ""), "{head}");
}

#[tokio::test]
async fn requests_are_recorded_without_their_key() {
    let model = start().await;
    ask(&model, "remember me", false).await;
    let records = model.requests();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].json()["messages"][0]["content"], "remember me");
    let (_, _, body) = exchange(&model, "GET /__requests", "").await;
    let listed: Value = serde_json::from_str(&body).unwrap();
    assert!(
        listed[0]["headers"]["x-api-key"]
            .as_str()
            .unwrap()
            .starts_with("sha256:")
    );
}

#[tokio::test]
async fn a_stop_does_not_wait_for_the_silent() {
    let model = start().await;
    let mut stream = send(&model, "POST /v1/messages", &message("@silent", true)).await;
    timeout(LIMIT, model.stop()).await.unwrap();
    let mut bytes = Vec::new();
    let _ = timeout(LIMIT, stream.read_to_end(&mut bytes))
        .await
        .unwrap();
    assert!(bytes.is_empty());
}
