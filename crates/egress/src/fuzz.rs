//! Any bytes as what a sandbox writes into its proxy, and as what an environment says of hosts and paths.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http::header::HOST;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::decide::{Reach, reach};
use crate::policy::{
    HostPattern, HostPort, Networking, Operator, PathPattern, Policy, Rule, Target,
};
use crate::proxy::{Mode, guarded};
use crate::tls::{Peeked, peek};
use crate::{Verdict, decide, path};

#[test]
fn no_bytes_are_read_in_two_ways() {
    fuzz::target!("requests", 5_000, |data| {
        let [how, seed, data @ ..] = data else { return };
        let mode = || match how % 3 {
            0 => Mode::Forward,
            kind => Mode::Inside {
                target: Target::new("a.example", if kind == 1 { 443 } else { 80 }).unwrap(),
                tls: kind == 1,
            },
        };
        let (passed, told) = guarded(mode(), Box::new(data.chunks(8192)));
        let pieces = guarded(mode(), Box::new(fuzz::pieces(data, *seed)));
        assert_eq!(told, pieces.1, "pieces change nothing");
        // But for how much of a body was passed on when it turned out to be broken.
        assert!(passed.starts_with(&pieces.0) || pieces.0.starts_with(&passed));
        let seen = seen(passed);
        assert!(seen.len() <= told.len(), "{seen:?} {told:?}");
        for (seen, told) in seen.iter().zip(&told) {
            let Some(told) = told else {
                assert_eq!(seen.host.as_deref(), Some("refused"));
                continue;
            };
            // The library must not see another host than the one that is decided about.
            let port = if *how % 3 == 1 { 443 } else { 80 };
            if let Some(host) = &seen.host {
                assert_eq!(
                    Target::parse(host, Some(port)).as_ref(),
                    Ok(told),
                    "{seen:?}"
                );
            }
            if let Some(authority) = seen.uri.authority() {
                let said = Target::parse(authority.as_str(), Some(port));
                assert_eq!(said.as_ref(), Ok(told), "{seen:?}");
            }
        }
    });
}

/// A request as the HTTP library has it.
#[derive(Debug)]
struct Seen {
    uri: Uri,
    host: Option<String>,
}

fn seen(bytes: Vec<u8>) -> Vec<Seen> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&seen);
    let service = service_fn(move |request: Request<Incoming>| {
        let host = request.headers().get(HOST);
        keep.lock().unwrap().push(Seen {
            uri: request.uri().clone(),
            host: host.map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned()),
        });
        async {
            // A body that breaks ends the connection.
            let _ = request.into_body().collect().await;
            Ok::<_, Infallible>(Response::new(Empty::<&[u8]>::new()))
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let io = TokioIo::new(Whole(bytes, 0));
    let _ = runtime.block_on(
        http1::Builder::new()
            .serve_connection(io, service)
            .with_upgrades(),
    );
    let mut seen = seen.lock().unwrap();
    std::mem::take(&mut *seen)
}

/// A connection that says this, and closes.
struct Whole(Vec<u8>, usize);

impl AsyncRead for Whole {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let count = buf.remaining().min(self.0.len() - self.1);
        buf.put_slice(&self.0[self.1..self.1 + count]);
        self.1 += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Whole {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn the_first_message_of_tls_is_read_as_a_tls_library_reads_it() {
    fuzz::target!("hello", 20_000, |data| {
        let whole = peek(data);
        for cut in [1, 5, 9, data.len() / 2, data.len().saturating_sub(1)] {
            let early = peek(&data[..cut.min(data.len())]);
            assert!(
                early == Peeked::More || early == whole,
                "{early:?} {whole:?}"
            );
        }
        let mut acceptor = rustls::server::Acceptor::default();
        if acceptor.read_tls(&mut &data[..]).is_err() {
            return;
        }
        let Ok(Some(accepted)) = acceptor.accept() else {
            return;
        };
        let named = accepted.client_hello().server_name().map(str::to_owned);
        match whole {
            Peeked::Hello(hello) => {
                // The library gives a name in lower case, without a final dot.
                let plain =
                    |name: String| name.strip_suffix('.').unwrap_or(&name).to_ascii_lowercase();
                let (ours, named) = (hello.server.map(plain), named.map(plain));
                assert!(named.is_none() || ours == named, "{ours:?} {named:?}");
            }
            // Stricter is no harm: what is malformed goes nowhere.
            Peeked::Malformed => {}
            Peeked::More | Peeked::Other => panic!("{whole:?}, but it was accepted: {named:?}"),
        }
    });
}

#[test]
fn whatever_a_policy_says_equal_requests_have_equal_verdicts() {
    fuzz::target!("policy", 20_000, |data| {
        let Ok(text) = std::str::from_utf8(data) else {
            return;
        };
        let mut lines = text.lines();
        let (Some(host), Some(asked)) = (lines.next(), lines.next()) else {
            return;
        };
        let policy = policy(lines);
        let Ok(target) = Target::parse(host, Some(443)) else {
            return;
        };
        assert_eq!(
            Target::parse(&target.to_string(), None).as_ref(),
            Ok(&target)
        );
        let verdict = verdict(&policy, &target, asked);
        for other in [target.host.to_uppercase(), format!("{}.", target.host)] {
            // An address has no other spelling.
            let Ok(same) = Target::new(&other, target.port) else {
                continue;
            };
            assert_eq!(same, target);
        }
        // Every byte may be written as an escape; what is decided stays the same.
        if let Some(plain) = path::plain(asked) {
            assert_eq!(path::plain(&plain).as_deref(), Some(&*plain));
            assert!(!plain.split('/').any(|part| matches!(part, "." | "..")));
            let escaped: String = plain
                .bytes()
                .map(|byte| match byte {
                    b'/' => "/".to_owned(),
                    byte => format!("%{byte:02X}"),
                })
                .collect();
            assert_eq!(path::plain(&escaped).as_deref(), Some(&*plain));
        }
        // What is decided before there is a request holds for every request.
        if let Reach::Whole(whole) = reach(&policy, &Operator::default(), &target) {
            assert_eq!(allows(&whole), allows(&verdict));
        }
        let mut closed = policy;
        closed.rules.insert(
            0,
            Rule {
                allow: false,
                host: None,
                ports: Vec::new(),
                methods: Vec::new(),
                path: None,
            },
        );
        assert!(!allows(&decide(
            &closed,
            &Operator::default(),
            &target,
            "GET",
            asked
        )));
    });
}

fn verdict(policy: &Policy, target: &Target, asked: &str) -> Verdict {
    decide(policy, &Operator::default(), target, "GET", asked)
}

fn allows(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Allow { .. })
}

/// A policy from lines: `host`s that may be reached, `mcp host:port`, and rules `+` or `-` with a host,
/// a method and a path, each of which may be `*`.
fn policy<'a>(lines: impl Iterator<Item = &'a str>) -> Policy {
    let (mut rules, mut allowed_hosts, mut mcp_hosts) = (Vec::new(), Vec::new(), Vec::new());
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            [sign @ ("+" | "-"), host, method, path] => {
                let host = (host != "*").then(|| host.parse::<HostPattern>());
                let path = (path != "*").then(|| path.parse::<PathPattern>());
                let (Ok(host), Ok(path)) = (host.transpose(), path.transpose()) else {
                    continue;
                };
                let methods = if method == "*" {
                    Vec::new()
                } else {
                    vec![method.to_owned()]
                };
                rules.push(Rule {
                    allow: sign == "+",
                    host,
                    ports: Vec::new(),
                    methods,
                    path,
                });
            }
            ["mcp", host] => {
                let Ok(host) = host.parse::<HostPort>() else {
                    continue;
                };
                assert_eq!(host.to_string().parse().as_ref(), Ok(&host));
                mcp_hosts.push(host);
            }
            [host] => {
                let Ok(pattern) = host.parse::<HostPattern>() else {
                    continue;
                };
                assert_eq!(pattern.to_string().parse().as_ref(), Ok(&pattern));
                allowed_hosts.push(pattern);
            }
            _ => {}
        }
    }
    let networking = match allowed_hosts.is_empty() {
        true => Networking::Unrestricted,
        false => Networking::Limited {
            allowed_hosts,
            allow_mcp_servers: true,
            allow_package_managers: false,
        },
    };
    Policy {
        rules,
        mcp_hosts,
        ..Policy::new(networking)
    }
}
