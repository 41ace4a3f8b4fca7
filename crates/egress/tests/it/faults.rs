//! An upstream that fails, and what reaches the sandbox.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::support::*;

fn quick(config: &mut egress::Config) {
    config.idle_timeout = Duration::from_millis(150);
}

#[tokio::test]
async fn a_cut_reaches_the_client_after_what_came_before_it() {
    let upstream = Upstream::start(|_, mut stream| {
        Box::pin(async move {
            stream
                .write_all(format!("{STREAM_HEAD}{}", chunk(START)).as_bytes())
                .await
                .unwrap();
            None
        })
    })
    .await;
    let mut out = Out::to(upstream.addr);
    let mut client = out.model();
    client.call(ASK).await;
    let text = client.rest().await;
    assert!(
        text.contains("message_start") && !text.ends_with("0\r\n\r\n"),
        "{text}"
    );
    let usage = out.one_usage().await;
    assert_eq!(usage.error.as_deref(), Some("upstream_cut"));
    assert_eq!((usage.tokens.input, usage.tokens.output), (100, 1));
    assert!(usage.cost.is_some(), "what was counted is billed");
}

#[tokio::test]
async fn a_stream_that_ends_without_its_end_mark_was_cut() {
    let text = format!("{STREAM_HEAD}{}0\r\n\r\n", chunk(START));
    let upstream = Upstream::saying(text).await;
    let mut out = Out::to(upstream.addr);
    let mut client = out.model();
    client.call(ASK).await;
    client.until("0\r\n\r\n").await;
    assert_eq!(out.one_usage().await.error.as_deref(), Some("upstream_cut"));
}

#[tokio::test]
async fn silence_before_an_answer_is_a_504() {
    let upstream = Upstream::start(|_, stream| {
        Box::pin(async move {
            std::future::pending::<()>().await;
            Some(stream)
        })
    })
    .await;
    let mut out = Out::with(upstream.addr, quick);
    let mut client = out.model();
    client.call(ASK).await;
    let text = client.until("}}").await;
    assert!(text.starts_with("HTTP/1.1 504"), "{text}");
    assert!(text.contains("timeout_error") && text.contains(&upstream.addr.to_string()));
    let usage = out.one_usage().await;
    assert_eq!(
        (usage.status, usage.error.as_deref()),
        (504, Some("upstream_idle"))
    );
}

#[tokio::test]
async fn silence_in_the_middle_cuts_the_stream() {
    let upstream = Upstream::start(|_, mut stream| {
        Box::pin(async move {
            stream
                .write_all(format!("{STREAM_HEAD}{}", chunk(START)).as_bytes())
                .await
                .unwrap();
            std::future::pending::<()>().await;
            Some(stream)
        })
    })
    .await;
    let mut out = Out::with(upstream.addr, quick);
    let mut client = out.model();
    client.call(ASK).await;
    let text = client.rest().await;
    assert!(text.contains("message_start") && !text.ends_with("0\r\n\r\n"));
    assert_eq!(
        out.one_usage().await.error.as_deref(),
        Some("upstream_idle")
    );
}

#[tokio::test]
async fn a_refused_connection_is_a_502() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let mut out = Out::to(addr);
    let mut client = out.model();
    client.call(ASK).await;
    let text = client.until("}}").await;
    assert!(
        text.starts_with("HTTP/1.1 502") && text.contains("api_error"),
        "{text}"
    );
    let usage = out.one_usage().await;
    assert_eq!(
        (usage.status, usage.error.as_deref()),
        (502, Some("upstream_unreachable"))
    );
    assert_eq!(usage.cost.map(|cost| cost.0), Some(0));
}

#[tokio::test]
async fn a_handshake_without_an_answer_is_a_504() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let mut out = Out::with(addr, |config| {
        config.connect_timeout = Duration::from_millis(150);
        config.upstream = format!("https://{addr}").parse().unwrap();
    });
    let mut client = out.model();
    client.call(ASK).await;
    let text = client.until("}}").await;
    assert!(
        text.starts_with("HTTP/1.1 504") && text.contains("timeout_error"),
        "{text}"
    );
    let usage = out.one_usage().await;
    assert_eq!(usage.error.as_deref(), Some("upstream_connect_timeout"));
}

#[tokio::test]
async fn an_upstream_that_hangs_up_is_a_502() {
    let upstream = Upstream::start(|_, _| Box::pin(async { None })).await;
    let mut out = Out::to(upstream.addr);
    let mut client = out.model();
    client.call(ASK).await;
    assert!(client.until("}}").await.starts_with("HTTP/1.1 502"));
    let usage = out.one_usage().await;
    assert_eq!(
        (usage.status, usage.error.as_deref()),
        (502, Some("upstream_cut"))
    );
    assert_eq!(usage.model, "claude-opus-5-5");
}
