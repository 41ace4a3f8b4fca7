//! Credentials: where a value goes in, where it does not, and that none comes back.

use std::convert::Infallible;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use egress::{Binding, HostPort, Hosts, Placeholder, Policy, Put, Slot};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::deciding::rule;
use crate::secure::*;
use crate::support::*;

const VALUE: &str = "s3cr3t/value+with=odd\"signs";
const PLACE: &str = "hostel_slot_abcdefghijklmnop";
const TOKEN: &str = "bearer-token-4711";

/// Says back what it was asked, as a host that is no friend of secrets does.
async fn echo(request: Request<Incoming>, heard: mpsc::Sender<Heard>) -> Response<Body> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let body = body.collect().await.unwrap().to_bytes();
    let said = |name: &str| parts.headers.get(name).cloned();
    let key = said("x-key").or_else(|| said("authorization"));
    let key = key.unwrap_or(HeaderValue::from_static("none"));
    let text = format!("{:?} {}", parts.headers, String::from_utf8_lossy(&body));
    let upgrades = parts.headers.contains_key("upgrade");
    let mut response = Response::builder().header("x-echo", &key);
    let text = match path.as_str() {
        "/json" => serde_json::to_string(key.to_str().unwrap()).unwrap(),
        "/slash" => key
            .to_str()
            .unwrap()
            .replace('"', "\\\"")
            .replace('/', "\\/"),
        _ => format!("{text} key={}", key.to_str().unwrap()),
    };
    let _ = heard
        .send(Heard {
            headers: std::mem::take(&mut parts.headers),
            body,
        })
        .await;
    let pieces = match path.as_str() {
        "/refused" if key != "Bearer renewed-token-1" => {
            response = response.status(StatusCode::UNAUTHORIZED);
            Vec::new()
        }
        "/away" => {
            let all = key.as_bytes().iter().map(|byte| match byte {
                byte if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) => {
                    char::from(*byte).to_string()
                }
                byte => format!("%{byte:02X}"),
            });
            let usual: String = all.collect();
            response = response
                .status(302)
                .header("location", format!("https://other.example/?k={usual}"));
            Vec::new()
        }
        "/gzip" => {
            response = response.header("content-encoding", "gzip");
            vec![text]
        }
        "/ws" if upgrades => {
            response = response
                .status(101)
                .header("upgrade", "websocket")
                .header("connection", "upgrade");
            let upgrading = hyper::upgrade::on(Request::from_parts(parts, ()));
            let key = key.as_bytes().to_vec();
            tokio::spawn(async move {
                let mut io = TokioIo::new(upgrading.await.unwrap());
                let mut asked = [0; 4];
                io.read_exact(&mut asked).await.unwrap();
                io.write_all(b"pong").await.unwrap();
                io.read_exact(&mut asked).await.unwrap();
                // In two pieces, so that each alone is not the whole.
                let (first, last) = key.split_at(key.len() / 2);
                for piece in [first, last] {
                    let _ = io.write_all(piece).await;
                    let _ = io.flush().await;
                }
            });
            Vec::new()
        }
        "/whole" => vec![text],
        _ => text
            .as_bytes()
            .chunks(5)
            .map(|piece| String::from_utf8_lossy(piece).into_owned())
            .collect(),
    };
    let mut frames: Vec<Result<Frame<Bytes>, Infallible>> = pieces
        .into_iter()
        .map(|piece| Ok(Frame::data(Bytes::from(piece))))
        .collect();
    if path == "/trailers" {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-last", key);
        frames.push(Ok(Frame::trailers(trailers)));
        response = response.header("trailer", "x-last");
    }
    let body = match path.as_str() {
        "/whole" => {
            let data = frames.pop().unwrap().unwrap().into_data().unwrap();
            Full::new(data).map_err(|never| match never {}).boxed()
        }
        _ => StreamBody::new(futures::stream::iter(frames))
            .map_err(|never| match never {})
            .boxed(),
    };
    response.body(body).unwrap()
}

struct Heard {
    headers: HeaderMap,
    body: Bytes,
}

impl Heard {
    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("-", |value| value.to_str().unwrap())
    }
}

struct Stage {
    out: Out,
    host: Host,
    heard: mpsc::Receiver<Heard>,
}

fn swap(header: bool, body: bool, hosts: Hosts) -> Binding {
    Binding {
        slot: Slot("vcrd_swap".into()),
        put: Put::Swap {
            placeholder: Placeholder::new(PLACE),
            hosts,
            header,
            body,
        },
    }
}

impl Stage {
    /// A host that may be asked anything, with these bindings (made for its port).
    async fn new(alpn: &[&str], bindings: impl FnOnce(u16) -> Vec<Binding>) -> Stage {
        let operator = Operator::new();
        let (sender, heard) = mpsc::channel(64);
        let answer = move |request| echo(request, sender.clone());
        let host = Host::start(operator.serving("api.corp", alpn), answer).await;
        let port = host.addr.port();
        let rules = vec![rule(true, "api.corp", port, &[], None)];
        let out = out(&operator, "api.corp", port, rules);
        let mut secrets = out.world.secrets.lock().unwrap();
        secrets.insert("vcrd_swap".into(), VALUE.into());
        secrets.insert("vcrd_bearer".into(), TOKEN.into());
        drop(secrets);
        let stage = Stage { out, host, heard };
        stage.bind(bindings(port));
        stage
    }

    async fn swapping(header: bool, body: bool) -> Stage {
        let listed = |port| Hosts::Listed(vec![format!("api.corp:{port}").parse().unwrap()]);
        Stage::new(&["http/1.1"], |port| vec![swap(header, body, listed(port))]).await
    }

    async fn bearing(path: &str) -> Stage {
        Stage::new(&["http/1.1"], |port| vec![bearer(port, path)]).await
    }

    fn bind(&self, bindings: Vec<Binding>) {
        self.out.world.policy.send_modify(|policy| {
            *policy = Arc::new(Policy {
                bound: bindings.into(),
                ..(**policy).clone()
            });
        });
    }

    fn place(&self) -> String {
        format!("api.corp:{}", self.host.addr.port())
    }

    async fn tls(
        &mut self,
        alpn: &[&str],
    ) -> tokio_rustls::client::TlsStream<tokio::io::DuplexStream> {
        let (place, trusted) = (self.place(), self.out.authority.certificate().to_owned());
        self.out
            .tls(&place, "api.corp", &trusted, alpn)
            .await
            .unwrap()
    }

    /// One request on a connection of its own; all that came back.
    async fn ask(&mut self, line: &str, headers: &str, body: &str) -> String {
        let place = self.place();
        let mut tls = self.tls(&["http/1.1"]).await;
        let length = match body {
            "" => String::new(),
            body if headers.contains("chunked") => {
                assert!(body.ends_with("0\r\n\r\n"));
                String::new()
            }
            body => format!("Content-Length: {}\r\n", body.len()),
        };
        let request = format!(
            "{line} HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n{headers}{length}\r\n{body}"
        );
        tls.write_all(request.as_bytes()).await.unwrap();
        let mut read = Vec::new();
        let _ = soon(tls.read_to_end(&mut read)).await;
        String::from_utf8(read).unwrap()
    }
}

fn bearer(port: u16, path: &str) -> Binding {
    Binding {
        slot: Slot("vcrd_bearer".into()),
        put: Put::Bearer {
            server: HostPort {
                host: "api.corp".into(),
                port,
            },
            path: path.into(),
        },
    }
}

/// Nothing of a value is in what the sandbox got, in no spelling.
fn clean(said: &str) {
    let encoded = STANDARD.encode(format!("user:{VALUE}"));
    let json = serde_json::to_string(VALUE).unwrap();
    for secret in [
        VALUE,
        TOKEN,
        &encoded,
        json.trim_matches('"'),
        "s3cr3t%2Fvalue",
        "s3cr3t\\/",
        "renewed-token",
    ] {
        assert!(!said.contains(secret), "{secret} is in {said}");
    }
}

#[tokio::test]
async fn a_placeholder_in_a_header_or_body_becomes_the_value_and_the_value_never_comes_back() {
    let mut stage = Stage::swapping(true, true).await;
    let basic = STANDARD.encode(format!("user:{PLACE}"));
    let sent = STANDARD.encode(format!("user:{VALUE}"));
    let chunked = format!(
        "b\r\n{}\r\n{:x}\r\n{}\r\n0\r\n\r\n",
        &format!("a={PLACE}")[..11],
        PLACE.len() - 9,
        &PLACE[9..]
    );
    let long = "x".repeat(1 << 20);
    for (path, headers, body, name, header, heard) in [
        (
            "/",
            format!("X-Key: {PLACE}\r\n"),
            String::new(),
            "x-key",
            VALUE.to_owned(),
            String::new(),
        ),
        (
            "/whole",
            format!("Authorization: token {PLACE}\r\n"),
            String::new(),
            "authorization",
            format!("token {VALUE}"),
            String::new(),
        ),
        (
            "/",
            format!("Authorization: basic {basic}\r\n"),
            String::new(),
            "authorization",
            format!("Basic {sent}"),
            String::new(),
        ),
        (
            "/json",
            format!("X-Key: {PLACE}\r\n"),
            String::new(),
            "x-key",
            VALUE.to_owned(),
            String::new(),
        ),
        (
            "/slash",
            format!("X-Key: {PLACE}\r\n"),
            String::new(),
            "x-key",
            VALUE.to_owned(),
            String::new(),
        ),
        (
            "/",
            String::new(),
            format!("{{\"k\":\"{PLACE}\"}}"),
            "content-length",
            (8 + VALUE.len()).to_string(),
            format!("{{\"k\":\"{VALUE}\"}}"),
        ),
        (
            "/",
            "Transfer-Encoding: chunked\r\n".to_owned(),
            chunked,
            "transfer-encoding",
            "chunked".to_owned(),
            format!("a={VALUE}"),
        ),
        (
            "/whole",
            String::new(),
            format!("{long}{PLACE}"),
            "transfer-encoding",
            "chunked".to_owned(),
            format!("{long}{VALUE}"),
        ),
        (
            "/trailers",
            format!("X-Key: {PLACE}\r\nTE: trailers\r\n"),
            String::new(),
            "x-key",
            VALUE.to_owned(),
            String::new(),
        ),
    ] {
        let said = stage.ask(&format!("POST {path}"), &headers, &body).await;
        assert!(said.starts_with("HTTP/1.1 200 "), "{path} {said}");
        clean(&said);
        if headers.contains(PLACE) && path != "/slash" {
            assert!(said.contains(PLACE), "{said}");
        }
        let got = stage.heard.recv().await.unwrap();
        assert_eq!(got.header(name), header, "{path}");
        assert_eq!(String::from_utf8_lossy(&got.body), heard, "{path}");
        assert_eq!(got.header("accept-encoding"), "identity");
        let decision = stage.out.decision().await;
        assert_eq!(decision.credential.as_deref(), Some("vcrd_swap"), "{path}");
        assert!(!format!("{decision:?}").contains("s3cr3t"));
    }
}

#[tokio::test]
async fn a_placeholder_elsewhere_in_a_head_refuses_the_request() {
    let mut stage = Stage::swapping(true, true).await;
    let basic = STANDARD.encode(format!("{PLACE}:x"));
    for (line, headers, place) in [
        (format!("GET /?k={PLACE}"), String::new(), "in the address"),
        (format!("GET /{PLACE}/x"), String::new(), "in the address"),
        (
            "GET /".to_owned(),
            format!("Cookie: a={PLACE}\r\n"),
            "in the header `cookie`",
        ),
        (
            "GET /".to_owned(),
            format!("Referer: https://x/{PLACE}\r\n"),
            "in the header `referer`",
        ),
        (
            "GET /".to_owned(),
            format!("User-Agent: {PLACE}\r\n"),
            "in the header `user-agent`",
        ),
    ] {
        let said = stage.ask(&line, &headers, "").await;
        assert!(said.starts_with("HTTP/1.1 403 "), "{said}");
        assert!(
            said.contains(place) && said.contains("rule: credential-place"),
            "{said}"
        );
        clean(&said);
        let decision = stage.out.decision().await;
        assert_eq!(
            (decision.rule.as_str(), decision.allowed),
            ("credential-place", false)
        );
        assert_eq!(decision.credential.as_deref(), Some("vcrd_swap"));
    }
    assert!(stage.heard.try_recv().is_err(), "nothing of it was asked");

    let mut stage = Stage::swapping(false, true).await;
    for headers in [
        format!("X-Key: {PLACE}\r\n"),
        format!("Authorization: Basic {basic}\r\n"),
    ] {
        let said = stage.ask("GET /", &headers, "").await;
        assert!(said.contains("is not put in there"), "{said}");
    }
}

#[tokio::test]
async fn where_no_value_goes_a_placeholder_is_a_text_like_any_other() {
    // In a body that gets none, in base64 that is not Basic, in a compressed body, in part.
    let mut stage = Stage::swapping(true, false).await;
    let encoded = STANDARD.encode(PLACE);
    for (headers, body) in [
        (String::new(), PLACE.to_owned()),
        (format!("X-Key: {encoded}\r\n"), encoded.clone()),
        (
            format!("X-Key: {}\r\n", &PLACE[..20]),
            PLACE[20..].to_owned(),
        ),
    ] {
        let said = stage.ask("POST /", &headers, &body).await;
        clean(&said);
        let got = stage.heard.recv().await.unwrap();
        assert_eq!(got.body, body.as_bytes());
        assert_eq!(stage.out.decision().await.credential, None);
    }
    let mut stage = Stage::swapping(true, true).await;
    let said = stage
        .ask("POST /", "Content-Encoding: gzip\r\n", PLACE)
        .await;
    clean(&said);
    assert_eq!(stage.heard.recv().await.unwrap().body, PLACE.as_bytes());
}

#[tokio::test]
async fn a_host_that_a_credential_is_not_for_gets_no_value() {
    let elsewhere = |_| {
        vec![swap(
            true,
            true,
            Hosts::Listed(vec!["other.corp".parse().unwrap()]),
        )]
    };
    let mut stage = Stage::new(&["http/1.1"], elsewhere).await;
    // Its TLS is its own: what is in it is not looked at, and means nothing.
    let place = stage.place();
    let trusted = stage.out.authority.certificate().to_owned();
    assert!(
        stage
            .out
            .tls(&place, "api.corp", &trusted, &[])
            .await
            .is_err()
    );
    stage.out.decision().await;
    // Where a rule has requests looked at, it is refused and told.
    let port = stage.host.addr.port();
    stage
        .out
        .rules(vec![rule(true, "api.corp", port, &["GET"], None)]);
    stage.bind(elsewhere(port));
    let said = stage.ask("GET /", &format!("X-Key: {PLACE}\r\n"), "").await;
    assert!(said.contains("is not for this host"), "{said}");
    clean(&said);
    // Without hosts of its own it goes where the environment says a name.
    stage.bind(vec![swap(true, true, Hosts::Named)]);
    let said = stage.ask("GET /", &format!("X-Key: {PLACE}\r\n"), "").await;
    assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
    clean(&said);
    assert_eq!(stage.heard.recv().await.unwrap().header("x-key"), VALUE);
}

#[tokio::test]
async fn without_tls_no_value_is_sent() {
    let mut upstream = Upstream::saying(answer("200 OK", "", "{}")).await;
    let port = upstream.addr.port();
    let operator = Operator::new();
    let mut out = out(
        &operator,
        "api.corp",
        port,
        vec![rule(true, "api.corp", port, &[], None)],
    );
    let hosts = Hosts::Listed(vec![format!("api.corp:{port}").parse().unwrap()]);
    out.world.policy.send_modify(|policy| {
        *policy = Arc::new(Policy {
            bound: vec![swap(true, true, hosts)].into(),
            ..(**policy).clone()
        });
    });
    out.world
        .secrets
        .lock()
        .unwrap()
        .insert("vcrd_swap".into(), VALUE.into());
    for (headers, body, refused) in [
        (format!("X-Key: {PLACE}\r\n"), "", true),
        (String::new(), PLACE, false),
    ] {
        let mut client = out.proxy();
        let length = body.len();
        client
            .write(format!("POST http://api.corp:{port}/ HTTP/1.1\r\nHost: api.corp:{port}\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"))
            .await;
        let said = client.rest().await;
        assert_eq!(said.contains("is not sent without TLS"), refused, "{said}");
        clean(&said);
    }
    assert_eq!(upstream.next().await.body, PLACE);
}

#[tokio::test]
async fn answers_that_cannot_be_searched_are_refused_and_redirects_carry_nothing() {
    let mut stage = Stage::swapping(true, true).await;
    let headers = format!("X-Key: {PLACE}\r\nAccept-Encoding: gzip\r\nRange: bytes=0-5\r\n");
    let said = stage.ask("GET /gzip", &headers, "").await;
    assert!(
        said.starts_with("HTTP/1.1 502 ") && said.contains("encoded-answer"),
        "{said}"
    );
    clean(&said);
    assert_eq!(stage.heard.recv().await.unwrap().header("range"), "-");
    let said = stage.ask("GET /away", &headers, "").await;
    clean(&said);
    assert!(
        said.contains(&format!("location: https://other.example/?k={PLACE}")),
        "{said}"
    );
}

#[tokio::test]
async fn http_2_and_its_trailers_are_searched_as_well() {
    let listed = |port| Hosts::Listed(vec![format!("api.corp:{port}").parse().unwrap()]);
    let mut stage = Stage::new(&["h2", "http/1.1"], |port| {
        vec![swap(true, true, listed(port))]
    })
    .await;
    let tls = stage.tls(&["h2"]).await;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls))
            .await
            .unwrap();
    let task = tokio::spawn(connection);
    let request = Request::post(format!("https://{}/trailers", stage.place()))
        .header("x-key", PLACE)
        .body(Full::new(Bytes::from(format!("body {PLACE}"))))
        .unwrap();
    let response = soon(sender.send_request(request)).await.unwrap();
    assert_eq!(response.headers()["x-echo"], PLACE);
    let body = soon(response.into_body().collect()).await.unwrap();
    assert_eq!(body.trailers().unwrap()["x-last"], PLACE);
    let text = String::from_utf8(body.to_bytes().to_vec()).unwrap();
    clean(&text);
    assert!(text.contains(PLACE));
    let got = stage.heard.recv().await.unwrap();
    assert_eq!(
        (got.header("x-key"), &got.body[..]),
        (VALUE, format!("body {VALUE}").as_bytes())
    );
    task.abort();
}

#[tokio::test]
async fn a_websocket_that_says_a_value_ends_and_frames_get_none() {
    let mut stage = Stage::swapping(true, true).await;
    let place = stage.place();
    let mut tls = stage.tls(&["http/1.1"]).await;
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: {place}\r\nConnection: upgrade\r\nUpgrade: websocket\r\nX-Key: {PLACE}\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    );
    tls.write_all(request.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        assert!(soon(tls.read_buf(&mut read)).await.unwrap() > 0);
    }
    clean(&String::from_utf8_lossy(&read));
    let got = stage.heard.recv().await.unwrap();
    assert_eq!(
        (got.header("x-key"), got.header("sec-websocket-extensions")),
        (VALUE, "-")
    );
    tls.write_all(b"ping").await.unwrap();
    let mut pong = [0; 4];
    soon(tls.read_exact(&mut pong)).await.unwrap();
    assert_eq!(&pong, b"pong");
    tls.write_all(b"tell").await.unwrap();
    let mut rest = Vec::new();
    let _ = soon(tls.read_to_end(&mut rest)).await;
    assert!(rest.is_empty(), "{rest:?}");
    drop(tls);
    assert_eq!(stage.out.decision().await.cut, Some("credential-echoed"));
}

#[tokio::test]
async fn a_server_gets_its_token_whatever_the_sandbox_says_and_its_neighbours_do_not() {
    let mut stage = Stage::bearing("/mcp").await;
    for (path, expected) in [
        ("/mcp", "Bearer bearer-token-4711"),
        ("/mcp/more", "Bearer bearer-token-4711"),
        ("/mcpother", "Bearer own"),
        ("/", "Bearer own"),
        ("/x/../mcp", "Bearer own"),
    ] {
        let said = stage
            .ask(
                &format!("POST {path}"),
                "Authorization: Bearer own\r\n",
                "{}",
            )
            .await;
        clean(&said);
        let got = stage.heard.recv().await.unwrap();
        assert_eq!(got.header("authorization"), expected, "{path}");
        let carried = expected.ends_with("4711").then_some("vcrd_bearer");
        assert_eq!(stage.out.decision().await.credential.as_deref(), carried);
    }
    let port = stage.host.addr.port();
    let listed = Hosts::Listed(vec![format!("api.corp:{port}").parse().unwrap()]);
    stage.bind(vec![bearer(port, "/mcp"), swap(true, true, listed)]);
    let said = stage
        .ask(
            "POST /mcp",
            &format!("Authorization: Bearer {PLACE}\r\n"),
            "{}",
        )
        .await;
    assert!(said.contains("rule: credential-ambiguous"), "{said}");
    clean(&said);
}

#[tokio::test]
async fn a_token_that_is_refused_is_renewed_once_and_the_request_sent_again() {
    let mut stage = Stage::bearing("").await;
    let said = stage.ask("POST /refused", "", "{}").await;
    assert!(
        said.starts_with("HTTP/1.1 401 "),
        "nothing to renew it with: {said}"
    );
    stage.heard.recv().await.unwrap();
    let renewed = Some("renewed-token-1".to_owned());
    stage
        .out
        .world
        .renewals
        .lock()
        .unwrap()
        .insert("vcrd_bearer".into(), renewed);
    let said = stage.ask("POST /refused", "", "{\"id\":1}").await;
    assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
    clean(&said);
    for token in ["Bearer bearer-token-4711", "Bearer renewed-token-1"] {
        let got = stage.heard.recv().await.unwrap();
        assert_eq!(
            (got.header("authorization"), &got.body[..]),
            (token, &b"{\"id\":1}"[..])
        );
    }
    let old = ("vcrd_bearer".to_owned(), "old-token-1".to_owned());
    stage.out.world.secrets.lock().unwrap().extend([old]);
    stage
        .out
        .world
        .renewals
        .lock()
        .unwrap()
        .insert("vcrd_bearer".into(), None);
    let said = stage.ask("POST /refused", "", "{}").await;
    assert!(said.contains("rule: credential-ended"), "{said}");
}

#[tokio::test]
async fn what_is_archived_or_rotated_holds_for_the_next_request() {
    let mut stage = Stage::swapping(true, true).await;
    let headers = format!("X-Key: {PLACE}\r\n");
    let secrets = |out: &Out, value: Option<&str>| {
        let mut secrets = out.world.secrets.lock().unwrap();
        match value {
            Some(value) => secrets.insert("vcrd_swap".into(), value.into()),
            None => secrets.remove("vcrd_swap"),
        };
    };
    secrets(&stage.out, Some("another-value-1"));
    let said = stage.ask("GET /", &headers, "").await;
    assert!(
        said.contains(PLACE) && !said.contains("another-value"),
        "{said}"
    );
    assert_eq!(
        stage.heard.recv().await.unwrap().header("x-key"),
        "another-value-1"
    );
    secrets(&stage.out, None);
    let said = stage.ask("GET /", &headers, "").await;
    assert!(said.contains("rule: credential-place"), "{said}");
}

#[tokio::test]
async fn a_tunnel_that_is_carried_unread_ends_when_its_host_gets_a_credential() {
    let operator = Operator::new();
    let (sender, _heard) = mpsc::channel(1);
    let host = operator.serving("api.corp", &["http/1.1"]);
    let host = Host::start(host, move |request| echo(request, sender.clone())).await;
    let port = host.addr.port();
    let mut out = out(
        &operator,
        "api.corp",
        port,
        vec![rule(true, "api.corp", port, &[], None)],
    );
    let place = format!("api.corp:{port}");
    let tls = out
        .tls(&place, "api.corp", &operator.certificate, &[])
        .await;
    let mut tls = tls.unwrap();
    out.world.policy.send_modify(|policy| {
        *policy = Arc::new(Policy {
            bound: vec![bearer(port, "")].into(),
            ..(**policy).clone()
        });
    });
    let mut rest = Vec::new();
    let _ = soon(tls.read_to_end(&mut rest)).await;
    assert_eq!(out.decision().await.cut, Some("policy-changed"));
}
