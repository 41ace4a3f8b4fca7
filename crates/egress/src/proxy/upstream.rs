//! Connections to hosts, for the requests of one client connection and no other. Each is dialled,
//! and the host's addresses are decided about, anew.

use std::io;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::body::Counted;
use super::dial::{Dialled, dial, late, unreachable_host};
use super::requests::{CONNECTION_WINDOW, Line, STREAM_WINDOW};
use crate::answer::Refusal;
use crate::decide::{Verdict, decide_address};
use crate::policy::Target;
use crate::tls::H2;
use crate::traffic::Place;

/// Connections without a request that are kept. Beyond it the oldest is closed.
const MAX_KEPT: usize = 8;

/// The connections of one client connection.
pub(super) struct Upstream {
    /// A connection that stands already, for the first request.
    first: Mutex<Option<Dialled>>,
    kept: Mutex<Vec<(Target, Sender)>>,
}

/// One connection, with the address that was decided about and dialled.
pub(super) enum Sender {
    /// It takes one request after the other.
    One(http1::SendRequest<Counted>, IpAddr),
    /// It takes many at once.
    Two(http2::SendRequest<Counted>, IpAddr),
}

impl Upstream {
    pub(super) fn new(first: Option<Dialled>) -> Self {
        Self {
            first: Mutex::new(first),
            kept: Mutex::default(),
        }
    }

    /// A connection to `target` that is kept. `idle` takes none that is still busy; without it, one
    /// request follows the other.
    fn take(&self, target: &Target, idle: bool) -> Option<Sender> {
        let mut kept = lock(&self.kept);
        if !idle {
            // Requests come one after the other, and a connection to another host would take a place of
            // the session's that this one may need.
            kept.retain(|(known, _)| known == target);
        }
        let fits = |sender: &Sender| match sender {
            Sender::One(sender, _) => !idle || sender.is_ready(),
            Sender::Two(sender, _) => !sender.is_closed(),
        };
        let found = |(known, sender): &(Target, Sender)| known == target && fits(sender);
        let at = kept.iter().position(found)?;
        match &kept[at].1 {
            Sender::Two(sender, ip) => Some(Sender::Two(sender.clone(), *ip)),
            Sender::One(..) => Some(kept.remove(at).1),
        }
    }

    /// Closes all that are kept for `target`.
    fn forget(&self, target: &Target) {
        lock(&self.kept).retain(|(known, _)| known != target);
    }

    fn keep(&self, target: &Target, sender: Sender) {
        let mut kept = lock(&self.kept);
        kept.retain(|(_, sender)| !sender.is_closed());
        if kept.len() >= MAX_KEPT {
            kept.remove(0);
        }
        kept.push((target.clone(), sender));
    }
}

impl Sender {
    pub(super) fn is_two(&self) -> bool {
        matches!(self, Self::Two(..))
    }

    /// The address that it leads to.
    pub(super) fn ip(&self) -> IpAddr {
        match self {
            Self::One(_, ip) | Self::Two(_, ip) => *ip,
        }
    }

    fn is_closed(&self) -> bool {
        match self {
            Self::One(sender, _) => sender.is_closed(),
            Self::Two(sender, _) => sender.is_closed(),
        }
    }

    async fn send(
        &mut self,
        request: Request<Counted>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Counted>>> {
        match self {
            Self::One(sender, _) => sender.try_send_request(request).await,
            Self::Two(sender, _) => sender.try_send_request(request).await,
        }
    }
}

/// A connection to `target`: one that is kept, or a new one.
pub(super) async fn sender(line: &Line, target: &Target) -> Result<Sender, Refusal> {
    while let Some(sender) = line.upstream.take(target, line.two) {
        if !may_reach(line, target, sender.ip()) {
            // It was made under another policy.
            line.upstream.forget(target);
            continue;
        }
        match sender {
            // The answer before was taken whole, or this request would not have come; that the
            // connection is done with it may take a moment.
            Sender::One(mut sender, ip) => {
                if sender.ready().await.is_ok() {
                    return Ok(Sender::One(sender, ip));
                }
            }
            sender => return Ok(sender),
        }
    }
    connect(line, target).await
}

/// Sends a request. One that the host has not begun to read, because it closed a kept connection,
/// is sent again on a new one.
pub(super) async fn send(
    line: &Line,
    target: &Target,
    mut sender: Sender,
    mut request: Request<Counted>,
) -> Result<Response<Incoming>, Refusal> {
    let mut again = true;
    loop {
        match sender.send(request).await {
            Ok(response) => {
                if !sender.is_two() {
                    line.upstream.keep(target, sender);
                }
                return Ok(response);
            }
            Err(mut error) => match error.take_message() {
                Some(unsent) if again => {
                    let two = sender.is_two();
                    sender = connect(line, target).await?;
                    // What was made for the one is not what the other takes.
                    if sender.is_two() != two {
                        return Err(broken(target));
                    }
                    (request, again) = (unsent, false);
                }
                _ => return Err(broken(target)),
            },
        }
    }
}

/// Whether the policy that holds now lets the target be this address.
fn may_reach(line: &Line, target: &Target, ip: IpAddr) -> bool {
    let verdict = decide_address(&line.standing.now(), &line.visit.way.operator, target, ip);
    matches!(verdict, Verdict::Allow { .. })
}

async fn connect(line: &Line, target: &Target) -> Result<Sender, Refusal> {
    let first = lock(&line.upstream.first).take();
    let dialled = match first.filter(|first| may_reach(line, target, first.ip)) {
        Some(dialled) => dialled,
        None => dial(&line.visit, &line.standing, target).await?,
    };
    let limit = line.visit.way.connect_timeout;
    let made = timeout(limit, Box::pin(shake_hands(line, target, dialled))).await;
    let sender = made.map_err(|_| late(&line.visit, target))??;
    if let Sender::Two(sender, ip) = &sender {
        line.upstream.keep(target, Sender::Two(sender.clone(), *ip));
    }
    Ok(sender)
}

async fn shake_hands(line: &Line, target: &Target, dialled: Dialled) -> Result<Sender, Refusal> {
    let Dialled { stream, ip, place } = dialled;
    if !line.is_tls() {
        return begin(line, target, (ip, place), false, stream).await;
    }
    let name = match target.ip {
        Some(ip) => ServerName::from(ip),
        None => ServerName::try_from(target.host.clone())
            .map_err(|_| untrusted(target, "its name is not one of TLS"))?,
    };
    let config = line.visit.way.trust.connecting(line.two).await;
    let config =
        config.map_err(|_| untrusted(target, "the machine's authorities cannot be read"))?;
    let stream = TlsConnector::from(config).connect(name, stream).await;
    let stream = stream.map_err(|error| untrusted(target, &reason(&error)))?;
    let two = stream.get_ref().1.alpn_protocol() == Some(H2);
    begin(line, target, (ip, place), two, stream).await
}

async fn begin<I>(
    line: &Line,
    target: &Target,
    (ip, place): (IpAddr, Place),
    two: bool,
    io: I,
) -> Result<Sender, Refusal>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let io = TokioIo::new(io);
    if two {
        let made = http2::Builder::new(line.tasks.clone())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(io)
            .await;
        let (sender, connection) = made.map_err(|_| broken(target))?;
        line.tasks.spawn(async move {
            let _place = place;
            let _ = connection.await;
        });
        return Ok(Sender::Two(sender, ip));
    }
    let (sender, connection) = (http1::handshake(io).await).map_err(|_| broken(target))?;
    line.tasks.spawn(async move {
        let _place = place;
        let _ = connection.with_upgrades().await;
    });
    Ok(Sender::One(sender, ip))
}

/// Why TLS to a host failed, in words without an address.
fn reason(error: &io::Error) -> String {
    let tls = error.get_ref().and_then(|error| error.downcast_ref());
    match tls {
        Some(rustls::Error::InvalidCertificate(why)) => {
            format!("its certificate is not to be trusted ({why:?})")
        }
        Some(_) => "it does not speak TLS as it should".to_owned(),
        None => "it broke off in the middle of the TLS handshake".to_owned(),
    }
}

fn untrusted(target: &Target, why: &str) -> Refusal {
    Refusal {
        cause: "upstream-tls",
        ..unreachable_host(target, why)
    }
}

fn broken(target: &Target) -> Refusal {
    let message = format!("{target} broke off without an answer");
    Refusal::new(StatusCode::BAD_GATEWAY, "api_error", "broken-off", message)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
