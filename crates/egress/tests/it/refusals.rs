//! What the model way does not let through.

use crate::support::*;

async fn unreached(upstream: &mut Upstream) {
    tokio::task::yield_now().await;
    assert!(upstream.got.try_recv().is_err(), "upstream saw nothing");
}

#[tokio::test]
async fn other_paths_are_refused_by_name() {
    let mut upstream = Upstream::saying(stream()).await;
    let mut out = Out::to(upstream.addr);
    let mut client = out.model();
    client
        .write("GET /v1/organizations/me HTTP/1.1\r\nhost: x\r\n\r\n")
        .await;
    let text = client.until("}}").await;
    assert!(text.starts_with("HTTP/1.1 404"), "{text}");
    assert!(text.contains("/v1/organizations/me") && text.contains("model-paths"));
    client
        .write("GET http://evil.example/secret HTTP/1.1\r\nhost: evil.example\r\n\r\n")
        .await;
    assert!(client.until("}}").await.starts_with("HTTP/1.1 404"));
    client
        .write("CONNECT evil.example:443 HTTP/1.1\r\nhost: evil.example\r\n\r\n")
        .await;
    assert!(client.until("}}").await.starts_with("HTTP/1.1 404"));
    unreached(&mut upstream).await;
    assert!(out.usage.try_recv().is_err());
}

#[tokio::test]
async fn an_unknown_client_is_refused() {
    let mut upstream = Upstream::saying(stream()).await;
    let mut out = Out::to(upstream.addr);
    out.world
        .unknown
        .store(true, std::sync::atomic::Ordering::SeqCst);
    let mut client = out.model();
    client.call(ASK).await;
    let text = client.until("}}").await;
    assert!(
        text.starts_with("HTTP/1.1 403") && text.contains("unknown-client"),
        "{text}"
    );
    assert!(out.world.reserved.lock().unwrap().is_empty());
    unreached(&mut upstream).await;
}

#[tokio::test]
async fn a_seat_calls_with_its_own_key_alone() {
    let mut upstream = Upstream::saying(answer("200 OK", "", "{}")).await;
    let mut out = Out::to(upstream.addr);
    let mut other = out.model_of("s1", Some("seat-1"));
    other.call(ASK).await;
    let text = other.until("}}").await;
    assert!(
        text.starts_with("HTTP/1.1 401") && text.contains("authentication_error"),
        "{text}"
    );
    other
        .write("GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n")
        .await;
    assert!(other.until("}}").await.starts_with("HTTP/1.1 401"));
    unreached(&mut upstream).await;
    assert!(out.usage.try_recv().is_err(), "nobody is charged for it");
    other
        .write("GET /api/hello HTTP/1.1\r\nhost: x\r\n\r\n")
        .await;
    assert!(other.until("{}").await.starts_with("HTTP/1.1 200"));
    let mut own = out.model_of("s1", Some("placeholder"));
    own.call(ASK).await;
    assert!(own.until("{}").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_body_that_is_no_request_is_a_400() {
    let mut upstream = Upstream::saying(stream()).await;
    let mut out = Out::to(upstream.addr);
    let mut client = out.model();
    client.call(r#"{"model":"a","model":"b"}"#).await;
    let text = client.until("}}").await;
    assert!(
        text.starts_with("HTTP/1.1 400") && text.contains("whole-request"),
        "{text}"
    );
    unreached(&mut upstream).await;
    assert!(out.world.reserved.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_spent_budget_refuses_with_its_own_words() {
    let mut upstream = Upstream::saying(stream()).await;
    let mut out = Out::to(upstream.addr);
    *out.world.refuse.lock().unwrap() = Some("the budget of this session is spent");
    let mut client = out.model();
    client.call(ASK).await;
    let text = client.until("}}").await;
    assert!(
        text.starts_with("HTTP/1.1 402") && text.contains("the budget of this session is spent")
    );
    assert!(out.usage.try_recv().is_err(), "it used nothing");
    unreached(&mut upstream).await;
}

#[tokio::test]
async fn a_missing_key_is_said_in_a_way_that_is_not_retried() {
    let mut upstream = Upstream::saying(stream()).await;
    let mut out = Out::to(upstream.addr);
    *out.world.key.lock().unwrap() = None;
    let mut client = out.model();
    client.call(ASK).await;
    let text = client.until("}}").await;
    assert!(
        text.starts_with("HTTP/1.1 403") && text.contains("no credential is set"),
        "{text}"
    );
    unreached(&mut upstream).await;
}

#[tokio::test]
async fn a_body_above_the_bound_is_a_413_by_its_length() {
    let mut upstream = Upstream::saying(stream()).await;
    let mut out = Out::to(upstream.addr);
    let mut client = out.model();
    let length = 32 * 1024 * 1024 + 1;
    client
        .write(format!(
            "POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n"
        ))
        .await;
    let text = client.until("}}").await;
    assert!(
        text.starts_with("HTTP/1.1 413") && text.contains("request_too_large"),
        "{text}"
    );
    unreached(&mut upstream).await;
}

#[tokio::test]
async fn a_body_above_the_bound_is_a_413_by_its_bytes() {
    let upstream = Upstream::saying(stream()).await;
    let mut out = Out::to(upstream.addr);
    let Client(io) = out.model();
    let (read, mut write) = tokio::io::split(io);
    let feeder = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        let head = "POST /v1/messages HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
        write.write_all(head.as_bytes()).await.unwrap();
        let piece = chunk(&"x".repeat(1024 * 1024));
        // Ends with an error once the connection is closed on it.
        for _ in 0..40 {
            if write.write_all(piece.as_bytes()).await.is_err() {
                break;
            }
        }
        write
    });
    let mut bytes = Vec::new();
    let mut read = read;
    while !String::from_utf8_lossy(&bytes).contains("}}") {
        use tokio::io::AsyncReadExt;
        assert!(soon(read.read_buf(&mut bytes)).await.unwrap() > 0);
    }
    assert!(bytes.starts_with(b"HTTP/1.1 413"));
    feeder.abort();
}

#[tokio::test]
async fn a_head_above_the_bound_is_a_431() {
    let mut upstream = Upstream::saying(stream()).await;
    let mut out = Out::to(upstream.addr);
    let mut client = out.model();
    let headers: String = (0..101).map(|at| format!("x-{at}: y\r\n")).collect();
    client
        .write(format!("GET /v1/models HTTP/1.1\r\n{headers}\r\n"))
        .await;
    assert!(client.rest().await.starts_with("HTTP/1.1 431"));
    unreached(&mut upstream).await;
}

#[tokio::test]
async fn a_request_of_two_lengths_smuggles_nothing() {
    for lengths in [
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
    ] {
        let mut upstream = Upstream::saying(answer("200 OK", "", "{}")).await;
        let mut out = Out::to(upstream.addr);
        let mut client = out.model();
        let smuggled = "GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n";
        client
            .write(format!(
                "POST /v1/messages HTTP/1.1\r\nhost: x\r\n{lengths}\r\n0\r\n\r\n{smuggled}"
            ))
            .await;
        // One answer; then the connection ends. However it is framed, there is no
        // request in it.
        let text = client.rest().await;
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{text}");
        assert!(text.starts_with("HTTP/1.1 400"), "{text}");
        unreached(&mut upstream).await;
    }
}

#[tokio::test]
async fn conflicting_lengths_are_a_400() {
    let mut upstream = Upstream::saying(stream()).await;
    let mut out = Out::to(upstream.addr);
    let mut client = out.model();
    client.write("POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab").await;
    assert!(client.rest().await.starts_with("HTTP/1.1 400"));
    unreached(&mut upstream).await;
}
