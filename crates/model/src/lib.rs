//! The scripted model: a real HTTP server that speaks the Messages API and
//! answers at once with what the prompt itself says.
//!
//! It keeps no conversation. Each request carries the whole conversation, and
//! the newest user text in it is the script (the grammar is in [`script`]); the
//! number of assistant messages after that text is the step. So a test, a
//! benchmark or a demo says in its prompt what the model will do:
//!
//! ```text
//! @say I will look.
//! @tool Bash {"command":"ls"}
//! @say There is nothing here.
//! ```
//!
//! A prompt without a script gets a small demonstration when the request has
//! the tools for it, and an echo otherwise.
//!
//! It never reaches the network, never runs anything, and never keeps the value
//! of a credential: records hold only whether a key was sent and its hash.

mod server;

mod catalogue;
mod conversation;
mod demo;
mod messages;
mod plan;
mod record;
pub mod script;
mod stream;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use crate::catalogue::KNOWN_MODELS;
pub use crate::record::Recorded;

/// How the server behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// The key that clients must send as `x-api-key` or bearer token; without
    /// it every key is good, and none as well.
    pub key: Option<String>,
    /// How many of the last requests are kept for [`Model::requests`]; their
    /// bodies are bounded to 32 MiB together. 0 keeps none.
    pub keep_requests: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            key: None,
            keep_requests: 1_000,
        }
    }
}

/// A server that is bound and not yet serving.
pub struct Model {
    listener: TcpListener,
    addr: SocketAddr,
    shared: Arc<server::Shared>,
}

/// A server that runs in a task of its own; dropping it cuts everything.
pub struct Running {
    addr: SocketAddr,
    shared: Arc<server::Shared>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Model {
    /// Binds with default options. Port 0 takes a free port.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind(addr: SocketAddr) -> io::Result<Self> {
        Self::bind_with(addr, Options::default()).await
    }

    /// Binds with the given options.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind_with(addr: SocketAddr, options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        Ok(Self {
            listener,
            addr,
            shared: Arc::new(server::Shared::new(options)),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The last requests, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.requests()
    }

    /// Serves until `stop` is cancelled, then lets answers under way finish for
    /// up to a second and cuts the rest. Dropping the future cuts everything.
    pub async fn serve_until(self, stop: CancellationToken) {
        server::serve(self.listener, self.shared, stop).await;
    }

    /// Serves for ever.
    pub async fn serve(self) {
        self.serve_until(CancellationToken::new()).await;
    }

    /// Serves in a task of its own.
    #[must_use]
    pub fn spawn(self) -> Running {
        let stop = CancellationToken::new();
        let (addr, shared) = (self.addr, Arc::clone(&self.shared));
        let task = tokio::spawn(self.serve_until(stop.clone()));
        Running {
            addr,
            shared,
            stop,
            task,
        }
    }
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its base address, as `ANTHROPIC_BASE_URL` wants it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The last requests, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.requests()
    }

    /// Stops: no new connections, a second for answers under way.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Err(error) = (&mut self.task).await {
            tracing::error!(error = %error, "the scripted model ended badly");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How long answers under way may go on after a stop.
const STOP_GRACE: Duration = Duration::from_secs(1);
