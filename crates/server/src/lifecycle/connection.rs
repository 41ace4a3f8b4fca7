//! One connection, from its first byte to its end. Whatever a client does, it holds two buffers and the
//! request that it sends, and for no longer than it goes on with it.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tower_service::Service;
use tracing::debug;

use super::Lifecycle;

/// What a connection may have read ahead or not written yet. A slow reader of a stream holds this
/// much and no more, because the stream is asked for more only when there is room.
const BUFFER_BYTES: usize = 64 * 1024;

/// How connections are served.
#[derive(Clone)]
pub(super) struct Serving {
    pub(super) router: Router,
    pub(super) lifecycle: Lifecycle,
    /// How long a client may take to send a request's head, and for its part of TLS.
    pub(super) head: Duration,
    pub(super) tls: Option<TlsAcceptor>,
}

impl Serving {
    /// Serves one connection to its end.
    pub(super) async fn serve(self, stream: TcpStream) {
        // Events are small and urgent.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(error = %error, "cannot set TCP_NODELAY");
        }
        let Some(tls) = &self.tls else {
            return self.speak(stream).await;
        };
        match tokio::time::timeout(self.head, tls.accept(stream)).await {
            Ok(Ok(stream)) => Box::pin(self.speak(stream)).await,
            Ok(Err(error)) => debug!(error = %error, "a connection did not come to TLS"),
            Err(_) => debug!("a connection took too long to come to TLS"),
        }
    }

    async fn speak(self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        let Serving {
            router,
            lifecycle,
            head,
            ..
        } = self;
        let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
            let mut router = router.clone();
            async move { Ok::<_, Infallible>(call(&mut router, request).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(head)
            .max_buf_size(BUFFER_BYTES)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = lifecycle.stopping() => {
                connection.as_mut().graceful_shutdown();
                connection.as_mut().await
            }
        };
        if let Err(error) = ended {
            debug!(error = %error, "a connection ended early");
        }
    }
}

async fn call(router: &mut Router, request: http::Request<Incoming>) -> http::Response<Body> {
    match router.call(request.map(Body::new)).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
