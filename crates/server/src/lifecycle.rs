//! Serving and stopping: the listener's loop, the tasks of its connections, and their end.
//!
//! ```text
//! serving ──stop──▶ draining (no new connections, streams end, requests finish) ──▶ stopped
//!                      └────────────── deadline: what is left is dropped ────────────▲
//! ```

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service;
use tracing::{debug, info, warn};

use crate::app::{App, Parts};
use crate::config::{Config, Secret};
use crate::session::Sessions;
use crate::wire::{self, WireError};

/// How long a client may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// What a connection may have read ahead or not written yet. A slow reader of a stream holds this
/// much and no more, because the stream is asked for more only when there is room.
const BUFFER_BYTES: usize = 64 * 1024;

/// How long the loop rests when it cannot accept, which is when descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Whether the server goes on, for those who must end when it does not.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    stopping: CancellationToken,
    tasks: TaskTracker,
}

impl Lifecycle {
    /// Resolves when the server begins to stop. Streams end then.
    pub async fn stopping(&self) {
        self.stopping.cancelled().await;
    }

    /// Whether the server has begun to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Makes a task one of those that a stopping server waits for.
    pub fn track<F: Future>(&self, task: F) -> impl Future<Output = F::Output> + use<F> {
        self.tasks.track_future(task)
    }
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be had.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// A part does not start.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The first key cannot be made.
    #[error("cannot store the first key")]
    FirstKey(#[source] store::InsertKeyError),
}

/// A server that serves. Dropping it ends it at once; [`Server::shutdown`] lets it finish.
pub struct Server {
    address: SocketAddr,
    new_key: Option<Secret>,
    lifecycle: Lifecycle,
    sessions: Sessions,
    deadline: Duration,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Starts every part that the settings ask for, and serves.
    ///
    /// # Errors
    /// When the address cannot be had, or a part does not start.
    pub async fn start(config: Config) -> Result<Server, StartError> {
        // Before the parts, because a taken port is the most frequent reason and the cheapest to see.
        let listener = listen(config.listen).await?;
        let parts = wire::parts(&config).await?;
        Server::serve(config, parts, listener).await
    }

    /// Serves with parts that have been started elsewhere.
    ///
    /// # Errors
    /// When the address cannot be had, or the first key cannot be stored.
    pub async fn with(config: Config, parts: Parts) -> Result<Server, StartError> {
        let listener = listen(config.listen).await?;
        Server::serve(config, parts, listener).await
    }

    async fn serve(
        config: Config,
        parts: Parts,
        listener: TcpListener,
    ) -> Result<Server, StartError> {
        let deadline = Duration::from_millis(config.shutdown_timeout_ms);
        let given = config.listen;
        let address = listener.local_addr().map_err(|source| StartError::Listen {
            address: given,
            source,
        })?;
        let app = App::new(config, parts);
        let new_key = app
            .keys
            .ensure(&app.ids, app.clock.now())
            .await
            .map_err(StartError::FirstKey)?;
        let (lifecycle, sessions) = (app.lifecycle.clone(), app.sessions.clone());
        let connections = Arc::new(Semaphore::new(app.config.limits.connections));
        let accepting = tokio::spawn(accept(
            listener,
            crate::http::router(app),
            connections,
            lifecycle.clone(),
        ));
        info!(server.address = %address, "serving on {address}");
        Ok(Server {
            address,
            new_key,
            lifecycle,
            sessions,
            deadline,
            accepting,
        })
    }

    /// The address that is served.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The key that was made because there was none. To be shown once; only its hash is stored.
    #[must_use]
    pub fn new_key(&self) -> Option<&Secret> {
        self.new_key.as_ref()
    }

    /// Stops accepting, ends the streams, lets requests finish until the deadline; then ends the
    /// sessions' actors and sandboxes, with a deadline of the same length. Turns that are cut go on
    /// with the next server.
    pub async fn shutdown(mut self) {
        self.lifecycle.stopping.cancel();
        self.lifecycle.tasks.close();
        let accepting = &mut self.accepting;
        let drained = async {
            if let Err(error) = accepting.await {
                warn!(error = %error, "the listener's task failed");
            }
            self.lifecycle.tasks.wait().await;
        };
        if tokio::time::timeout(self.deadline, drained).await.is_err() {
            warn!("requests were still running at the deadline of the shutdown and were dropped");
            self.accepting.abort();
        }
        if tokio::time::timeout(self.deadline, self.sessions.drain())
            .await
            .is_err()
        {
            warn!(
                "sandboxes were still ending at the deadline of the shutdown; the next start removes them"
            );
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.lifecycle.stopping.cancel();
        self.accepting.abort();
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| StartError::Listen { address, source })
}

/// Serves until `shutdown` resolves, then stops as [`Server::shutdown`] does.
///
/// # Errors
/// When the server does not start.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), StartError> {
    let server = Server::start(config).await?;
    shutdown.await;
    server.shutdown().await;
    Ok(())
}

/// Accepts connections until the server stops, then waits for those that are left.
async fn accept(
    listener: TcpListener,
    router: Router,
    connections: Arc<Semaphore>,
    lifecycle: Lifecycle,
) {
    // Dropping the set ends its connections.
    let mut tasks = JoinSet::new();
    loop {
        let permit = connections.clone().acquire_owned();
        let next = async {
            let permit = permit.await.expect("the semaphore is never closed");
            (listener.accept().await, permit)
        };
        tokio::select! {
            () = lifecycle.stopping() => break,
            Some(_) = tasks.join_next() => {}
            (accepted, permit) = next => match accepted {
                Ok((stream, _)) => {
                    let connection = serve(stream, router.clone(), lifecycle.clone());
                    tasks.spawn(async move {
                        connection.await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    warn!(error = %error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    while tasks.join_next().await.is_some() {}
}

/// Serves one connection to its end.
async fn serve(stream: TcpStream, router: Router, lifecycle: Lifecycle) {
    // Events are small and urgent.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(error = %error, "cannot set TCP_NODELAY");
    }
    let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
        let mut router = router.clone();
        async move { Ok::<_, Infallible>(call(&mut router, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
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

async fn call(router: &mut Router, request: http::Request<Incoming>) -> http::Response<Body> {
    match router.call(request.map(Body::new)).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
