//! The wired parts, as handlers see them.

use std::sync::Arc;
use std::time::Duration;

use store::Store;

use crate::auth::Keys;
use crate::blobs::Blobs;
use crate::clock::Clock;
use crate::config::Config;
use crate::http::dedup::Dedup;
use crate::ids::Ids;
use crate::lifecycle::Lifecycle;
use crate::rates::Rates;
use crate::session::Sessions;
use crate::vaults::Vaults;

/// Everything that a handler may use. Clones are cheap and mean the same parts.
#[derive(Clone)]
pub struct App {
    /// Everything durable.
    pub store: Arc<Store>,
    /// The content of files.
    pub blobs: Blobs,
    /// What lives.
    pub sessions: Sessions,
    /// Where credentials are.
    pub vaults: Arc<Vaults>,
    /// The settings.
    pub config: Arc<Config>,
    /// What time it is.
    pub clock: Clock,
    /// Where identifiers come from.
    pub ids: Ids,
    /// Who may come in.
    pub keys: Keys,
    /// Whether the server goes on.
    pub lifecycle: Lifecycle,
    /// How long a stream may be silent before a ping is sent.
    pub ping: Duration,
    /// Answers that a repeated request gets again.
    pub(crate) dedup: Dedup,
    /// How fast requests of each key come.
    pub(crate) rates: Arc<Rates>,
}

/// What [`App`] is made of.
pub struct Parts {
    /// Everything durable.
    pub store: Arc<Store>,
    /// The content of files.
    pub blobs: Blobs,
    /// What lives.
    pub sessions: Sessions,
    /// Where credentials are.
    pub vaults: Arc<Vaults>,
    /// What time it is.
    pub clock: Clock,
    /// Where identifiers come from.
    pub ids: Ids,
    /// How long a stream may be silent before a ping is sent; [`PING`] for a real server.
    pub ping: Duration,
}

/// Often enough for the proxies on the way, which drop silent connections after 30 seconds or more.
pub const PING: Duration = Duration::from_secs(15);

impl App {
    /// Puts the parts together.
    #[must_use]
    pub fn new(config: Config, parts: Parts) -> App {
        let Parts {
            store,
            blobs,
            sessions,
            vaults,
            clock,
            ids,
            ping,
        } = parts;
        let (lifecycle, dedup) = (Lifecycle::default(), Dedup::default());
        let given = config.api_key.as_ref();
        let keys = Keys::new(store.clone(), given, clock.clone(), lifecycle.clone());
        let rates = Arc::new(Rates::new(config.limits.requests_per_second));
        let config = Arc::new(config);
        App {
            store,
            blobs,
            sessions,
            vaults,
            config,
            clock,
            ids,
            keys,
            lifecycle,
            ping,
            dedup,
            rates,
        }
    }
}
