//! Rules, limits, changes of policy, and what is recorded of them.

use std::sync::Arc;
use std::time::Duration;

use egress::{HostPort, Limits, Networking, PathPattern, Policy, Rule};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::proxying::{LOOPBACK, echo, out};
use crate::support::*;

pub fn rule(allow: bool, host: &str, port: u16, methods: &[&str], path: Option<&str>) -> Rule {
    Rule {
        allow,
        host: Some(host.parse().unwrap()),
        ports: vec![port],
        methods: methods.iter().map(|method| (*method).to_owned()).collect(),
        path: path.map(|path| path.parse::<PathPattern>().unwrap()),
    }
}

impl Out {
    /// Nothing is allowed but by these rules.
    pub fn rules(&self, rules: Vec<Rule>) {
        let policy = Policy {
            rules,
            ..Policy::new(Networking::Limited {
                allowed_hosts: Vec::new(),
                allow_mcp_servers: false,
                allow_package_managers: false,
            })
        };
        self.world.policy.send_replace(Arc::new(policy));
    }

    /// Everything is allowed, up to here.
    fn limit(&self, limits: Limits) {
        let policy = Policy {
            limits,
            ..Policy::new(Networking::Unrestricted)
        };
        self.world.policy.send_replace(Arc::new(policy));
    }
}

#[tokio::test]
async fn each_request_of_a_connection_is_decided_by_method_and_path_and_recorded() {
    let mut upstream = Upstream::saying(answer("200 OK", "", "{}")).await;
    let port = upstream.addr.port();
    let mut out = out("api.corp", port);
    out.rules(vec![
        rule(false, "api.corp", port, &[], Some("/repos/*/secrets*")),
        rule(true, "api.corp", port, &["GET"], Some("/repos/*")),
    ]);
    let mut client = out.proxy();
    for (method, path, status, rule) in [
        ("GET", "/repos/a?token=hidden", 200, "rules.1"),
        ("GET", "/repos/a/b", 200, "rules.1"),
        ("GET", "/repos/a/secrets/x", 403, "rules.0"),
    ] {
        client
            .write(format!(
                "{method} http://api.corp:{port}{path} HTTP/1.1\r\nHost: api.corp:{port}\r\n\r\n"
            ))
            .await;
        let text = client.until("}").await;
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
        let decision = out.decision().await;
        let asked = path.split('?').next();
        assert_eq!(
            (decision.method.as_deref(), decision.path.as_deref()),
            (Some(method), asked)
        );
        assert_eq!(
            (decision.host.as_deref(), decision.port),
            (Some("api.corp"), Some(port))
        );
        assert_eq!(
            (decision.rule.as_str(), decision.allowed),
            (rule, status == 200)
        );
        assert_eq!((decision.status, decision.cut), (Some(status), None));
        assert_eq!(decision.bytes_in, if status == 200 { 2 } else { 0 });
    }
    assert_eq!(
        upstream
            .connections
            .load(std::sync::atomic::Ordering::SeqCst),
        1
    );
    upstream.next().await;
    upstream.next().await;
    assert!(upstream.got.try_recv().is_err(), "the third did not leave");
}

#[tokio::test]
async fn what_rules_do_not_allow_is_refused_however_its_path_is_written() {
    let mut out = out("api.corp", 8080);
    out.rules(vec![
        rule(false, "api.corp", 8080, &[], Some("/admin*")),
        rule(true, "api.corp", 8080, &["GET"], Some("/*")),
    ]);
    for (line, status, rule) in [
        ("GET http://api.corp:8080/admin", 403, "rules.0"),
        ("GET http://api.corp:8080/%61dmin", 403, "rules.0"),
        ("GET http://api.corp:8080/x/../admin", 400, "request-form"),
        ("GET http://api.corp:8080//admin", 400, "request-form"),
        (
            "GET http://api.corp:8080/x%2f..%2fadmin",
            400,
            "request-form",
        ),
        ("POST http://api.corp:8080/x", 403, "allowed-hosts"),
        ("GET http://api.corp:8081/x", 403, "allowed-hosts"),
    ] {
        let text = out.ask(&format!("{line} HTTP/1.1\r\n\r\n")).await;
        assert!(
            text.starts_with(&format!("HTTP/1.1 {status} ")),
            "{line}: {text}"
        );
        let decision = out.decision().await;
        assert_eq!(
            (decision.rule.as_str(), decision.allowed),
            (rule, false),
            "{line}"
        );
    }
}

#[tokio::test]
async fn a_request_inside_a_tunnel_is_decided_like_one_outside() {
    let mut upstream = Upstream::saying(answer("200 OK", "", "{}")).await;
    let port = upstream.addr.port();
    let mut out = out("api.corp", port);
    out.rules(vec![rule(true, "api.corp", port, &["GET"], Some("/a"))]);
    for (line, host, status) in [
        ("GET /a", format!("api.corp:{port}"), 200),
        ("GET /b", format!("api.corp:{port}"), 403),
        ("GET /a", "other.corp".to_owned(), 421),
        ("GET http://other.corp/a", format!("api.corp:{port}"), 400),
    ] {
        let mut client = out.proxy();
        client
            .write(format!("CONNECT api.corp:{port} HTTP/1.1\r\n\r\n"))
            .await;
        client.until("\r\n\r\n").await;
        client
            .write(format!("{line} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
            .await;
        let text = client.until("}").await;
        assert!(
            text.starts_with(&format!("HTTP/1.1 {status} ")),
            "{line}: {text}"
        );
        let decision = out.decision().await;
        assert_eq!(decision.status, Some(status));
        assert_eq!(decision.host.as_deref(), Some("api.corp"));
        let path = line
            .strip_prefix("GET ")
            .filter(|_| status < 404 && status != 400);
        assert_eq!(decision.path.as_deref(), path, "{line}");
    }
    assert_eq!(upstream.next().await.line(), "GET /a HTTP/1.1");
    assert!(upstream.got.try_recv().is_err());
}

#[tokio::test]
async fn what_is_neither_http_nor_tls_cannot_be_decided_by_request() {
    let (port, task) = echo().await;
    let mut out = out("api.corp", port);
    out.rules(vec![rule(true, "api.corp", port, &["GET"], None)]);
    let mut client = out.proxy();
    client
        .write(format!(
            "CONNECT api.corp:{port} HTTP/1.1\r\n\r\nSSH-2.0-x\r\n"
        ))
        .await;
    let text = client.rest().await;
    assert!(!text.contains("SSH"), "{text}");
    let decision = out.decision().await;
    assert_eq!(
        (decision.rule.as_str(), decision.allowed),
        ("not-http", false)
    );
    task.abort();
}

#[tokio::test]
async fn a_tunnel_is_recorded_with_its_bytes_when_it_ends() {
    let (port, task) = echo().await;
    let mut out = out("git.corp", port);
    let mut client = out.proxy();
    client
        .write(format!("CONNECT git.corp:{port} HTTP/1.1\r\n\r\nhello"))
        .await;
    client.until("hello").await;
    assert!(out.decisions.try_recv().is_err());
    drop(client);
    let decision = out.decision().await;
    assert_eq!(
        (decision.method.as_deref(), decision.path),
        (Some("CONNECT"), None)
    );
    assert_eq!((decision.bytes_in, decision.bytes_out), (5, 5));
    assert_eq!((decision.status, decision.allowed), (Some(200), true));
    task.abort();
}

#[tokio::test]
async fn a_change_of_policy_cuts_what_is_no_longer_allowed_and_nothing_else() {
    let (port, task) = echo().await;
    let mut out = out("git.corp", port);
    let mut client = out.proxy();
    client
        .write(format!("CONNECT git.corp:{port} HTTP/1.1\r\n\r\na"))
        .await;
    client.until("a").await;
    out.rules(vec![rule(true, "git.corp", port, &[], None)]);
    client.write("still").await;
    client.until("still").await;
    out.rules(Vec::new());
    client.rest().await;
    let decision = out.decision().await;
    assert_eq!(decision.cut, Some("policy-changed"));
    let text = out
        .ask(&format!("CONNECT git.corp:{port} HTTP/1.1\r\n\r\n"))
        .await;
    assert!(text.starts_with("HTTP/1.1 403 "), "{text}");
    task.abort();
}

#[tokio::test]
async fn a_request_under_way_is_cut_when_it_is_not_allowed_any_more_and_not_before() {
    let go = Arc::new(tokio::sync::Notify::new());
    let gone = go.clone();
    let upstream = Upstream::start(move |_, mut stream| {
        let go = gone.clone();
        Box::pin(async move {
            stream.write_all(STREAM_HEAD.as_bytes()).await.ok()?;
            stream.write_all(chunk("one").as_bytes()).await.ok()?;
            go.notified().await;
            stream.write_all(chunk("two").as_bytes()).await.ok()?;
            std::future::pending().await
        })
    });
    let upstream = upstream.await;
    let port = upstream.addr.port();
    let mut out = out("sse.corp", port);
    let mut client = out.proxy();
    client
        .write(format!("GET http://sse.corp:{port}/ HTTP/1.1\r\n\r\n"))
        .await;
    client.until("one").await;
    // Another rule allows it, and what is allowed elsewhere is of no meaning.
    out.rules(vec![
        rule(true, "other.corp", port, &["GET"], Some("/*")),
        rule(true, "sse.corp", port, &["GET"], Some("/*")),
    ]);
    tokio::task::yield_now().await;
    go.notify_one();
    client.until("two").await;
    // The connection stays, and what it asks is decided anew.
    out.rules(vec![rule(true, "sse.corp", port, &["GET"], Some("/else"))]);
    client.rest().await;
    let decision = out.decision().await;
    assert_eq!(
        (decision.cut, decision.allowed),
        (Some("policy-changed"), true)
    );
}

#[tokio::test]
async fn bytes_beyond_the_limit_are_cut_and_nothing_new_begins() {
    let (port, task) = echo().await;
    let mut out = out("git.corp", port);
    out.limit(Limits {
        bytes_out: Some(1000),
        ..Limits::default()
    });
    let mut client = out.proxy();
    client
        .write(format!("CONNECT git.corp:{port} HTTP/1.1\r\n\r\n"))
        .await;
    client.until("\r\n\r\n").await;
    for _ in 0..3 {
        // It may be cut already.
        let _ = client.0.write_all(&[b'x'; 500]).await;
    }
    client.rest().await;
    assert_eq!(out.decision().await.cut, Some("limits.bytes_out"));
    let text = out
        .ask(&format!("CONNECT git.corp:{port} HTTP/1.1\r\n\r\n"))
        .await;
    assert!(
        text.starts_with("HTTP/1.1 403 ") && text.contains("limits.bytes_out"),
        "{text}"
    );
    assert_eq!(out.decision().await.rule, "limits.bytes_out");
    task.abort();
}

#[tokio::test]
async fn an_answer_beyond_the_limit_is_cut() {
    let upstream = Upstream::saying(answer("200 OK", "", &"x".repeat(100_000))).await;
    let port = upstream.addr.port();
    let mut out = out("big.corp", port);
    out.limit(Limits {
        bytes_in: Some(20_000),
        ..Limits::default()
    });
    let text = out
        .ask(&format!("GET http://big.corp:{port}/ HTTP/1.1\r\n\r\n"))
        .await;
    assert!(text.len() < 100_000);
    assert_eq!(out.decision().await.cut, Some("limits.bytes_in"));
}

#[tokio::test]
async fn a_connection_beyond_the_limit_waits_for_a_free_one() {
    let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut out = out("git.corp", port);
    out.limit(Limits {
        connections: Some(1),
        ..Limits::default()
    });
    let connect = format!("CONNECT git.corp:{port} HTTP/1.1\r\n\r\n");
    let mut first = out.proxy();
    first.write(&connect).await;
    let _held = listener.accept().await.unwrap();
    first.until("\r\n\r\n").await;
    let mut second = out.proxy();
    second.write(&connect).await;
    let waiting = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(waiting.is_err(), "it is not dialled");
    drop(first);
    soon(listener.accept()).await.unwrap();
    second.until("\r\n\r\n").await;
}

#[tokio::test]
async fn a_client_that_asks_two_hosts_in_turn_needs_one_connection() {
    let (one, two) = (
        Upstream::saying(answer("200 OK", "", "{}")).await,
        Upstream::saying(answer("200 OK", "", "{}")).await,
    );
    let hosts = [("a.corp", one.addr.port()), ("b.corp", two.addr.port())];
    let mut out = Out::with(one.addr, |config| {
        config.operator.private_hosts = hosts
            .map(|(host, port)| HostPort {
                host: host.into(),
                port,
            })
            .into();
    });
    for (host, _) in hosts {
        let mut names = out.world.names.lock().unwrap();
        names.insert(host.into(), vec![LOOPBACK]);
    }
    out.limit(Limits {
        connections: Some(1),
        ..Limits::default()
    });
    let mut client = out.proxy();
    for (host, port) in [hosts[0], hosts[1], hosts[0]] {
        client
            .write(format!("GET http://{host}:{port}/ HTTP/1.1\r\n\r\n"))
            .await;
        let text = client.until("}").await;
        assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    }
}

#[tokio::test]
async fn a_request_above_the_rate_waits_for_its_turn() {
    let upstream = Upstream::saying(answer("200 OK", "", "{}")).await;
    let port = upstream.addr.port();
    let mut out = out("api.corp", port);
    out.limit(Limits {
        requests_per_second: Some(50),
        ..Limits::default()
    });
    let mut client = out.proxy();
    for _ in 0..60 {
        client
            .write(format!("GET http://api.corp:{port}/ HTTP/1.1\r\n\r\n"))
            .await;
        assert!(client.until("}").await.starts_with("HTTP/1.1 200 "));
    }
}
