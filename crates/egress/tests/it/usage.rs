//! What is counted and what it costs.

use egress::{Microcents, Tokens};

use crate::support::*;

#[tokio::test]
async fn a_stream_is_counted_and_priced() {
    let upstream = Upstream::saying(stream()).await;
    let mut out = Out::to(upstream.addr);
    let mut client = out.model();
    client.call(ASK).await;
    client.until("0\r\n\r\n").await;
    let usage = out.one_usage().await;
    assert_eq!(
        usage.tokens,
        Tokens {
            input: 100,
            output: 50,
            ..Tokens::default()
        }
    );
    // 100 × $4 and 50 × $20 a million.
    assert_eq!(usage.cost, Some(Microcents(140_000)));
    assert_eq!((usage.status, usage.error), (200, None));
    assert_eq!(usage.path, "/v1/messages");
    assert_eq!(usage.request_id.as_deref(), Some("req_7"));
    assert!(usage.time_to_first_byte.unwrap() <= usage.latency);
}

#[tokio::test]
async fn a_json_answer_is_counted_and_priced() {
    let body = r#"{"type":"message","model":"claude-haiku-4-5-20251001","usage":{"input_tokens":10,"output_tokens":2}}"#;
    let upstream = Upstream::saying(answer("200 OK", "", body)).await;
    let mut out = Out::to(upstream.addr);
    let mut client = out.model();
    client.call(ASK).await;
    client.until(body).await;
    let usage = out.one_usage().await;
    assert_eq!(
        usage.model, "claude-haiku-4-5-20251001",
        "the one that answered"
    );
    assert_eq!(usage.cost, Some(Microcents(2_000)));
    assert_eq!(usage.error, None);
}

#[tokio::test]
async fn an_unknown_model_has_no_cost() {
    let body = r#"{"model":"my-own","usage":{"input_tokens":10,"output_tokens":2}}"#;
    let upstream = Upstream::saying(answer("200 OK", "", body)).await;
    let mut out = Out::to(upstream.addr);
    let mut client = out.model();
    client.call(ASK).await;
    client.until(body).await;
    let usage = out.one_usage().await;
    assert_eq!((usage.cost, usage.tokens.input), (None, 10));
}

#[tokio::test]
async fn counting_tokens_is_free() {
    let upstream = Upstream::saying(answer("200 OK", "", r#"{"input_tokens":10}"#)).await;
    let mut out = Out::to(upstream.addr);
    let mut client = out.model();
    client
        .write(post(ASK).replace("/v1/messages?beta=true", "/v1/messages/count_tokens"))
        .await;
    client.until("10}").await;
    let usage = out.one_usage().await;
    assert_eq!(
        (usage.cost, usage.tokens),
        (Some(Microcents(0)), Tokens::default())
    );
    assert_eq!(usage.path, "/v1/messages/count_tokens");
}

#[tokio::test]
async fn a_client_that_leaves_after_the_end_mark_had_it_all() {
    let text = format!("{STREAM_HEAD}{}{}", chunk(START), chunk(END));
    let upstream = Upstream::saying(text).await;
    let mut out = Out::to(upstream.addr);
    let mut client = out.model();
    client.call(ASK).await;
    client.until("message_stop\"}").await;
    drop(client);
    let usage = out.one_usage().await;
    assert_eq!((usage.error, usage.tokens.output), (None, 50));
}

#[tokio::test]
async fn the_scripted_model_is_counted_like_the_real_one() {
    let model = model::Model::bind(([127, 0, 0, 1], 0).into())
        .await
        .unwrap()
        .spawn();
    let mut out = Out::to(model.addr());
    let mut client = out.model();
    let body = r#"{"model":"claude-opus-5-5","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"@say hello world"}]}"#;
    client.call(body).await;
    client.until("message_stop\"}").await;
    drop(client);
    let usage = out.one_usage().await;
    assert_eq!(
        (usage.tokens.input, usage.tokens.output),
        (body.len().div_ceil(4) as u64, 3)
    );
    assert!(usage.cost.is_some());
    model.stop().await;
}
