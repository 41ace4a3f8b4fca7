//! The requests of one connection, each decided by itself and passed on as it comes: HTTP/1.1 and
//! HTTP/2, bodies and trailers in both directions at once, upgrades to WebSocket.
//!
//! Never passes a request on whose host is not the one that was decided about, and holds back no part
//! of a body but where a credential is put in: after the decision, before the host ([`Keys`]).

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use http::header::{CONNECTION, EXPECT, HOST, HeaderName, TE, TRAILER};
use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

use super::body::{Counted, Revoked, Way};
use super::dial::Dialled;
use super::guard::{Guard, Guarded};
use super::keys::Keys;
use super::tasks::{Ends, Tasks};
use super::upstream::{self, Upstream};
use super::{Visit, denied, forbidden, revoked, target, turn, upgrade};
use crate::answer::{Refusal, Reply};
use crate::audit::Entry;
use crate::bound;
use crate::decide::{Verdict, decide, decide_address};
use crate::head::bad;
use crate::inject::strip_hop;
use crate::path;
use crate::policy::{Policy, Target};
use crate::windows::Standing;

/// Requests of one HTTP/2 connection at once.
const MAX_STREAMS: u32 = 64;

/// What one stream and one connection of HTTP/2 may have under way.
pub(super) const STREAM_WINDOW: u32 = 1 << 20;
pub(super) const CONNECTION_WINDOW: u32 = 4 << 20;

/// Bytes of headers, as for HTTP/1.
const MAX_HEADERS: u32 = 64 * 1024;

/// How requests say where they go.
pub(crate) enum Mode {
    /// Each names its host: a proxy of plain HTTP.
    Forward,
    /// All are for one host, inside a connection that was opened for it.
    Inside {
        /// The host.
        target: Target,
        /// Whether the connection is TLS, which ends here.
        tls: bool,
    },
}

/// One connection that carries requests.
pub(super) struct Line {
    pub(super) visit: Visit,
    pub(super) standing: Standing,
    mode: Arc<Mode>,
    /// Whether the client speaks HTTP/2.
    pub(super) two: bool,
    pub(super) tasks: Tasks,
    pub(super) upstream: Upstream,
    guarded: Arc<Guarded>,
    /// Resolves when a connection that was upgraded ends.
    upgraded: Mutex<Option<oneshot::Receiver<()>>>,
}

impl Line {
    pub(super) fn is_tls(&self) -> bool {
        matches!(*self.mode, Mode::Inside { tls: true, .. })
    }

    /// Nothing but bytes follows on this connection, until `done`.
    pub(super) fn upgraded(&self, done: oneshot::Receiver<()>) {
        self.guarded.upgraded();
        let mut upgraded = self.upgraded.lock().unwrap_or_else(PoisonError::into_inner);
        *upgraded = Some(done);
    }
}

/// Serves a connection until its end. `first` is a connection to its host that stands already.
pub(super) async fn serve<I>(
    visit: Visit,
    standing: Standing,
    mode: Mode,
    first: Option<Dialled>,
    two: bool,
    io: I,
) where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let tasks = Tasks::default();
    let _ends = Ends(tasks.clone());
    let line = Arc::new(Line {
        visit,
        standing,
        mode: Arc::new(mode),
        two,
        tasks,
        upstream: Upstream::new(first),
        guarded: Arc::default(),
        upgraded: Mutex::default(),
    });
    speak(&line, io).await;
}

async fn speak<I>(line: &Arc<Line>, io: I)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let here = Arc::clone(line);
    let service = service_fn(move |request| answer(Arc::clone(&here), request));
    // An end that is not clean is the client's, who left.
    if line.two {
        let _ = http2::Builder::new(line.tasks.clone())
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEADERS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .serve_connection(TokioIo::new(io), service)
            .await;
        return;
    }
    let guard = Guard::new(io, Arc::clone(&line.mode), Arc::clone(&line.guarded));
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        // A head that takes its time is ended with the connection, when nothing moves on it.
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(guard), service)
        .with_upgrades()
        .await;
    let upgraded = (line.upgraded.lock())
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    if let Some(done) = upgraded {
        let _ = done.await;
    }
}

async fn answer(
    line: Arc<Line>,
    request: Request<Incoming>,
) -> Result<Response<Reply<Counted>>, Infallible> {
    let entry = line.visit.entry(Some(&line.standing));
    let passed = Box::pin(pass(&line, request, &entry)).await;
    Ok(passed.unwrap_or_else(|refusal: Refusal| {
        entry.refused(&refusal);
        let mut response = refusal.response().map(Reply::Ours);
        if !line.two {
            // What was sent of the refused request is read by nobody.
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }))
}

/// Decides about a request, passes it on, and brings the answer back.
async fn pass(
    line: &Arc<Line>,
    mut request: Request<Incoming>,
    entry: &Arc<Entry>,
) -> Result<Response<Reply<Counted>>, Refusal> {
    if let Mode::Inside { target, .. } = &*line.mode {
        entry.to(target);
    }
    let target = match line.two {
        true => target::of_request(&request, &line.mode)?,
        false => line.guarded.next()?,
    };
    entry.to(&target);
    // Not before: what the guard refused is not what came here in its place.
    let method = request.method().as_str().to_owned();
    let asked = request.uri().path().to_owned();
    entry.asks(&method, Some(&asked));
    let policy = line.standing.now();
    entry.allowed(permit(line, &policy, &target, &method, &asked)?);
    turn(&line.standing, &target).await?;
    let upgrade = upgrade::wanted(&mut request, line.two);
    let asked = Asked {
        method,
        path: asked,
        policy: Arc::clone(&policy),
        target,
    };
    let target = &asked.target;
    let mut keys = Keys::of(line, policy, target, &asked.path).await?;
    let (mut parts, body) = request.into_parts();
    parts.extensions.clear();
    keys.put_in(&mut parts, entry)?;
    let (body, whole) = keys.outgoing(&mut parts.headers, body, entry).await?;
    let ask = |parts: Parts, body| ask(line, &asked, parts, body, upgrade.is_some(), entry);
    let (mut response, mut revoked) = ask(parts.clone(), body).await?;
    if response.status() == StatusCode::UNAUTHORIZED
        && let Some(whole) = whole
        && keys.renew(line, &mut parts.headers, entry).await?
    {
        drop(response);
        let body = Counted::held(whole, Arc::clone(entry));
        (response, revoked) = ask(parts.clone(), body).await?;
    }
    let status = response.status();
    entry.answered(status);
    let pairs = keys.taken_out();
    let headers = response.headers_mut();
    keys.take_out(&pairs, &parts.method, status, headers, entry)?;
    if status == StatusCode::SWITCHING_PROTOCOLS {
        let upgrade = upgrade.ok_or_else(|| unasked(target))?;
        let through = upgrade::through(line, upgrade, &mut response, pairs, entry, revoked);
        return Ok(through);
    }
    let (mut parts, body) = response.into_parts();
    parts.extensions.clear();
    keep_trailers(&mut parts.headers);
    let body = Counted::new(body, Arc::clone(entry), Way::In).until(revoked);
    let body = body.replacing(pairs);
    Ok(Response::from_parts(parts, Reply::Theirs(body)))
}

/// What was decided about.
struct Asked {
    method: String,
    path: String,
    policy: Arc<Policy>,
    target: Target,
}

/// Sends a request as the host gets it. What comes with the answer resolves when it is not allowed any
/// more.
async fn ask(
    line: &Arc<Line>,
    asked: &Asked,
    mut parts: Parts,
    body: Counted,
    upgrades: bool,
    entry: &Entry,
) -> Result<(Response<Incoming>, Revoked), Refusal> {
    let target = &asked.target;
    let sender = upstream::sender(line, target).await?;
    entry.reaches(target);
    let mut revoked = not_any_more(line, asked, sender.ip());
    address(&mut parts.uri, target, line.is_tls(), &sender);
    onwards(&mut parts.headers, target, line.is_tls(), &sender);
    parts.version = if sender.is_two() {
        Version::HTTP_2
    } else {
        Version::HTTP_11
    };
    if upgrades {
        upgrade::ask(&mut parts.headers);
    }
    let request = Request::from_parts(parts, body);
    let answered = upstream::send(line, target, sender, request);
    tokio::select! {
        answered = answered => Ok((answered?, revoked)),
        () = &mut revoked => {
            entry.cut("policy-changed");
            Err(changed(target))
        }
    }
}

/// Resolves when a request that was allowed is not any more, or the address that it went to, or when
/// the host's credentials are others.
fn not_any_more(line: &Arc<Line>, asked: &Asked, ip: IpAddr) -> Revoked {
    let (line, target) = (Arc::clone(line), asked.target.clone());
    let (method, path) = (asked.method.clone(), asked.path.clone());
    let before = Arc::clone(&asked.policy);
    Box::pin(async move {
        let operator = &line.visit.way.operator;
        let still = |policy: &Policy| {
            let address = decide_address(policy, operator, &target, ip);
            permit(&line, policy, &target, &method, &path).is_ok()
                && matches!(address, Verdict::Allow { .. })
                && bound::of(policy, &target).eq(bound::of(&before, &target))
        };
        revoked(&line.standing, still).await;
    })
}

fn changed(target: &Target) -> Refusal {
    let message = format!("{target} may not be asked this any more (rule: policy-changed)");
    forbidden("policy-changed", message)
}

/// The rule that allows a request.
fn permit(
    line: &Line,
    policy: &Policy,
    target: &Target,
    method: &str,
    asked: &str,
) -> Result<String, Refusal> {
    let mut rules = policy.rules.iter().filter(|rule| rule.covers(target));
    let plain = match rules.any(|rule| rule.path.is_some()) {
        true => path::plain(asked)
            .ok_or_else(|| bad("a rule of the environment asks for its path, which can be understood in more than one way"))?,
        false => asked.into(),
    };
    match decide(policy, &line.visit.way.operator, target, method, &plain) {
        Verdict::Allow { rule } => Ok(rule),
        Verdict::Deny { rule, reason } => Err(denied(target, &rule, &reason)),
    }
}

/// How the host is asked: by path alone, or with all of the address in HTTP/2.
fn address(uri: &mut Uri, target: &Target, tls: bool, sender: &upstream::Sender) {
    let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let made = match sender.is_two() {
        false => Uri::try_from(path).ok(),
        true => Uri::builder()
            .scheme(if tls { Scheme::HTTPS } else { Scheme::HTTP })
            .authority(host(target, tls))
            .path_and_query(path)
            .build()
            .ok(),
    };
    *uri = made.unwrap_or_default();
}

/// The host as a header names it.
fn host(target: &Target, tls: bool) -> String {
    let text = target.to_string();
    let usual = if tls { ":443" } else { ":80" };
    text.strip_suffix(usual).unwrap_or(&text).to_owned()
}

/// The headers as the host gets them.
fn onwards(headers: &mut HeaderMap, target: &Target, tls: bool, sender: &upstream::Sender) {
    let trailers = headers.get_all(TE).iter().any(|value| {
        let mut words = value.to_str().unwrap_or_default().split(',');
        words.any(|word| word.trim().eq_ignore_ascii_case("trailers"))
    });
    keep_trailers(headers);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    // We answered it by reading the body.
    headers.remove(EXPECT);
    headers.remove(HOST);
    if !sender.is_two()
        && let Ok(host) = HeaderValue::from_str(&host(target, tls))
    {
        headers.insert(HOST, host);
    }
}

/// Drops what concerns one hop only, but for the announcement of trailers, which go all the way.
fn keep_trailers(headers: &mut HeaderMap) {
    let announced: Vec<HeaderValue> = headers.get_all(TRAILER).iter().cloned().collect();
    strip_hop(headers);
    for value in announced {
        headers.append(TRAILER, value);
    }
    headers.remove(HeaderName::from_static("http2-settings"));
}

fn unasked(target: &Target) -> Refusal {
    let message = format!("{target} changed the protocol without being asked to");
    let status = StatusCode::BAD_GATEWAY;
    Refusal::new(status, "api_error", "unasked-upgrade", message)
}
