//! `CONNECT`: a tunnel to a host, which is carried unread when the host may be asked anything and what
//! begins in the tunnel agrees with it; else its TLS ends here and its requests are decided one by one.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::body::CountedIo;
use super::dial::{Dialled, dial};
use super::first::{self, Course, Disagrees, First};
use super::requests::{self, Mode};
use super::{HEAD_TIMEOUT, Visit, denied, end_with, forbidden, revoked, target, turn};
use crate::answer::Refusal;
use crate::audit::Entry;
use crate::decide::{Reach, Verdict, decide_address, reach};
use crate::head::{Head, Rewound};
use crate::policy::{Policy, Target};
use crate::tls::H2;
use crate::windows::Standing;

/// Buffer of a tunnel, each way: smaller ones cost throughput.
const TUNNEL_BUFFER: usize = 64 * 1024;

const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// How long a program that is refused has to begin, to be told in its own words. Where hosts speak
/// first it says nothing, and shall not wait longer.
const FIRST_WORD: Duration = Duration::from_millis(500);

/// What a client gets whose TLS is refused: the alert `access_denied` (RFC 8446, section 6.2).
const ACCESS_DENIED: &[u8] = &[21, 3, 3, 0, 2, 2, 49];

/// `CONNECT`.
pub(super) async fn serve<I>(visit: Visit, standing: Standing, head: &Head, after: Bytes, mut io: I)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let entry = visit.entry(Some(&standing));
    entry.asks("CONNECT", None);
    let opened = match target::of_connect(head) {
        Ok(target) => open(&visit, &standing, &target, &entry)
            .await
            .map(|dialled| (target, dialled)),
        Err(refusal) => Err(refusal),
    };
    let (target, dialled) = match opened {
        Ok(opened) => opened,
        Err(refusal) => {
            entry.refused(&refusal);
            return end_with(io, &refusal).await;
        }
    };
    if io.write_all(ESTABLISHED).await.is_err() {
        return;
    }
    entry.answered(StatusCode::OK);
    through(visit, standing, target, dialled, after, entry, io).await;
}

/// A connection to a name by a program that knows no proxy: what is refused is told in the words that
/// it begins with, if it has any, and else by the connection's end.
pub(super) async fn transparent<I>(visit: Visit, standing: Standing, target: Target, mut io: I)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let entry = visit.entry(Some(&standing));
    entry.asks("CONNECT", None);
    let refusal = match open(&visit, &standing, &target, &entry).await {
        Ok(dialled) => {
            return through(visit, standing, target, dialled, Bytes::new(), entry, io).await;
        }
        Err(refusal) => refusal,
    };
    entry.refused(&refusal);
    let mut bytes = BytesMut::new();
    match timeout(FIRST_WORD, first::read(&mut io, &mut bytes, None)).await {
        Ok(First::Http) => end_with(io, &refusal).await,
        Ok(First::Tls(_) | First::BrokenTls) => deny_tls(io).await,
        _ => {}
    }
}

/// Goes on with a tunnel whose host was decided about, by what begins in it.
async fn through<I>(
    visit: Visit,
    standing: Standing,
    target: Target,
    dialled: Option<Dialled>,
    after: Bytes,
    entry: Arc<Entry>,
    mut io: I,
) where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut bytes = BytesMut::from(&after[..]);
    // On other ports the host may be the first to speak.
    let speaks = dialled
        .as_ref()
        .filter(|_| ![80, 443].contains(&target.port));
    let speaks = speaks.map(|dialled| &dialled.stream);
    let first = first::read(&mut io, &mut bytes, speaks).await;
    if first == First::Nothing && bytes.is_empty() {
        if dialled.is_none() {
            // Nothing was asked, so nothing was decided.
            entry.forget();
        }
        return;
    }
    let course = first::course(&first, &target, dialled.is_some());
    let mut io = Rewound::new(bytes.freeze(), io);
    match (course, dialled) {
        (Err(disagrees), _) => {
            entry.refused(&refusal(&target, &disagrees));
            match first {
                First::Tls(_) | First::BrokenTls => deny_tls(io).await,
                _ => drop(io.shutdown().await),
            }
        }
        (Ok(Course::Carry), Some(dialled)) => {
            carry(&visit, &standing, &target, dialled, entry, io).await;
        }
        (Ok(Course::Requests), dialled) => {
            entry.forget();
            let mode = Mode::Inside { target, tls: false };
            requests::serve(visit, standing, mode, dialled, false, io).await;
        }
        (Ok(Course::Carry | Course::Terminate), _) => {
            Box::pin(terminate(visit, standing, target, &entry, io)).await;
        }
    }
}

/// Ends a client's TLS before it has begun.
async fn deny_tls<I: AsyncWrite + Unpin>(mut io: I) {
    // The client may be gone; then nobody misses it.
    let _ = io.write_all(ACCESS_DENIED).await;
    let _ = io.shutdown().await;
}

/// Decides about the host, and connects to it when it may be asked anything.
async fn open(
    visit: &Visit,
    standing: &Standing,
    target: &Target,
    entry: &Entry,
) -> Result<Option<Dialled>, Refusal> {
    entry.to(target);
    let rule = match reach(&standing.now(), &visit.way.operator, target) {
        Reach::Whole(Verdict::Allow { rule }) => rule,
        Reach::Whole(Verdict::Deny { rule, reason }) => {
            return Err(denied(target, &rule, &reason));
        }
        Reach::Requests => return Ok(None),
    };
    entry.allowed(rule);
    turn(standing, target).await?;
    let dialled = dial(visit, standing, target).await?;
    entry.reaches(target);
    Ok(Some(dialled))
}

/// Carries bytes until either side ends, nothing moves for too long, or the policy does not allow it
/// any more.
async fn carry<I>(
    visit: &Visit,
    standing: &Standing,
    target: &Target,
    dialled: Dialled,
    entry: Arc<Entry>,
    io: I,
) where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let Dialled {
        mut stream,
        ip,
        place: _place,
    } = dialled;
    let operator = &visit.way.operator;
    let still = |policy: &Policy| {
        let name = reach(policy, operator, target);
        let address = decide_address(policy, operator, target, ip);
        matches!(name, Reach::Whole(Verdict::Allow { .. }))
            && matches!(address, Verdict::Allow { .. })
    };
    let mut io = CountedIo::new(io, Arc::clone(&entry));
    let carried = copy_bidirectional_with_sizes(&mut io, &mut stream, TUNNEL_BUFFER, TUNNEL_BUFFER);
    tokio::select! {
        // An error here is one side breaking off; dropping both ends tells the other.
        _ = carried => {}
        () = revoked(standing, still) => entry.cut("policy-changed"),
    }
}

/// Ends the client's TLS and serves its requests.
async fn terminate<I>(visit: Visit, standing: Standing, target: Target, entry: &Entry, io: I)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let config = match visit.authority.serving(&target.host) {
        Ok(config) => config,
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "cannot speak for {target} inside"
            );
            let message = format!("no certificate could be made for {target}");
            return entry.refused(&forbidden("certificate", message));
        }
    };
    let accepted = timeout(HEAD_TIMEOUT, TlsAcceptor::from(config).accept(io)).await;
    let Ok(Ok(io)) = accepted else {
        let message = format!("the client did not take the certificate for {target}");
        return entry.refused(&forbidden("tls-handshake", message));
    };
    entry.forget();
    let two = io.get_ref().1.alpn_protocol() == Some(H2);
    let mode = Mode::Inside { target, tls: true };
    requests::serve(visit, standing, mode, None, two, io).await;
}

fn refusal(target: &Target, disagrees: &Disagrees) -> Refusal {
    denied(target, disagrees.rule, disagrees.reason)
}
