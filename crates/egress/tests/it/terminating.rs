//! TLS: what is carried unread, what ends here, and what is refused.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::deciding::rule;
use crate::secure::*;
use crate::support::*;

const BOTH: [&str; 2] = ["h2", "http/1.1"];

fn text(text: &'static str) -> Body {
    Full::new(Bytes::from_static(text.as_bytes()))
        .map_err(|never| match never {})
        .boxed()
}

/// Says what it was asked.
pub(crate) async fn saying(request: Request<Incoming>) -> Response<Body> {
    let headers = request.headers();
    let host = headers
        .get("host")
        .map_or("-", |host| host.to_str().unwrap());
    let authority = request.uri().authority().map_or("-", |name| name.as_str());
    let line = format!(
        "{} {} {:?} host={host} authority={authority}",
        request.method(),
        request.uri().path(),
        request.version()
    );
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let said = format!("{line} body={}", String::from_utf8_lossy(&body));
    Response::new(
        Full::new(Bytes::from(said))
            .map_err(|never| match never {})
            .boxed(),
    )
}

struct Stage {
    out: Out,
    host: Host,
    authority: String,
}

async fn stage(alpn: &[&str], path: &str) -> Stage {
    let operator = Operator::new();
    let host = Host::start(operator.serving("api.corp", alpn), saying).await;
    let port = host.addr.port();
    let rules = vec![rule(true, "api.corp", port, &[], Some(path))];
    let out = out(&operator, "api.corp", port, rules);
    let authority = out.authority.certificate().to_owned();
    Stage {
        out,
        host,
        authority,
    }
}

impl Stage {
    fn place(&self) -> String {
        format!("api.corp:{}", self.host.addr.port())
    }

    async fn tls(
        &mut self,
        alpn: &[&str],
    ) -> tokio_rustls::client::TlsStream<tokio::io::DuplexStream> {
        let (place, trusted) = (self.place(), self.authority.clone());
        self.out
            .tls(&place, "api.corp", &trusted, alpn)
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn requests_over_http_1_are_decided_and_reach_the_verified_host() {
    let mut stage = stage(&BOTH, "/a*").await;
    let place = stage.place();
    let mut tls = stage.tls(&["http/1.1"]).await;
    for (path, status, expected) in [
        (
            "/a?q=1",
            200,
            format!("GET /a HTTP/1.1 host={place} authority=- body="),
        ),
        (
            "/ab",
            200,
            format!("GET /ab HTTP/1.1 host={place} authority=- body="),
        ),
        ("/b", 403, "(rule: allowed-hosts)".to_owned()),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {place}\r\n\r\n");
        tls.write_all(request.as_bytes()).await.unwrap();
        let mut read = Vec::new();
        while !String::from_utf8_lossy(&read).contains(&expected) {
            assert!(soon(tls.read_buf(&mut read)).await.unwrap() > 0, "{read:?}");
        }
        assert!(read.starts_with(format!("HTTP/1.1 {status} ").as_bytes()));
        let decision = stage.out.decision().await;
        assert_eq!(
            (decision.status, decision.path.as_deref()),
            (Some(status), path.split('?').next())
        );
    }
}

type Sender = hyper::client::conn::http2::SendRequest<Body>;

async fn two(stage: &mut Stage) -> (Sender, tokio::task::JoinHandle<()>) {
    let tls = stage.tls(&["h2"]).await;
    assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let shaken =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls)).await;
    let (sender, connection) = shaken.unwrap();
    let task = tokio::spawn(async move {
        let _ = connection.await;
    });
    (sender, task)
}

async fn read(response: Response<Incoming>) -> (StatusCode, String) {
    let status = response.status();
    let body = soon(response.into_body().collect())
        .await
        .unwrap()
        .to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn http_2_reaches_hosts_of_either_version() {
    for (alpn, expected) in [
        (&BOTH[..], "POST /a HTTP/2.0 host=- authority="),
        (&BOTH[1..], "POST /a HTTP/1.1 host="),
    ] {
        let mut stage = stage(alpn, "/a*").await;
        let place = stage.place();
        let (mut sender, task) = two(&mut stage).await;
        let mut together = Vec::new();
        for _ in 0..5 {
            let request = Request::post(format!("https://{place}/a")).body(text("hello"));
            together.push(sender.send_request(request.unwrap()));
        }
        for answer in together {
            let (status, said) = read(soon(answer).await.unwrap()).await;
            assert_eq!(status, 200);
            assert!(said.starts_with(&format!("{expected}{place}")), "{said}");
            assert!(said.ends_with("body=hello"), "{said}");
            let decision = stage.out.decision().await;
            assert_eq!((decision.bytes_out, decision.allowed), (5, true));
        }
        task.abort();
    }
}

#[tokio::test]
async fn http_2_requests_for_another_host_are_refused() {
    let mut stage = stage(&BOTH, "*").await;
    let place = stage.place();
    let (mut sender, task) = two(&mut stage).await;
    let request = |uri: &str| Request::get(uri).body(text("")).unwrap();
    let own = format!("https://{place}/a");
    let mut headers = Vec::new();
    let mut other_host = request(&own);
    other_host
        .headers_mut()
        .insert("host", HeaderValue::from_static("other.corp"));
    headers.push((other_host, 421, "host-mismatch"));
    let mut two_hosts = request(&own);
    for _ in 0..2 {
        let host = HeaderValue::from_str(&place).unwrap();
        two_hosts.headers_mut().append("host", host);
    }
    headers.push((two_hosts, 400, "request-form"));
    headers.push((request("https://other.corp/a"), 421, "host-mismatch"));
    headers.push((request("https://api.corp/a"), 421, "host-mismatch"));
    headers.push((request(&format!("http://{place}/a")), 400, "request-form"));
    for (request, status, rule) in headers {
        let (answered, said) = read(soon(sender.send_request(request)).await.unwrap()).await;
        assert_eq!(answered, status, "{said}");
        let decision = stage.out.decision().await;
        assert_eq!((decision.rule.as_str(), decision.allowed), (rule, false));
    }
    task.abort();
}

#[tokio::test]
async fn bodies_and_trailers_stream_both_ways_at_once() {
    let operator = Operator::new();
    // Answers each piece as it comes, and ends with trailers: what gRPC does.
    let answering = |request: Request<Incoming>| async move {
        assert_eq!(request.headers().get("te").unwrap(), "trailers");
        let (sender, mut pieces) = mpsc::channel::<Frame<Bytes>>(4);
        tokio::spawn(async move {
            let mut body = request.into_body();
            while let Some(Ok(frame)) = body.frame().await {
                if let Ok(data) = frame.into_data() {
                    let _ = sender.send(Frame::data(data)).await;
                }
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            let _ = sender.send(Frame::trailers(trailers)).await;
        });
        let stream =
            futures::stream::poll_fn(move |cx| pieces.poll_recv(cx).map(|piece| piece.map(Ok)));
        Response::new(BodyExt::boxed(StreamBody::new(stream)))
    };
    let host = Host::start(operator.serving("api.corp", &BOTH), answering).await;
    let port = host.addr.port();
    let rules = vec![rule(true, "api.corp", port, &["POST"], None)];
    let out = out(&operator, "api.corp", port, rules);
    let authority = out.authority.certificate().to_owned();
    let mut stage = Stage {
        out,
        host,
        authority,
    };
    let (mut sender, task) = two(&mut stage).await;
    let (pieces, mut coming) = mpsc::channel::<Result<Frame<Bytes>, hyper::Error>>(4);
    let stream = futures::stream::poll_fn(move |cx| coming.poll_recv(cx));
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("https://api.corp:{port}/call"))
        .header("te", "trailers")
        .body(BodyExt::boxed(StreamBody::new(stream)))
        .unwrap();
    let answer = sender.send_request(request);
    let mut body = soon(answer).await.unwrap().into_body();
    for piece in ["one", "two"] {
        let data = Bytes::from_static(piece.as_bytes());
        pieces.send(Ok(Frame::data(data.clone()))).await.unwrap();
        let frame = soon(body.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), data);
    }
    drop(pieces);
    let trailers = soon(body.frame()).await.unwrap().unwrap().into_trailers();
    assert_eq!(trailers.unwrap().get("grpc-status").unwrap(), "0");
    drop(body);
    let decision = stage.out.decision().await;
    assert_eq!(
        (decision.bytes_in, decision.bytes_out, decision.cut),
        (6, 6, None)
    );
    task.abort();
}

#[tokio::test]
async fn a_websocket_becomes_a_tunnel_and_other_upgrades_do_not() {
    let operator = Operator::new();
    let answering = |mut request: Request<Incoming>| async move {
        let Some(wanted) = request.headers().get("upgrade").cloned() else {
            return Response::new(text("no upgrade"));
        };
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut io = TokioIo::new(upgrade.await.unwrap());
            let mut bytes = [0; 4];
            io.read_exact(&mut bytes).await.unwrap();
            io.write_all(&bytes).await.unwrap();
        });
        let mut response = Response::new(text(""));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response
            .headers_mut()
            .insert("connection", HeaderValue::from_static("upgrade"));
        response.headers_mut().insert("upgrade", wanted);
        response
    };
    let host = Host::start(operator.serving("api.corp", &["http/1.1"]), answering).await;
    let port = host.addr.port();
    let rules = vec![rule(true, "api.corp", port, &["GET"], None)];
    let out = out(&operator, "api.corp", port, rules);
    let authority = out.authority.certificate().to_owned();
    let mut stage = Stage {
        out,
        host,
        authority,
    };
    for (upgrade, expected) in [("websocket", "ping"), ("h2c", "no upgrade")] {
        let mut tls = stage.tls(&["http/1.1"]).await;
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: api.corp:{port}\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n\r\n"
        );
        tls.write_all(request.as_bytes()).await.unwrap();
        let mut read = Vec::new();
        while !read.ends_with(expected.as_bytes()) {
            assert!(soon(tls.read_buf(&mut read)).await.unwrap() > 0, "{read:?}");
            if read.ends_with(b"\r\n\r\n") && upgrade == "websocket" {
                assert!(read.starts_with(b"HTTP/1.1 101 "), "{read:?}");
                tls.write_all(b"ping").await.unwrap();
            }
        }
        drop(tls);
        let decision = stage.out.decision().await;
        let bytes = if upgrade == "websocket" { 4 } else { 0 };
        assert_eq!(decision.bytes_out, bytes, "{upgrade}");
    }
}

#[tokio::test]
async fn a_host_that_may_be_asked_anything_is_carried_unread() {
    let operator = Operator::new();
    let host = Host::start(operator.serving("api.corp", &BOTH), saying).await;
    let port = host.addr.port();
    let rules = vec![rule(true, "api.corp", port, &[], None)];
    let mut out = out(&operator, "api.corp", port, rules);
    let place = format!("api.corp:{port}");
    // Only the operator's authority is trusted, so it is the host itself that answers.
    let mut tls = out
        .tls(&place, "api.corp", &operator.certificate, &["http/1.1"])
        .await
        .unwrap();
    let request = format!("GET /x HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n\r\n");
    tls.write_all(request.as_bytes()).await.unwrap();
    let mut read = String::new();
    let _ = soon(tls.read_to_string(&mut read)).await;
    assert!(read.contains("GET /x"), "{read}");
    drop(tls);
    let decision = out.decision().await;
    assert_eq!(
        (decision.method.as_deref(), decision.path),
        (Some("CONNECT"), None)
    );
}

#[tokio::test]
async fn tls_that_names_another_server_or_none_is_refused_and_recorded() {
    for path in [None, Some("/a")] {
        let operator = Operator::new();
        let host = Host::start(operator.serving("api.corp", &BOTH), saying).await;
        let port = host.addr.port();
        let rules = vec![rule(true, "api.corp", port, &[], path)];
        let mut out = out(&operator, "api.corp", port, rules);
        let place = format!("api.corp:{port}");
        let trusted = format!("{}{}", operator.certificate, out.authority.certificate());
        for (server, expected) in [
            ("other.corp", "tls-name"),
            ("127.0.0.1", "tls-name-missing"),
        ] {
            let error = out.tls(&place, server, &trusted, &[]).await.unwrap_err();
            assert!(error.to_string().contains("AccessDenied"), "{error}");
            let decision = out.decision().await;
            assert_eq!(
                (decision.rule.as_str(), decision.allowed),
                (expected, false)
            );
        }
    }
}

#[tokio::test]
async fn a_host_whose_certificate_does_not_verify_is_not_asked() {
    let (operator, stranger) = (Operator::new(), Operator::new());
    for config in [
        stranger.serving("api.corp", &BOTH),
        operator.serving("other.corp", &BOTH),
    ] {
        let host = Host::start(config, saying).await;
        let port = host.addr.port();
        let rules = vec![rule(true, "api.corp", port, &[], Some("/a"))];
        let mut out = out(&operator, "api.corp", port, rules);
        let trusted = out.authority.certificate().to_owned();
        let place = format!("api.corp:{port}");
        let mut tls = out
            .tls(&place, "api.corp", &trusted, &["http/1.1"])
            .await
            .unwrap();
        let request = format!("GET /a HTTP/1.1\r\nHost: {place}\r\n\r\n");
        tls.write_all(request.as_bytes()).await.unwrap();
        let mut read = Vec::new();
        let _ = soon(tls.read_to_end(&mut read)).await;
        let read = String::from_utf8_lossy(&read);
        assert!(
            read.starts_with("HTTP/1.1 502 ") && read.contains("certificate"),
            "{read}"
        );
        assert_eq!(out.decision().await.cut, Some("upstream-tls"));
    }
}

#[tokio::test]
async fn each_sandbox_has_an_authority_of_its_own() {
    let mut first = stage(&BOTH, "/a").await;
    let second = stage(&BOTH, "/a").await;
    let place = first.place();
    let error = first
        .out
        .tls(&place, "api.corp", &second.authority, &[])
        .await
        .unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    assert_eq!(first.out.decision().await.rule, "tls-handshake");
}
