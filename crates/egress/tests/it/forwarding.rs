//! What passes, and how.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use egress::{KeyHeader, Microcents};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, Semaphore};

use crate::support::*;

#[tokio::test]
async fn the_real_key_takes_the_place_of_the_placeholder() {
    let mut upstream = Upstream::saying(stream()).await;
    let mut out = Out::with(upstream.addr, |config| {
        config.upstream = format!(
            "{}/prefix/",
            config.upstream.to_string().trim_end_matches('/')
        )
        .parse()
        .unwrap();
    });
    let mut client = out.model();
    client.call(ASK).await;
    let got = upstream.next().await;
    assert_eq!(got.line(), "POST /prefix/v1/messages?beta=true HTTP/1.1");
    assert_eq!(got.header("x-api-key"), Some(KEY));
    assert_eq!(got.header("host"), Some(upstream.addr.to_string().as_str()));
    assert_eq!(got.header("accept-encoding"), Some("identity"));
    assert_eq!(got.body, ASK);
    assert!(!got.head.contains("placeholder"));
    let answer = client.until("0\r\n\r\n").await;
    assert!(answer.contains("request-id: req_7"));
    assert!(answer.contains(START) && answer.contains(END));
}

#[tokio::test]
async fn a_token_goes_as_bearer() {
    let mut upstream = Upstream::saying(stream()).await;
    let mut out = Out::with(upstream.addr, |config| {
        config.key_header = KeyHeader::Bearer
    });
    let mut client = out.model();
    client.call(ASK).await;
    let got = upstream.next().await;
    assert_eq!(
        got.header("authorization"),
        Some(format!("Bearer {KEY}").as_str())
    );
    assert_eq!(got.header("x-api-key"), None);
}

#[tokio::test]
async fn an_answer_passes_as_it_comes() {
    let seen = Arc::new(Notify::new());
    let wait = Arc::clone(&seen);
    let upstream = Upstream::start(move |_, mut stream| {
        let wait = Arc::clone(&wait);
        Box::pin(async move {
            stream.write_all(STREAM_HEAD.as_bytes()).await.unwrap();
            stream.write_all(chunk(START).as_bytes()).await.unwrap();
            wait.notified().await;
            stream
                .write_all(format!("{}0\r\n\r\n", chunk(END)).as_bytes())
                .await
                .unwrap();
            Some(stream)
        })
    })
    .await;
    let mut out = Out::to(upstream.addr);
    let mut client = out.model();
    client.call(ASK).await;
    // Upstream says more only after the first chunk has arrived here.
    let first = client.until("message_start").await;
    assert!(!first.contains("message_stop"));
    seen.notify_one();
    client.until("message_stop").await;
}

#[tokio::test]
async fn a_request_leaves_when_it_is_whole() {
    let (half, more) = ASK.split_at(20);
    let mut upstream = Upstream::saying(answer("200 OK", "", "{}")).await;
    let mut out = Out::to(upstream.addr);
    let mut client = out.model();
    for body in [half, more] {
        assert!(upstream.got.try_recv().is_err());
        let piece = match body == half {
            true => post(ASK).replace(more, ""),
            false => more.to_owned(),
        };
        client.write(piece).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(upstream.next().await.body, ASK);
}

#[tokio::test]
async fn connections_are_kept_on_both_sides() {
    let mut upstream = Upstream::saying(answer("200 OK", "", "{}")).await;
    let mut out = Out::to(upstream.addr);
    let mut client = out.model();
    for _ in 0..3 {
        client.call(ASK).await;
        client.until("{}").await;
        upstream.next().await;
    }
    assert_eq!(upstream.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn errors_pass_with_status_headers_and_body() {
    for (status, kind) in [
        ("401 Unauthorized", "authentication_error"),
        ("429 Too Many Requests", "rate_limit_error"),
        ("500 Internal Server Error", "api_error"),
        ("529 Overloaded", "overloaded_error"),
    ] {
        let body = format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"m"}}}}"#);
        let upstream =
            Upstream::saying(answer(status, "retry-after: 3\r\nrequest-id: r\r\n", &body)).await;
        let mut out = Out::to(upstream.addr);
        let mut client = out.model();
        client.call(ASK).await;
        let text = client.until(&body).await;
        assert!(
            text.starts_with(&format!("HTTP/1.1 {}", &status[..3])),
            "{text}"
        );
        assert!(text.contains("retry-after: 3"));
        let usage = out.one_usage().await;
        assert_eq!(usage.status.to_string(), status[..3]);
        assert_eq!(usage.error.as_deref(), Some(kind));
        assert_eq!(usage.request_id.as_deref(), Some("r"));
        assert_eq!(usage.model, "claude-opus-5-5", "the one that was asked for");
    }
}

#[tokio::test]
async fn a_redirect_is_handed_on_and_not_followed() {
    let mut upstream = Upstream::saying(answer(
        "302 Found",
        "location: http://evil.example/\r\n",
        "{}",
    ))
    .await;
    let mut out = Out::to(upstream.addr);
    let mut client = out.model();
    client.call(ASK).await;
    assert!(
        client
            .until("{}")
            .await
            .contains("location: http://evil.example/")
    );
    upstream.next().await;
    assert!(upstream.got.try_recv().is_err());
}

#[tokio::test]
async fn probes_pass_without_a_key() {
    let mut upstream = Upstream::saying("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n").await;
    let mut out = Out::to(upstream.addr);
    let mut client = out.model();
    client
        .write("HEAD /api/hello HTTP/1.1\r\nhost: x\r\nx-api-key: placeholder\r\n\r\n")
        .await;
    client.until("content-length: 5").await;
    let got = upstream.next().await;
    assert_eq!(
        (got.header("x-api-key"), got.header("authorization")),
        (None, None)
    );
    assert!(out.usage.try_recv().is_err(), "a probe is no model call");
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_call_upstream() {
    let ended = Arc::new(Notify::new());
    let tell = Arc::clone(&ended);
    let mut upstream = Upstream::start(move |_, mut stream| {
        let tell = Arc::clone(&tell);
        Box::pin(async move {
            stream
                .write_all(format!("{STREAM_HEAD}{}", chunk(START)).as_bytes())
                .await
                .unwrap();
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            tell.notify_one();
            None
        })
    })
    .await;
    let mut out = Out::to(upstream.addr);
    let mut client = out.model();
    client.call(ASK).await;
    client.until("message_start").await;
    drop(client);
    soon(ended.notified()).await;
    upstream.next().await;
    let usage = out.one_usage().await;
    assert_eq!(usage.error.as_deref(), Some("client_gone"));
    assert_eq!((usage.status, usage.tokens.input), (200, 100));
}

#[tokio::test]
async fn a_client_that_leaves_before_an_answer_ends_the_call_upstream() {
    let ended = Arc::new(Notify::new());
    let tell = Arc::clone(&ended);
    let mut upstream = Upstream::start(move |_, mut stream| {
        let tell = Arc::clone(&tell);
        Box::pin(async move {
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            tell.notify_one();
            None
        })
    })
    .await;
    let mut out = Out::to(upstream.addr);
    let mut client = out.model();
    client.call(ASK).await;
    upstream.next().await;
    drop(client);
    soon(ended.notified()).await;
    let usage = out.one_usage().await;
    assert_eq!(
        (usage.status, usage.error.as_deref()),
        (499, Some("client_gone"))
    );
    // The model had its request of 68 bytes, which are 17 tokens at $4 a million.
    assert_eq!(usage.cost, Some(Microcents(6_800)));
}

#[tokio::test]
async fn the_sixty_fifth_call_waits_for_a_place() {
    let gate = Arc::new(Semaphore::new(0));
    let wait = Arc::clone(&gate);
    let mut upstream = Upstream::start(move |_, mut stream| {
        let wait = Arc::clone(&wait);
        Box::pin(async move {
            wait.acquire().await.unwrap().forget();
            stream
                .write_all(answer("200 OK", "", "{}").as_bytes())
                .await
                .ok()?;
            Some(stream)
        })
    })
    .await;
    let mut out = Out::to(upstream.addr);
    let mut clients = Vec::new();
    for _ in 0..65 {
        let mut client = out.model();
        client.call(ASK).await;
        clients.push(client);
    }
    for _ in 0..64 {
        upstream.next().await;
    }
    let waited = tokio::time::timeout(std::time::Duration::from_millis(100), upstream.got.recv());
    assert!(waited.await.is_err(), "the last one is not upstream");
    gate.add_permits(1);
    upstream.next().await;
    gate.add_permits(64);
    for client in &mut clients {
        client.until("{}").await;
    }
}
