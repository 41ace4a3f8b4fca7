//! What is set aside before a call, and upstream's rate limit.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use egress::{Microcents, Prices};
use tokio::io::AsyncWriteExt;

use crate::support::*;

fn aside(out: &Out) -> Vec<Option<u64>> {
    let reserved = out.world.reserved.lock().unwrap();
    reserved
        .iter()
        .map(|call| call.worst.map(|worst| worst.0))
        .collect()
}

#[tokio::test]
async fn the_worst_case_of_size_and_max_tokens_is_set_aside() {
    let upstream = Upstream::saying(answer("200 OK", "", "{}")).await;
    let mut out = Out::to(upstream.addr);
    let mut client = out.model();
    let ask = |max: u64| format!(r#"{{"model":"claude-opus-5-5","max_tokens":{max},"m":"x"}}"#);
    for max in [1_000, 2_000] {
        client.call(&ask(max)).await;
        client.until("{}").await;
    }
    let worst = |max: u64| {
        let bytes = ask(max).len() as u64;
        // The dearest input ($8, a cache write of an hour) and $20 of output a million, in the US.
        Some((bytes * 800 + max * 2_000) * 110 / 100)
    };
    assert_eq!(aside(&out), [worst(1_000), worst(2_000)]);
    let call = out.world.reserved.lock().unwrap()[0].clone();
    assert_eq!(
        (call.client.0.as_str(), call.model.as_str()),
        ("s1", "claude-opus-5-5")
    );
}

#[tokio::test]
async fn what_has_no_price_says_so_and_what_is_free_takes_nothing() {
    let upstream = Upstream::saying(answer("200 OK", "", "{}")).await;
    let mut out = Out::to(upstream.addr);
    let mut client = out.model();
    for body in [
        r#"{"model":"my-own","max_tokens":1}"#,
        r#"{"model":"claude-opus-5-5","max_tokens":1,"speed":"fast"}"#,
    ] {
        client.call(body).await;
        client.until("{}").await;
    }
    let count = post(ASK).replace("/v1/messages?beta=true", "/v1/messages/count_tokens");
    client.write(count).await;
    client.until("{}").await;
    assert_eq!(aside(&out), [None, None, Some(0)]);
}

#[tokio::test]
async fn an_unknown_model_costs_what_the_operator_says() {
    let body = r#"{"model":"my-own","usage":{"input_tokens":1000,"output_tokens":100,"cache_read_input_tokens":1000}}"#;
    let upstream = Upstream::saying(answer("200 OK", "", body)).await;
    let mut out = Out::with(upstream.addr, |config| {
        config.prices = Prices::builtin().with_unknown(3.0, 15.0).unwrap();
    });
    let mut client = out.model();
    client.call(r#"{"model":"my-own","max_tokens":100}"#).await;
    client.until(body).await;
    // 2,000 × $3 and 100 × $15 a million.
    assert_eq!(out.one_usage().await.cost, Some(Microcents(750_000)));
    assert!(aside(&out)[0].is_some());
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_pays_for_what_was_said() {
    let delta = format!(
        "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\"{}\"}}}}\n\n",
        "word ".repeat(400)
    );
    let said = format!("{STREAM_HEAD}{}{}", chunk(START), chunk(&delta));
    let upstream = Upstream::start(move |_, mut stream| {
        let said = said.clone();
        Box::pin(async move {
            stream.write_all(said.as_bytes()).await.ok()?;
            std::future::pending::<()>().await;
            Some(stream)
        })
    })
    .await;
    let mut out = Out::to(upstream.addr);
    let mut client = out.model();
    client.call(ASK).await;
    client.until("word \"}}").await;
    drop(client);
    let usage = out.one_usage().await;
    assert_eq!(usage.error.as_deref(), Some("client_gone"));
    // 2,000 bytes of text, four to a token; its only count so far was one.
    assert_eq!((usage.tokens.input, usage.tokens.output), (100, 500));
    assert_eq!(usage.cost, Some(Microcents(100 * 400 + 500 * 2_000)));
}

/// An upstream that refuses the first call for a second, and notes who comes when.
async fn limiting(after: &'static str) -> (Upstream, Arc<Mutex<Vec<(String, Instant)>>>) {
    let (seen, calls) = (Arc::new(Mutex::new(Vec::new())), AtomicUsize::new(0));
    let note = Arc::clone(&seen);
    let upstream = Upstream::start(move |got, mut stream| {
        let first = calls.fetch_add(1, Ordering::SeqCst) == 0;
        note.lock().unwrap().push((got.body, Instant::now()));
        Box::pin(async move {
            let text = match first {
                true => answer("429 Too Many Requests", after, "{}"),
                false => answer("200 OK", "", "{}"),
            };
            stream.write_all(text.as_bytes()).await.ok()?;
            Some(stream)
        })
    })
    .await;
    (upstream, seen)
}

fn ask(who: &str) -> String {
    format!(r#"{{"model":"claude-opus-5-5","max_tokens":1,"who":"{who}"}}"#)
}

#[tokio::test]
async fn one_429_pauses_the_payer_and_its_clients_take_turns() {
    let (upstream, seen) = limiting("retry-after: 1\r\n").await;
    let mut out = Out::to(upstream.addr);
    // The world's payer is the part of a client's name before the dot.
    let mut first = out.model_of("w.a", None);
    first.call(&ask("first")).await;
    assert!(first.until("{}").await.starts_with("HTTP/1.1 429"));
    let mut waiting = Vec::new();
    for who in ["w.a", "w.a", "w.a", "w.b"] {
        let mut client = out.model_of(who, None);
        client.call(&ask(who)).await;
        waiting.push(client);
    }
    let mut other = out.model_of("v.c", None);
    other.call(&ask("v.c")).await;
    assert!(other.until("{}").await.starts_with("HTTP/1.1 200"));
    for client in &mut waiting {
        assert!(client.until("{}").await.starts_with("HTTP/1.1 200"));
    }
    let seen = seen.lock().unwrap();
    let names: Vec<&str> = seen
        .iter()
        .map(|(body, _)| body.split('"').nth_back(1).unwrap())
        .collect();
    assert_eq!(names[..2], ["first", "v.c"], "another payer does not wait");
    // The one call of b does not wait for all of a's.
    assert!(names[2..5].contains(&"w.b"), "{names:?}");
    assert!(seen[2].1 - seen[0].1 >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_long_429_is_its_callers_to_hear() {
    let (upstream, _) = limiting("retry-after: 3600\r\n").await;
    let mut out = Out::to(upstream.addr);
    let mut client = out.model();
    client.call(&ask("a")).await;
    assert!(client.until("{}").await.contains("retry-after: 3600"));
    client.call(&ask("a")).await;
    assert!(client.until("{}").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_is_not_sent_and_costs_nothing() {
    let (upstream, seen) = limiting("retry-after: 1\r\n").await;
    let mut out = Out::to(upstream.addr);
    let mut client = out.model();
    client.call(&ask("a")).await;
    client.until("{}").await;
    out.one_usage().await;
    let mut gone = out.model();
    gone.call(&ask("gone")).await;
    client.call(&ask("b")).await;
    drop(gone);
    assert!(client.until("{}").await.starts_with("HTTP/1.1 200"));
    out.one_usage().await;
    assert_eq!(out.world.reserved.lock().unwrap().len(), 2);
    let seen = seen.lock().unwrap();
    assert!(seen.iter().all(|(body, _)| !body.contains("gone")));
}
