//! One plain `http` request through the proxy, in origin form on its way out.

use std::future;
use std::sync::Mutex;

use http::header::{CONNECTION, HOST};
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http1 as client;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Opened;
use crate::head::Rewound;
use crate::inject::strip_hop;

/// Why an exchange broke off.
#[derive(Debug, thiserror::Error)]
enum ExchangeError {
    #[error("the host broke off")]
    Host(#[from] hyper::Error),
    #[error("a connection carries one request")]
    Second,
}

/// Carries one request and its answer. The head was checked as bytes before, so
/// what the server below reads from it is what was decided about.
pub(super) async fn exchange<I>(opened: &mut Opened, io: I)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let io = Rewound::new(opened.head.bytes.clone(), io);
    let Ok((sender, host)) = client::handshake(TokioIo::new(&mut opened.stream)).await else {
        return;
    };
    let authority = opened.target.to_string();
    let sender = Mutex::new(Some(sender));
    let service = service_fn(|request| {
        let sender = sender
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
        let request = outgoing(request, &authority);
        async move {
            let mut sender = sender.ok_or(ExchangeError::Second)?;
            Ok::<_, ExchangeError>(returning(sender.send_request(request).await?))
        }
    });
    let served = server::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(io), service);
    // The host's side is driven until the client has its answer.
    let host = async {
        let _ = host.await;
        future::pending::<()>().await;
    };
    tokio::select! {
        _ = served => {}
        () = host => {}
    }
}

/// The request as the host gets it.
fn outgoing(mut request: Request<Incoming>, authority: &str) -> Request<Incoming> {
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", PathAndQuery::as_str);
    *request.uri_mut() = Uri::try_from(path).unwrap_or_default();
    strip_hop(request.headers_mut());
    let host = authority.strip_suffix(":80").unwrap_or(authority);
    if let Ok(host) = HeaderValue::from_str(host) {
        request.headers_mut().insert(HOST, host);
    }
    request
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    request
}

/// The answer as the client gets it, a redirect like any other.
fn returning(mut response: Response<Incoming>) -> Response<Incoming> {
    strip_hop(response.headers_mut());
    response
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
