//! Where a request wants to go, when it says so in one way only.

use http::header::HOST;
use http::uri::Scheme;
use http::{Request, StatusCode, Uri};

use super::requests::Mode;
use crate::answer::Refusal;
use crate::head::{Head, bad};
use crate::policy::{ParseHostError, Target};

/// The target of a `CONNECT`.
pub(super) fn of_connect(head: &Head) -> Result<Target, Refusal> {
    let target = Target::parse(&head.target, None).map_err(|error| malformed(&error))?;
    same_host(head, &target, target.port)?;
    Ok(target)
}

/// The target of an HTTP/1 request.
pub(super) fn of_head(head: &Head, mode: &Mode) -> Result<Target, Refusal> {
    match mode {
        Mode::Forward => of_forward(head),
        Mode::Inside { target, tls } => {
            if !head.target.starts_with('/') && head.target != "*" {
                return Err(bad("inside a connection to a host it names another place"));
            }
            let Some(host) = &head.host else {
                return Err(bad("it has no host header"));
            };
            agrees(host, target, *tls)?;
            Ok(target.clone())
        }
    }
}

fn of_forward(head: &Head) -> Result<Target, Refusal> {
    let http = |text: &str| text.eq_ignore_ascii_case("http://");
    if !head.target.get(..7).is_some_and(http) {
        return Err(bad(
            "it is neither CONNECT nor a request for a whole http:// address",
        ));
    }
    let uri: Uri = (head.target.parse()).map_err(|_| bad("its address is malformed"))?;
    let authority = uri
        .authority()
        .ok_or_else(|| bad("its address has no host"))?;
    if authority.as_str().contains('@') {
        return Err(bad("its address has credentials in it"));
    }
    let target = Target::parse(authority.as_str(), Some(80)).map_err(|error| malformed(&error))?;
    same_host(head, &target, 80)?;
    Ok(target)
}

/// The target of an HTTP/2 request. Whatever is wrong with its pseudo-headers by themselves was refused
/// when it was read.
pub(super) fn of_request<B>(request: &Request<B>, mode: &Mode) -> Result<Target, Refusal> {
    let Mode::Inside { target, tls } = mode else {
        return Err(bad("HTTP/2 is spoken inside connections to a host only"));
    };
    let uri = request.uri();
    let scheme = if *tls { Scheme::HTTPS } else { Scheme::HTTP };
    if request.method() == http::Method::CONNECT {
        return Err(bad("inside a connection to a host it asks for a tunnel"));
    }
    if uri.scheme() != Some(&scheme) {
        return Err(bad("its :scheme is not that of the connection"));
    }
    let authority = uri.authority().ok_or_else(|| bad("it has no :authority"))?;
    agrees(authority.as_str(), target, *tls)?;
    let mut hosts = request.headers().get_all(HOST).iter();
    if let Some(host) = hosts.next() {
        agrees(host.to_str().unwrap_or_default(), target, *tls)?;
    }
    match hosts.next() {
        None => Ok(target.clone()),
        Some(_) => Err(bad("it has more than one host header")),
    }
}

/// What a request inside a connection says must be the host of the connection: a server of many hosts
/// would go by the request, and egress decided by the connection.
fn agrees(said: &str, target: &Target, tls: bool) -> Result<(), Refusal> {
    let port = if tls { 443 } else { 80 };
    let parsed = Target::parse(said, Some(port)).map_err(|error| malformed(&error))?;
    if parsed == *target {
        return Ok(());
    }
    let message = format!(
        "the connection was opened for {target}, but the request in it asks for {parsed} (rule: host-mismatch)"
    );
    let status = StatusCode::MISDIRECTED_REQUEST;
    Err(Refusal::new(
        status,
        "invalid_request_error",
        "host-mismatch",
        message,
    ))
}

/// A `host` header must name the host that is asked for. `CONNECT` clients often
/// leave its port out.
fn same_host(head: &Head, target: &Target, port: u16) -> Result<(), Refusal> {
    let Some(host) = &head.host else {
        return Ok(());
    };
    let said = Target::parse(host, Some(port)).map_err(|error| malformed(&error))?;
    if said == *target {
        return Ok(());
    }
    Err(bad(&format!(
        "it asks for {target}, but its host header says {said}"
    )))
}

fn malformed(error: &ParseHostError) -> Refusal {
    bad(&error.to_string())
}
