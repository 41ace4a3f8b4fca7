//! Serving and stopping: the listener's loop, the tasks of its connections, and their end.
//!
//! ```text
//! serving ──stop──▶ draining (no new connections, streams end, requests finish) ──▶ stopped
//!                      └────────────── deadline: what is left is dropped ────────────▲
//! ```

mod connection;
mod peers;
mod tls;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sandbox::keeper::Remote;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::app::{App, Parts};
use crate::config::{Config, Limits, Secret};
use crate::given::Given;
use crate::session::Sessions;
use crate::wire::{self, WireError};
use connection::Serving;
use peers::Peers;
use tls::Tls;
pub use tls::TlsError;

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
    /// The certificate cannot be used.
    #[error("cannot serve TLS")]
    Tls(#[source] TlsError),
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
    tls: bool,
    new_key: Option<Secret>,
    lifecycle: Lifecycle,
    sessions: Sessions,
    deadline: Duration,
    accepting: JoinHandle<()>,
    keeper: Option<Arc<Remote>>,
}

impl Server {
    /// Starts every part that the settings ask for, and serves.
    ///
    /// # Errors
    /// When the address cannot be had, or a part does not start.
    pub async fn start(config: Config) -> Result<Server, StartError> {
        let given = Given::take(&config)?;
        Server::start_given(config, given).await
    }

    /// The same, with what was taken while there were privileges.
    ///
    /// # Errors
    /// When a part does not start.
    pub async fn start_given(config: Config, given: Given) -> Result<Server, StartError> {
        let address = config.listen;
        let listener = TcpListener::from_std(given.listener)
            .map_err(|source| StartError::Listen { address, source })?;
        let wired = wire::parts(&config, given.papers, given.keeper).await?;
        let mut server = Server::serve(config, wired.parts, listener).await?;
        server.keeper = wired.keeper;
        Ok(server)
    }

    /// Resolves when the keeper that makes the sandboxes is gone, and the server has to end: what it
    /// acknowledged is safe, but it can make no sandbox any more. Never where there is no keeper.
    pub async fn keeper_lost(&self) {
        match &self.keeper {
            Some(keeper) => keeper.lost().await,
            None => std::future::pending().await,
        }
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
        let tls = Tls::load(&config.tls).await.map_err(StartError::Tls)?;
        let app = App::new(config, parts);
        let new_key = app
            .keys
            .ensure(&app.ids, app.clock.now())
            .await
            .map_err(StartError::FirstKey)?;
        let (lifecycle, sessions) = (app.lifecycle.clone(), app.sessions.clone());
        let limits = app.config.limits.clone();
        let serving = Serving {
            router: crate::http::router(app),
            lifecycle: lifecycle.clone(),
            head: Duration::from_millis(limits.head_timeout_ms),
            tls: tls.as_ref().map(Tls::acceptor),
        };
        let speaks_tls = tls.is_some();
        let accepting = tokio::spawn(accept(listener, serving, limits, tls));
        info!(server.address = %address, "serving on {address}");
        Ok(Server {
            address,
            tls: speaks_tls,
            new_key,
            lifecycle,
            sessions,
            deadline,
            accepting,
            keeper: None,
        })
    }

    /// The address that is served.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where clients find it.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
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
async fn accept(listener: TcpListener, serving: Serving, limits: Limits, tls: Option<Tls>) {
    let lifecycle = serving.lifecycle.clone();
    let connections = Arc::new(Semaphore::new(limits.connections));
    let peers = Peers::new(limits.connections_per_peer);
    // Dropping the set ends its connections.
    let mut tasks = JoinSet::new();
    if let Some(tls) = tls {
        tasks.spawn(tls.watch(lifecycle.clone()));
    }
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
                Ok((stream, peer)) => {
                    let Some(counted) = peers.enter(peer.ip()) else {
                        debug!(peer = %peer.ip(), "a peer has as many connections as it may");
                        continue;
                    };
                    let connection = serving.clone().serve(stream);
                    tasks.spawn(async move {
                        connection.await;
                        drop((permit, counted));
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
