//! The proxy way.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use egress::{HostPort, Networking, Policy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::*;

pub const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// Egress that may reach `name` on this port of the loopback.
pub fn out(name: &str, port: u16) -> Out {
    let unused = SocketAddr::from((LOOPBACK, 1));
    let mut out = Out::with(unused, |config| {
        config.operator.private_hosts = vec![HostPort {
            host: name.into(),
            port,
        }];
        config.proxy_idle_timeout = Duration::from_millis(500);
    });
    out.allow(&[]);
    out.world
        .names
        .lock()
        .unwrap()
        .insert(name.into(), vec![LOOPBACK]);
    out
}

impl Out {
    /// An unrestricted policy, or a limited one with these hosts.
    fn allow(&mut self, hosts: &[&str]) {
        let networking = match hosts {
            [] => Networking::Unrestricted,
            hosts => Networking::Limited {
                allowed_hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
                allow_mcp_servers: false,
                allow_package_managers: false,
            },
        };
        let policy = Policy::new(networking);
        self.world.policy.send_replace(Arc::new(policy));
    }

    pub async fn ask(&mut self, request: &str) -> String {
        let mut client = self.proxy();
        client.write(request).await;
        client.rest().await
    }
}

pub async fn echo() -> (u16, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        }
    });
    (port, task)
}

#[tokio::test]
async fn a_tunnel_carries_bytes_both_ways() {
    let (port, task) = echo().await;
    let mut out = out("git.corp", port);
    let mut client = out.proxy();
    // What follows the head at once belongs to the tunnel.
    client
        .write(format!(
            "CONNECT git.corp:{port} HTTP/1.1\r\nHost: git.corp:{port}\r\n\r\nfirst"
        ))
        .await;
    assert!(client.until("first").await.starts_with("HTTP/1.1 200 "));
    client.write("second").await;
    client.until("second").await;
    assert_eq!(
        out.world.resolutions.load(Ordering::SeqCst),
        1,
        "the checked address is dialled"
    );
    task.abort();
}

#[tokio::test]
async fn a_tunnel_without_traffic_ends() {
    let (port, task) = echo().await;
    let mut out = out("git.corp", port);
    let mut client = out.proxy();
    client
        .write(format!("CONNECT git.corp:{port} HTTP/1.1\r\n\r\n"))
        .await;
    assert!(client.rest().await.starts_with("HTTP/1.1 200 "));
    task.abort();
}

#[tokio::test]
async fn a_host_that_is_not_listed_is_refused_by_name_and_rule() {
    let mut out = out("x", 1);
    out.allow(&["example.com", "*.example.org"]);
    for (request, host) in [
        (
            "CONNECT evil.example:443 HTTP/1.1\r\n\r\n",
            "evil.example:443",
        ),
        (
            "GET http://example.org/ HTTP/1.1\r\nHost: example.org\r\n\r\n",
            "example.org:80",
        ),
    ] {
        let text = out.ask(request).await;
        assert!(text.starts_with("HTTP/1.1 403 "), "{text}");
        assert!(
            text.contains(host) && text.contains("(rule: allowed-hosts)"),
            "{text}"
        );
    }
    assert_eq!(
        out.world.resolutions.load(Ordering::SeqCst),
        0,
        "nothing was resolved"
    );
}

#[tokio::test]
async fn a_port_that_is_not_open_is_refused() {
    let text = out("x", 1)
        .ask("CONNECT example.com:25 HTTP/1.1\r\n\r\n")
        .await;
    assert!(
        text.starts_with("HTTP/1.1 403 ") && text.contains("(rule: port)"),
        "{text}"
    );
}

#[tokio::test]
async fn private_addresses_are_refused_however_they_are_written() {
    let mut out = out("x", 1);
    for host in [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:a9fe:a9fe]",
        "[fd00::1]",
        "100.64.0.1",
        "0.0.0.0",
        "[64:ff9b::7f00:1]",
    ] {
        let text = out
            .ask(&format!("CONNECT {host}:443 HTTP/1.1\r\n\r\n"))
            .await;
        assert!(
            text.starts_with("HTTP/1.1 403 ") && text.contains("(rule: private-address)"),
            "{text}"
        );
    }
    for host in [
        "2130706433",
        "0177.0.0.1",
        "0x7f000001",
        "0x7f.1",
        "127.1",
        "017700000001",
    ] {
        let text = out
            .ask(&format!(
                "GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n"
            ))
            .await;
        assert!(
            text.starts_with("HTTP/1.1 400 ") && text.contains("unusual spelling"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_public_name_for_a_private_address_is_refused() {
    let mut out = out("x", 1);
    let address: IpAddr = "::ffff:192.168.0.1".parse().unwrap();
    out.world
        .names
        .lock()
        .unwrap()
        .insert("rebind.example".into(), vec![LOOPBACK, address]);
    let text = out.ask("CONNECT rebind.example:443 HTTP/1.1\r\n\r\n").await;
    assert!(text.starts_with("HTTP/1.1 403 "), "{text}");
    assert!(text.contains("rebind.example:443") && text.contains("(rule: private-address)"));
    assert_eq!(out.world.resolutions.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_unknown_client_reaches_nothing() {
    let mut out = out("x", 1);
    out.world.unknown.store(true, Ordering::SeqCst);
    let text = out.ask("CONNECT example.com:443 HTTP/1.1\r\n\r\n").await;
    assert!(
        text.starts_with("HTTP/1.1 403 ") && text.contains("(rule: unknown-client)"),
        "{text}"
    );
}

#[tokio::test]
async fn a_plain_request_goes_out_in_origin_form() {
    let mut upstream =
        Upstream::saying(answer("200 OK", "proxy-secret: x\r\n", "{\"ok\":1}")).await;
    let port = upstream.addr.port();
    let mut out = out("git.corp", port);
    let text = out
        .ask(&format!(
            "POST http://GIT.corp:{port}/a?b HTTP/1.1\r\nHost: git.corp:{port}\r\nProxy-Authorization: Basic x\r\n\
             Proxy-Connection: keep-alive\r\nConnection: x-hop\r\nX-Hop: 1\r\nX-Kept: 1\r\nContent-Length: 4\r\n\r\nbody"
        ))
        .await;
    assert!(
        text.starts_with("HTTP/1.1 200 ") && text.ends_with("{\"ok\":1}"),
        "{text}"
    );
    assert!(!text.contains("proxy-secret"));
    let got = upstream.next().await;
    assert_eq!(got.line(), "POST /a?b HTTP/1.1");
    assert_eq!(
        got.header("host"),
        Some(format!("git.corp:{port}").as_str())
    );
    assert_eq!(
        (got.header("x-kept"), got.header("x-hop")),
        (Some("1"), None)
    );
    assert!(!got.head.to_ascii_lowercase().contains("proxy-"));
    assert_eq!(got.body, "body");
}

#[tokio::test]
async fn a_redirect_is_handed_on_and_not_followed() {
    let redirect = answer("302 Found", "location: http://127.0.0.1/\r\n", "");
    let mut upstream = Upstream::saying(redirect).await;
    let port = upstream.addr.port();
    let mut out = out("git.corp", port);
    let text = out
        .ask(&format!("GET http://git.corp:{port}/ HTTP/1.1\r\n\r\n"))
        .await;
    assert!(
        text.starts_with("HTTP/1.1 302 ") && text.contains("location: http://127.0.0.1/"),
        "{text}"
    );
    upstream.next().await;
    assert!(upstream.got.try_recv().is_err());
}

#[tokio::test]
async fn requests_that_can_be_read_in_two_ways_are_refused() {
    let mut out = out("x", 1);
    for request in [
        "GET http://a.example/ HTTP/1.1\r\nHost: b.example\r\n\r\n",
        "GET http://a.example/ HTTP/1.1\r\nHost: a.example:81\r\n\r\n",
        "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nHost: a.example\r\n\r\n",
        "CONNECT a.example:443 HTTP/1.1\r\nHost: b.example:443\r\n\r\n",
        "POST http://a.example/ HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET http://user:pass@a.example/ HTTP/1.1\r\n\r\n",
        "GET http://b.example@a.example/ HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "GET https://a.example/ HTTP/1.1\r\n\r\n",
        "GET ftp://a.example/ HTTP/1.1\r\n\r\n",
        "CONNECT a.example HTTP/1.1\r\n\r\n",
        "CONNECT http://a.example:443 HTTP/1.1\r\n\r\n",
        "GET http://a.example:99999/ HTTP/1.1\r\n\r\n",
        "nonsense\r\n\r\n",
    ] {
        let text = out.ask(request).await;
        assert!(text.starts_with("HTTP/1.1 400 "), "{request:?}: {text}");
        assert!(text.contains("(rule: request-form)"), "{text}");
    }
    assert_eq!(out.world.resolutions.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_host_that_cannot_be_reached_is_a_502_by_name() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let mut out = out("git.corp", port);
    let text = out
        .ask(&format!("CONNECT git.corp:{port} HTTP/1.1\r\n\r\n"))
        .await;
    assert!(
        text.starts_with("HTTP/1.1 502 ") && text.contains(&format!("git.corp:{port}")),
        "{text}"
    );
    let text = out
        .ask("CONNECT nowhere.example:443 HTTP/1.1\r\n\r\n")
        .await;
    assert!(
        text.starts_with("HTTP/1.1 502 ") && text.contains("nowhere.example:443"),
        "{text}"
    );
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_tunnel() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut out = out("git.corp", port);
    let mut client = out.proxy();
    client
        .write(format!("CONNECT git.corp:{port} HTTP/1.1\r\n\r\n"))
        .await;
    let (mut stream, _) = soon(listener.accept()).await.unwrap();
    client.until("\r\n\r\n").await;
    stream.write_all(b"x").await.unwrap();
    client.until("x").await;
    drop(client);
    let mut rest = Vec::new();
    let _ = soon(stream.read_to_end(&mut rest)).await;
    assert!(rest.is_empty());
}
