//! Programs that know no proxy: names, connections to them, and what is recorded of what they tried.

use std::sync::atomic::Ordering;
use std::time::Duration;

use egress::{ClientId, Stray};
use tokio::io::AsyncWriteExt as _;

use crate::deciding::rule;
use crate::proxying::{echo, out};
use crate::secure::{Host, Operator, begin_tls};
use crate::support::*;

fn client() -> ClientId {
    ClientId("s1".into())
}

/// An address of IPv4.
const A: u16 = 1;

#[tokio::test]
async fn a_connection_to_a_name_is_decided_and_recorded_like_a_tunnel() {
    let (port, task) = echo().await;
    let mut out = out("git.corp", port);
    out.rules(vec![rule(true, "git.corp", port, &[], None)]);
    let mut client = out.by_name("Git.Corp.", port);
    client.write("SSH-2.0-hello").await;
    client.until("SSH-2.0-hello").await;
    drop(client);
    let decision = out.decision().await;
    assert_eq!(
        (decision.rule.as_str(), decision.allowed),
        ("rules.0", true)
    );
    assert_eq!(decision.host.as_deref(), Some("git.corp"));
    assert_eq!((decision.bytes_in, decision.bytes_out), (13, 13));
    out.by_name("127.0.0.1", port).rest().await;
    assert!(out.decisions.try_recv().is_err(), "an address is no name");
    task.abort();
}

#[tokio::test]
async fn plain_http_to_a_name_is_decided_by_request() {
    let mut upstream = Upstream::saying(answer("200 OK", "", "{}")).await;
    let port = upstream.addr.port();
    let mut out = out("api.corp", port);
    out.rules(vec![rule(true, "api.corp", port, &["GET"], Some("/ok*"))]);
    let mut client = out.by_name("api.corp", port);
    let ask =
        |path: &str, host: &str| format!("GET {path} HTTP/1.1\r\nhost: {host}:{port}\r\n\r\n");
    client.write(ask("/ok", "api.corp")).await;
    client.until("{}").await;
    assert_eq!(upstream.next().await.line(), "GET /ok HTTP/1.1");
    client.write(ask("/no", "api.corp")).await;
    assert!(client.rest().await.starts_with("HTTP/1.1 403 "));
    let mut client = out.by_name("api.corp", port);
    client.write(ask("/ok", "other.corp")).await;
    assert!(client.rest().await.starts_with("HTTP/1.1 421 "));
    for expected in ["rules.0", "allowed-hosts", "host-mismatch"] {
        assert_eq!(out.decision().await.rule, expected);
    }
}

#[tokio::test]
async fn a_refusal_is_told_in_the_words_of_whoever_asked() {
    let operator = Operator::new();
    let mut out = out("api.corp", 443);
    out.rules(Vec::new());
    let mut http = out.by_name("api.corp", 443);
    http.write("GET / HTTP/1.1\r\nhost: api.corp\r\n\r\n").await;
    let text = http.rest().await;
    assert!(
        text.starts_with("HTTP/1.1 403 ") && text.contains("rule: allowed-hosts"),
        "{text}"
    );
    let io = out.by_name("api.corp", 443);
    let error = begin_tls(io, "api.corp", &operator.certificate, &[])
        .await
        .unwrap_err();
    assert!(error.to_string().contains("AccessDenied"), "{error}");
    // Who waits for the host to speak is not kept waiting.
    assert_eq!(out.by_name("api.corp", 443).rest().await, "");
    for _ in 0..3 {
        let decision = out.decision().await;
        assert_eq!(
            (decision.rule.as_str(), decision.allowed),
            ("allowed-hosts", false)
        );
    }
}

#[tokio::test]
async fn tls_to_a_name_is_held_to_the_name_and_ended_where_rules_ask_for_it() {
    let operator = Operator::new();
    let host = Host::start(
        operator.serving("api.corp", &["http/1.1"]),
        crate::terminating::saying,
    )
    .await;
    let port = host.addr.port();
    for (path, trusted_inside) in [(None, false), (Some("/a"), true)] {
        let rules = vec![rule(true, "api.corp", port, &[], path)];
        let mut out = crate::secure::out(&operator, "api.corp", port, rules);
        let trusted = match trusted_inside {
            true => out.authority.certificate().to_owned(),
            false => operator.certificate.clone(),
        };
        let io = out.by_name("api.corp", port);
        let mut tls = begin_tls(io, "api.corp", &trusted, &[]).await.unwrap();
        let ask = format!("GET /a HTTP/1.1\r\nhost: api.corp:{port}\r\nconnection: close\r\n\r\n");
        tls.write_all(ask.as_bytes()).await.unwrap();
        let mut text = Vec::new();
        let _ = soon(tokio::io::AsyncReadExt::read_to_end(&mut tls, &mut text)).await;
        assert!(text.starts_with(b"HTTP/1.1 200 "), "{path:?}");
        let io = out.by_name("api.corp", port);
        let error = begin_tls(io, "other.corp", &trusted, &[])
            .await
            .unwrap_err();
        assert!(error.to_string().contains("AccessDenied"), "{error}");
    }
}

#[tokio::test]
async fn asking_for_a_name_opens_what_a_rule_opens_and_asks_nobody() {
    let mut out = out("git.corp", 22);
    out.rules(vec![
        rule(true, "git.corp", 22, &[], None),
        rule(true, "*.wild.example", 8080, &["GET"], Some("/a*")),
    ]);
    let name = |name: &str, kind| out.egress.name(&client(), name, kind);
    assert_eq!(name("Git.Corp", A), Some(vec![22]));
    assert_eq!(name("x.wild.example", A), Some(vec![8080]));
    for (refused, kind) in [
        ("wild.example", A),
        ("c2VjcmV0.tunnel.example", A),
        // The records in which tunnels answer, also of an allowed name.
        ("git.corp", 16),
        ("127.0.0.1", A),
        ("2130706433", A),
        ("a..b", A),
    ] {
        assert_eq!(name(refused, kind), None, "{refused}");
    }
    out.world.unknown.store(true, Ordering::SeqCst);
    assert_eq!(name("git.corp", A), None);
    assert_eq!(out.world.resolutions.load(Ordering::SeqCst), 0);
    out.egress.flush_attempts();
    let mut rules = Vec::new();
    while let Ok(decision) = out.decisions.try_recv() {
        assert_eq!(
            (decision.method.as_deref(), decision.allowed),
            (Some("DNS"), false)
        );
        rules.push(format!("{} {}", decision.host.unwrap(), decision.rule));
    }
    assert_eq!(
        rules,
        [
            "127.0.0.1 dns-name",
            "2130706433 dns-name",
            "a..b dns-name",
            "c2VjcmV0.tunnel.example allowed-hosts",
            "git.corp dns-type",
            "wild.example allowed-hosts",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn attempts_are_recorded_together_and_never_more_than_so_many() {
    let mut out = out("git.corp", 22);
    out.rules(Vec::new());
    let egress = out.egress.clone();
    let keeping = tokio::spawn(async move { egress.keep_attempts().await });
    let stray = |port| Stray {
        protocol: 17,
        address: "8.8.8.8".parse().unwrap(),
        port,
        count: 3,
    };
    for round in 0..2 {
        out.egress.strays(&client(), &[stray(53), stray(53)], 0);
        for number in 0..5000 {
            assert_eq!(
                out.egress.name(&client(), &format!("{number}.example"), A),
                None
            );
        }
        out.egress.strays(&client(), &[stray(443)], 7);
        assert!(out.decisions.try_recv().is_err(), "not yet");
        tokio::time::sleep(Duration::from_secs(6)).await;
        let mut decisions = Vec::new();
        while let Ok(decision) = out.decisions.try_recv() {
            decisions.push(decision);
        }
        assert_eq!(decisions.len(), 33, "round {round}");
        let all: u64 = decisions
            .iter()
            .filter_map(|decision| decision.attempts)
            .sum();
        assert_eq!(all, 6 + 5000 + 3 + 7);
        let dns = decisions
            .iter()
            .find(|decision| decision.method.as_deref() == Some("UDP"));
        let dns = dns.unwrap();
        assert_eq!(
            (dns.port, dns.attempts, dns.rule.as_str()),
            (Some(53), Some(6), "no-route")
        );
        let rest = decisions.last().unwrap();
        assert_eq!((rest.rule.as_str(), &rest.host), ("more-attempts", &None));
    }
    keeping.abort();
}

#[tokio::test]
async fn whoever_asks_for_too_many_names_gets_none() {
    let out = out("git.corp", 22);
    let asked = (0..1500).filter(|_| out.egress.name(&client(), "git.corp", A).is_some());
    assert_eq!(asked.count(), 1000);
}
