//! Attempts that are no connection: names that were asked for and may not be reached, and what was sent
//! elsewhere than by the ways out. They cost who makes them nothing, so they are recorded together:
//! for each client and five seconds at most [`KINDS`] records, each with how often it was tried, and
//! one for all beyond these.
//!
//! ```text
//!   nothing ──an attempt──▶ gathering ──five seconds──▶ recorded, nothing
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tracing::info;

use crate::audit::Record;
use crate::usage::ClientId;
use crate::windows::{Audit, Owner, Standing};

/// How long attempts of a client are gathered.
const WINDOW: Duration = Duration::from_secs(5);

/// Kinds of attempts of a client that are told apart in that time.
const KINDS: usize = 32;

/// Names that a client may ask for in that time; further ones are refused. Far more than programs need,
/// and nothing is gained by asking: names are never looked up for it.
const NAMES: u32 = 1000;

/// What was sent elsewhere than by the ways out, and refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray {
    /// The protocol on top of IP, by its number.
    pub protocol: u8,
    /// Where to.
    pub address: IpAddr,
    /// Its port; 0 where the protocol has none.
    pub port: u16,
    /// How many packets.
    pub count: u64,
}

/// The attempts of all clients.
pub(crate) struct Attempts {
    audit: Arc<dyn Audit>,
    clock: fn() -> SystemTime,
    /// No more of them than clients that are live, or were a moment ago.
    clients: Mutex<BTreeMap<String, Window>>,
    /// Rings when one begins to gather.
    begun: Notify,
}

/// What one client tried lately.
struct Window {
    until: Instant,
    at: SystemTime,
    owner: Arc<Owner>,
    kinds: BTreeMap<Kind, u64>,
    more: u64,
    names: u32,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    method: String,
    host: String,
    port: Option<u16>,
    rule: String,
}

impl Attempts {
    pub(crate) fn new(audit: Arc<dyn Audit>, clock: fn() -> SystemTime) -> Self {
        Self {
            audit,
            clock,
            clients: Mutex::default(),
            begun: Notify::new(),
        }
    }

    /// Whether a client may ask for one more name.
    pub(crate) fn may_ask(&self, client: &ClientId, standing: &Standing) -> bool {
        self.with(client, standing, |window| {
            window.names = window.names.saturating_add(1);
            window.names <= NAMES
        })
    }

    /// A name was asked for that may not be reached by this rule.
    pub(crate) fn name(&self, client: &ClientId, standing: &Standing, name: &str, rule: &str) {
        let kind = Kind {
            method: "DNS".to_owned(),
            host: name.to_owned(),
            port: None,
            rule: rule.to_owned(),
        };
        self.with(client, standing, |window| window.count(kind, 1));
    }

    /// This was sent, and `more` packets elsewhere.
    pub(crate) fn strays(
        &self,
        client: &ClientId,
        standing: &Standing,
        strays: &[Stray],
        more: u64,
    ) {
        self.with(client, standing, |window| {
            for stray in strays {
                window.count(Kind::of(stray), stray.count);
            }
            window.more = window.more.saturating_add(more);
        });
    }

    fn with<T>(
        &self,
        client: &ClientId,
        standing: &Standing,
        change: impl FnOnce(&mut Window) -> T,
    ) -> T {
        let mut clients = self.lock();
        if !clients.contains_key(&client.0) {
            let window = Window {
                until: Instant::now() + WINDOW,
                at: (self.clock)(),
                owner: Arc::clone(&standing.owner),
                kinds: BTreeMap::new(),
                more: 0,
                names: 0,
            };
            clients.insert(client.0.clone(), window);
            self.begun.notify_one();
        }
        let window = clients.get_mut(&client.0).expect("it was put in above");
        change(window)
    }

    /// Records what was gathered, whenever its time is over. Never ends by itself.
    pub(crate) async fn keep(&self) {
        loop {
            let begun = self.begun.notified();
            let next = self.lock().values().map(|window| window.until).min();
            match next {
                Some(next) => sleep_until(next).await,
                None => begun.await,
            }
            self.record(|window| window.until <= Instant::now());
        }
    }

    /// Records all that was gathered.
    pub(crate) fn flush(&self) {
        self.record(|_| true);
    }

    fn record(&self, is_due: impl Fn(&Window) -> bool) {
        let due = {
            let mut clients = self.lock();
            let all = std::mem::take(&mut *clients).into_iter();
            let (due, rest): (Vec<_>, Vec<_>) = all.partition(|(_, window)| is_due(window));
            *clients = rest.into_iter().collect();
            due
        };
        for (client, window) in due {
            let client = ClientId(client);
            for (kind, count) in &window.kinds {
                self.audit
                    .record(window.record(&client, Some(kind), *count));
            }
            if window.more > 0 {
                self.audit.record(window.record(&client, None, window.more));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Window>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Attempts {
    fn drop(&mut self) {
        self.flush();
    }
}

impl Kind {
    fn of(stray: &Stray) -> Self {
        let method = match stray.protocol {
            1 | 58 => "ICMP".to_owned(),
            6 => "TCP".to_owned(),
            17 => "UDP".to_owned(),
            number => format!("IP-{number}"),
        };
        Self {
            method,
            host: stray.address.to_string(),
            port: (stray.port != 0).then_some(stray.port),
            rule: "no-route".to_owned(),
        }
    }
}

impl Window {
    fn count(&mut self, kind: Kind, times: u64) {
        let full = self.kinds.len() >= KINDS;
        match self.kinds.get_mut(&kind) {
            Some(count) => *count = count.saturating_add(times),
            None if full => self.more = self.more.saturating_add(times),
            None => drop(self.kinds.insert(kind, times)),
        }
    }

    /// The record of one kind, or of all beyond those that were told apart.
    fn record(&self, client: &ClientId, kind: Option<&Kind>, count: u64) -> Record {
        let rule = kind.map_or("more-attempts", |kind| kind.rule.as_str());
        match kind {
            Some(Kind {
                method, host, port, ..
            }) => info!(
                client.id = %client, host, port, rule, verdict = "refused",
                "{client} tried {method} to {host} {count} times and was refused by rule {rule}"
            ),
            None => info!(
                client.id = %client, rule, verdict = "refused",
                "{client} tried {count} times more to get elsewhere and was refused"
            ),
        }
        Record {
            client: client.clone(),
            owner: Some(Arc::clone(&self.owner)),
            at: self.at,
            latency: Duration::ZERO,
            host: kind.map(|kind| kind.host.clone()),
            port: kind.and_then(|kind| kind.port),
            method: kind.map(|kind| kind.method.clone()),
            path: None,
            allowed: false,
            rule: rule.to_owned(),
            status: None,
            bytes_in: 0,
            bytes_out: 0,
            credential: None,
            cut: None,
            attempts: Some(count),
        }
    }
}
