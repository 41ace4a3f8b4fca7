//! What a tunnel begins with, and what that means for what it is.

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;

use crate::policy::Target;
use crate::tls::{Hello, Peeked, peek};

/// What a tunnel begins with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum First {
    /// The client's first TLS message.
    Tls(Hello),
    /// Something that begins like it and goes wrong.
    BrokenTls,
    /// A request of HTTP/1.
    Http,
    /// Another protocol.
    Other,
    /// The host said something before the client did.
    Host,
    /// The client left.
    Nothing,
}

/// What becomes of a tunnel.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Course {
    /// Its bytes are carried as they are.
    Carry,
    /// Its TLS ends here, and its requests are looked at.
    Terminate,
    /// Its requests are looked at.
    Requests,
}

/// A beginning that does not agree with what the tunnel was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Disagrees {
    pub(super) rule: &'static str,
    pub(super) reason: &'static str,
}

const HTTPS: u16 = 443;
const HTTP: u16 = 80;

const METHODS: [&[u8]; 9] = [
    b"GET ",
    b"POST ",
    b"PUT ",
    b"HEAD ",
    b"PATCH ",
    b"DELETE ",
    b"OPTIONS ",
    b"TRACE ",
    b"CONNECT ",
];

/// Reads until it is known what the tunnel begins with. Where `host` is given, it may speak first.
pub(super) async fn read<I: AsyncRead + Unpin>(
    io: &mut I,
    bytes: &mut BytesMut,
    host: Option<&TcpStream>,
) -> First {
    loop {
        if let Some(first) = first(bytes) {
            return first;
        }
        let silent = bytes.is_empty();
        let host_speaks = async {
            match host {
                Some(host) if silent => host.readable().await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            read = io.read_buf(bytes) => match read {
                Ok(count) if count > 0 => {}
                _ => return First::Nothing,
            },
            _ = host_speaks => return First::Host,
        }
    }
}

/// What these bytes begin; `None` when they do not say yet.
fn first(bytes: &[u8]) -> Option<First> {
    match peek(bytes) {
        Peeked::More => None,
        Peeked::Malformed => Some(First::BrokenTls),
        Peeked::Hello(hello) => Some(First::Tls(hello)),
        Peeked::Other if METHODS.iter().any(|method| bytes.starts_with(method)) => {
            Some(First::Http)
        }
        Peeked::Other if METHODS.iter().any(|method| method.starts_with(bytes)) => None,
        Peeked::Other => Some(First::Other),
    }
}

/// What becomes of a tunnel to `target`. `whole` says that whatever is asked there is allowed.
pub(super) fn course(first: &First, target: &Target, whole: bool) -> Result<Course, Disagrees> {
    let disagrees = |rule, reason| Err(Disagrees { rule, reason });
    match first {
        First::Tls(hello) => {
            agrees(hello, target)?;
            Ok(if whole {
                Course::Carry
            } else {
                Course::Terminate
            })
        }
        First::BrokenTls => disagrees("tls-malformed", "its first TLS message is malformed"),
        First::Http => Ok(Course::Requests),
        _ if target.port == HTTPS => disagrees("not-tls", "TLS is expected on port 443"),
        _ if target.port == HTTP => disagrees("not-http", "HTTP or TLS is expected on port 80"),
        _ if whole => Ok(Course::Carry),
        _ => disagrees(
            "not-http",
            "a rule of the environment asks for methods or paths there, which only HTTP and TLS have",
        ),
    }
}

/// The name in the first message is what a server of many hosts goes by, so it must be the one that was
/// decided about, in the open.
fn agrees(hello: &Hello, target: &Target) -> Result<(), Disagrees> {
    let disagrees = |rule, reason| Err(Disagrees { rule, reason });
    if hello.encrypted {
        let reason = "its first TLS message is encrypted (ECH), so where it goes cannot be seen";
        return disagrees("tls-ech", reason);
    }
    let named = hello.server.as_deref();
    let Some(named) = named else {
        return match target.ip {
            // An address has no name to say.
            Some(_) => Ok(()),
            None => disagrees("tls-name-missing", "its first TLS message names no server"),
        };
    };
    match Target::new(named, target.port) {
        Ok(named) if named == *target => Ok(()),
        _ => disagrees("tls-name", "its first TLS message names another server"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(server: Option<&str>) -> First {
        First::Tls(Hello {
            server: server.map(str::to_owned),
            encrypted: false,
        })
    }

    #[test]
    fn a_tunnel_goes_where_its_beginning_agrees() {
        let ech = First::Tls(Hello {
            server: Some("a.example".into()),
            encrypted: true,
        });
        for (first, target, whole, expected) in [
            (hello(Some("a.example")), "a.example:443", true, "Carry"),
            (hello(Some("A.example.")), "a.example:443", true, "Carry"),
            (
                hello(Some("a.example")),
                "a.example:443",
                false,
                "Terminate",
            ),
            (hello(Some("b.example")), "a.example:443", true, "tls-name"),
            (
                hello(Some("b.example")),
                "a.example:8443",
                false,
                "tls-name",
            ),
            (hello(None), "a.example:443", true, "tls-name-missing"),
            (hello(None), "1.1.1.1:443", true, "Carry"),
            (hello(Some("a.example")), "1.1.1.1:443", true, "tls-name"),
            (ech, "a.example:443", false, "tls-ech"),
            (First::BrokenTls, "a.example:8443", true, "tls-malformed"),
            (First::Http, "a.example:443", true, "Requests"),
            (First::Http, "a.example:8080", false, "Requests"),
            (First::Other, "a.example:443", true, "not-tls"),
            (First::Other, "a.example:80", true, "not-http"),
            (First::Other, "a.example:22", true, "Carry"),
            (First::Other, "a.example:22", false, "not-http"),
            (First::Host, "a.example:22", true, "Carry"),
        ] {
            let target = Target::parse(target, None).unwrap();
            let course = match course(&first, &target, whole) {
                Ok(course) => format!("{course:?}"),
                Err(disagrees) => disagrees.rule.to_owned(),
            };
            assert_eq!(course, expected, "{first:?} {target} {whole}");
        }
    }

    #[test]
    fn a_beginning_is_told_as_soon_as_it_can_be() {
        for (bytes, expected) in [
            (&b""[..], None),
            (b"P", None),
            (b"GE", None),
            (b"GET ", Some(First::Http)),
            (b"get ", Some(First::Other)),
            (b"SSH-2.0", Some(First::Other)),
            (b"\x16", None),
            (b"PRI * HTTP/2.0", Some(First::Other)),
        ] {
            assert_eq!(first(bytes), expected, "{bytes:?}");
        }
    }
}
