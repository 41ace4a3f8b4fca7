//! Connections that become a WebSocket. No other upgrade is passed on: whoever asks for one is answered
//! as if it had not. What a host says in it is searched for credentials, which end it: frames have lengths,
//! so nothing can be replaced. What the sandbox says in it gets none.

use std::sync::Arc;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio::sync::oneshot;

use super::body::{Counted, CountedIo, Revoked, Searched};
use super::requests::Line;
use crate::answer::Reply;
use crate::audit::Entry;
use crate::inject::strip_hop;
use crate::replace::Pairs;

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// The client's connection, when its request asks for a WebSocket.
pub(super) fn wanted(request: &mut Request<Incoming>, two: bool) -> Option<OnUpgrade> {
    let headers = request.headers();
    let mut upgrades = headers.get_all(UPGRADE).iter();
    let websocket = upgrades
        .next()
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let named = headers.get_all(CONNECTION).iter().any(|value| {
        let mut words = value.to_str().unwrap_or_default().split(',');
        words.any(|word| word.trim().eq_ignore_ascii_case("upgrade"))
    });
    let asks = !two && websocket && named && upgrades.next().is_none();
    asks.then(|| hyper::upgrade::on(request))
}

/// Asks the host for it, or agrees with the client.
pub(super) fn ask(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, WEBSOCKET);
}

/// The host agreed: carries bytes from now on, by a task of the connection.
pub(super) fn through(
    line: &Line,
    client: OnUpgrade,
    response: &mut Response<Incoming>,
    pairs: Pairs,
    entry: &Arc<Entry>,
    revoked: Revoked,
) -> Response<Reply<Counted>> {
    let host = hyper::upgrade::on(&mut *response);
    let entry = Arc::clone(entry);
    let (done, ended) = oneshot::channel();
    line.tasks.spawn(async move {
        if let (Ok(client), Ok(host)) = tokio::join!(client, host) {
            let mut host = Searched::new(TokioIo::new(host), pairs, Arc::clone(&entry));
            let mut client = CountedIo::new(TokioIo::new(client), Arc::clone(&entry));
            tokio::select! {
                // An error here is one side breaking off; dropping both ends tells the other.
                _ = copy_bidirectional(&mut client, &mut host) => {}
                () = revoked => entry.cut("policy-changed"),
            }
        }
        drop(done);
    });
    line.upgraded(ended);
    let mut answer = Response::new(Reply::Ours(Full::default()));
    *answer.status_mut() = response.status();
    *answer.headers_mut() = std::mem::take(response.headers_mut());
    strip_hop(answer.headers_mut());
    ask(answer.headers_mut());
    answer
}
