//! The edge of the server: TLS, slow and many clients, and pages of other origins.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::json;
use server::config::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::world::World;

const PATIENCE: Duration = Duration::from_secs(10);

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/http/tls")
        .join(name)
}

/// What `GET /healthz` says over TLS to somebody who trusts this certificate alone.
async fn healthy(world: &World, trusted: &str) -> std::io::Result<String> {
    let certificate = CertificateDer::from_pem_file(fixture(trusted)).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(world.server.address()).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    let request = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Lets the server have a pair in a directory of the test's.
fn install(dir: &Path, certificate: &str, key: &str) {
    for (from, to) in [(certificate, "crt"), (key, "key")] {
        // By a rename, as whatever renews certificates does it.
        let fresh = dir.join(format!("{to}.new"));
        std::fs::copy(fixture(from), &fresh).unwrap();
        std::fs::rename(fresh, dir.join(to)).unwrap();
    }
}

fn files(config: &mut Config, dir: &Path) {
    config.tls.cert_file = Some(dir.join("crt"));
    config.tls.key_file = Some(dir.join("key"));
}

#[tokio::test]
async fn tls_is_spoken_with_the_certificate_that_lies_there_now() {
    let dir = tempfile::tempdir().unwrap();
    install(dir.path(), "one.crt", "one.key");
    let world = World::with(|config| files(config, dir.path())).await;
    assert!(world.server.url().starts_with("https://"));
    let answer = healthy(&world, "one.crt").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("{\"status\":\"ok\"}"));
    assert!(healthy(&world, "two.crt").await.is_err());
    // A key of another certificate, as in the middle of a change, leaves what was good.
    install(dir.path(), "two.crt", "one.key");
    assert!(healthy(&world, "one.crt").await.is_ok());
    install(dir.path(), "two.crt", "two.key");
    let changed = async {
        while healthy(&world, "two.crt").await.is_err() {
            assert!(
                healthy(&world, "one.crt").await.is_ok()
                    || healthy(&world, "two.crt").await.is_ok()
            );
        }
    };
    tokio::time::timeout(PATIENCE, changed).await.unwrap();
    assert!(healthy(&world, "one.crt").await.is_err());
}

#[tokio::test]
async fn without_tls_nothing_is_said_to_who_does_not_speak_it() {
    let dir = tempfile::tempdir().unwrap();
    install(dir.path(), "one.crt", "one.key");
    let world = World::with(|config| files(config, dir.path())).await;
    let mut plain = TcpStream::connect(world.server.address()).await.unwrap();
    plain
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    // The end may come as one or as a reset.
    let _ = tokio::time::timeout(PATIENCE, plain.read_to_end(&mut answer))
        .await
        .unwrap();
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP/1.1"));
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_told_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    for (certificate, key, message) in [
        ("one.crt", "two.key", "cannot be used with the certificate"),
        ("one.key", "one.key", "holds no certificate"),
        ("one.crt", "one.crt", "holds no key"),
    ] {
        install(dir.path(), certificate, key);
        let refused = World::start(|config| files(config, dir.path()))
            .await
            .err()
            .unwrap();
        let causes = std::iter::successors(Some(&refused as &dyn std::error::Error), |error| {
            error.source()
        });
        let told: Vec<String> = causes.map(ToString::to_string).collect();
        assert!(told.join(": ").contains(message), "{told:?}");
    }
}

/// Reads to the end of a connection that the server must end.
async fn ended(mut stream: TcpStream) -> String {
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest))
        .await
        .unwrap();
    String::from_utf8_lossy(&rest).into_owned()
}

#[tokio::test]
async fn who_dawdles_over_a_head_or_a_body_is_cut_off() {
    let world = World::with(|config| {
        config.limits.head_timeout_ms = 200;
        config.limits.body_timeout_ms = 200;
    })
    .await;
    let mut head = TcpStream::connect(world.server.address()).await.unwrap();
    head.write_all(b"GET /healthz HTTP/1.1\r\nhost:")
        .await
        .unwrap();
    let silent = TcpStream::connect(world.server.address()).await.unwrap();
    let mut body = TcpStream::connect(world.server.address()).await.unwrap();
    let request = format!(
        "POST /v1/agents HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\ncontent-length: 100\r\n\r\n{{",
        crate::world::KEY
    );
    body.write_all(request.as_bytes()).await.unwrap();
    assert!(!ended(head).await.contains("200 OK"));
    assert!(!ended(silent).await.contains("200 OK"));
    let answer = ended(body).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("did not arrive within"), "{answer}");
    world.get("/v1/agents").await.ok();
}

#[tokio::test]
async fn who_waits_in_vain_for_a_stranger_s_tls_is_not_held_up() {
    let dir = tempfile::tempdir().unwrap();
    install(dir.path(), "one.crt", "one.key");
    let world = World::with(|config| {
        files(config, dir.path());
        config.limits.head_timeout_ms = 200;
        config.limits.connections = 1;
    })
    .await;
    // It has the only place and says nothing.
    let silent = TcpStream::connect(world.server.address()).await.unwrap();
    let answer = tokio::time::timeout(PATIENCE, healthy(&world, "one.crt"))
        .await
        .unwrap();
    assert!(answer.unwrap().starts_with("HTTP/1.1 200"));
    drop(silent);
}

#[tokio::test]
async fn a_key_asks_no_faster_than_it_may() {
    let world = World::with(|config| config.limits.requests_per_second = Some(2)).await;
    let mut refused = None;
    for _ in 0..50 {
        let answer = world.get("/v1/models").await;
        if answer.status.as_u16() == 429 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("fifty requests come within a second or few");
    refused.refuses(429, "rate_limit_error", "more than 2 requests a second");
    assert_eq!(refused.headers["retry-after"], "1");
    let unguarded = world.send(world.bare(Method::GET, "/healthz")).await;
    unguarded.ok();
}

#[tokio::test]
async fn pages_of_other_origins_read_nothing_unless_they_are_listed() {
    let asks = |world: &World, origin: &str| {
        world
            .bare(Method::OPTIONS, "/v1/sessions")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "x-api-key, content-type")
    };
    let closed = World::new().await;
    let answer = closed.send(asks(&closed, "https://app.example")).await;
    assert_eq!(answer.status.as_u16(), 401);
    let get = closed
        .request(Method::GET, "/v1/agents")
        .header("origin", "https://app.example");
    for answer in [answer, closed.send(get).await] {
        let sent = answer
            .headers
            .keys()
            .any(|name| name.as_str().starts_with("access-control"));
        assert!(!sent, "{answer:?}");
    }

    let open =
        World::with(|config| config.cors.origins = vec!["https://app.example".to_owned()]).await;
    let answer = open.send(asks(&open, "https://app.example")).await;
    assert_eq!(answer.status.as_u16(), 204);
    assert_eq!(
        answer.headers["access-control-allow-origin"],
        "https://app.example"
    );
    assert_eq!(
        answer.headers["access-control-allow-headers"],
        "x-api-key, content-type"
    );
    let get = |origin: &str| {
        open.request(Method::GET, "/v1/agents")
            .header("origin", origin)
    };
    let answer = open.send(get("https://app.example")).await;
    assert_eq!(
        answer.headers["access-control-allow-origin"],
        "https://app.example"
    );
    assert_eq!(answer.ok()["data"], json!([]));
    let answer = open.send(get("https://app.example.evil")).await;
    assert!(!answer.headers.contains_key("access-control-allow-origin"));
    let answer = open.send(asks(&open, "https://evil.example")).await;
    assert_eq!(answer.status.as_u16(), 401);
}
