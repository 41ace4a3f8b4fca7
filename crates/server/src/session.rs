//! Sessions: who owns a live one, and what the API may ask of it.
//!
//! ```text
//!   http ──▶ Sessions ──bell, requests──▶ Actor (one per live session) ──orders──▶ Runner ──▶ seat
//!              │                            │ machine: what happens next               │
//!              └── readers ◀── Feed ◀── log ┘                ◀────────── news ─────────┘
//! ```
//!
//! | where | what |
//! | --- | --- |
//! | `machine` | the whole policy, as a function |
//! | `actor` | the one task that owns a session and performs what the machine decides |
//! | `runner` | one session's seat and the claude in it |
//! | `fleet` | the live sandboxes, who sits in which, and the spares |
//! | `ladder` | how far a session that nobody talks to goes down |
//! | `keep` | what outlives a sandbox: snapshots and results |
//! | `fork` | a new session from a point in another's log |
//! | `translate`, `tools`, `start` | claude's words to the contract's and back |
//! | `registry`, `open_calls` | which actors there are, and which calls wait for an answer |
//! | `reach` | what a sandbox may reach, as its environment says |
//! | `version`, `isolation` | which claude CLI a session gets, and behind which walls |
//! | `resume` | from the log to the state, after a restart |
//! | `feed` | the log's live end, for readers |
//!
//! Nothing here knows how the API is spoken.

pub mod actor;
mod class;
pub mod feed;
pub mod fleet;
pub mod fork;
#[cfg(test)]
mod fuzz;
mod isolation;
pub mod keep;
pub mod ladder;
pub mod machine;
mod open_calls;
pub mod place;
mod reach;
mod registry;
mod resume;
mod runner;
pub mod start;
pub mod tools;
pub mod translate;
mod version;

use std::sync::Arc;
use std::time::Duration;

use api::client_event::ClientEvent;
use api::id::Prefix;
use api::workspace::Limits;
use claude::versions::Versions;
use sandbox::{Provider, Resources, Rootfs};
use semver::VersionReq;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use store::{EnqueueError, EnvironmentRow, Queued, Realm, SessionRow, Status, Store, StoreError};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit::Auditor;
use crate::clock::Clock;
use crate::ids::Ids;
use crate::retention::Retention;
use crate::tenants::{Tenants, TooFast};
use crate::usage::Ledger;
use crate::vaults::Vaults;
use actor::{Refused, Request};
use feed::Feed;
pub use feed::{Delivery, Deltas, Subscription};
use fleet::{Fleet, Quota};
use keep::Keeper;
use open_calls::OpenCalls;
use registry::Bell;
pub use registry::Inner;

/// What the configuration says about sessions.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The limits of a sandbox.
    pub resources: Resources,
    /// What a sandbox sees as its root.
    pub rootfs: Rootfs,
    /// Which versions of the claude CLI new processes may take; `None` takes the default one.
    pub cli: Option<VersionReq>,
    /// Limits that claude itself keeps.
    pub launch: start::Limits,
    /// Sandboxes at one time; sessions beyond that wait for a place, and say so.
    pub max_sandboxes: usize,
    /// How long claude may take to say its first word.
    pub start_timeout: Duration,
    /// How long a working claude may be silent before its turn is begun again.
    pub stall: Duration,
    /// How long a session is idle before it is frozen.
    pub freeze_after: Duration,
    /// The part of its sandbox's memory beyond which an idle claude is ended, in percent.
    pub soft_memory_percent: u8,
    /// How long decisions of egress are kept.
    pub keep_audit: Duration,
}

/// What sessions are made of.
pub struct Parts {
    /// Everything durable.
    pub store: Arc<Store>,
    /// Makes sandboxes.
    pub provider: Arc<dyn Provider>,
    /// The way out.
    pub egress: egress::Egress,
    /// The books.
    pub ledger: Arc<Ledger>,
    /// Where sessions' credentials are.
    pub vaults: Arc<Vaults>,
    /// The record of what egress decides.
    pub auditor: Arc<Auditor>,
    /// Where snapshots and results lie.
    pub keeper: Keeper,
    /// The installed versions of the claude CLI.
    pub versions: Versions,
    /// The configuration.
    pub settings: Settings,
    /// What time it is.
    pub clock: Clock,
    /// Where ids come from.
    pub ids: Ids,
}

/// All sessions of this server. Clones are cheap and mean the same sessions.
#[derive(Clone)]
pub struct Sessions(Arc<Inner>);

/// A change of a session's fields, and the event that shows it.
#[derive(Debug, Clone)]
pub struct SessionChange {
    /// What changes.
    pub update: store::SessionUpdate,
    /// The `session.updated` event.
    pub shown: api::event::Body,
}

/// Why events were not taken. None of them was.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No such session in the realm.
    #[error("the session does not exist")]
    NotFound,
    /// The session takes no more events.
    #[error("the session is {}", .status.as_str())]
    Closed {
        /// Its status.
        status: Status,
    },
    /// An event does not fit the session's state.
    #[error("{message}")]
    Invalid {
        /// Which event, from 0.
        index: usize,
        /// Why.
        message: String,
    },
    /// The session has not caught up with what was sent before.
    #[error("the session has {limit} events that it has not processed; wait until it has")]
    TooMany {
        /// How many may wait.
        limit: usize,
    },
    /// The storage failed.
    #[error("the events could not be kept")]
    Store(#[source] StoreError),
}

/// Why a session was not archived, deleted or changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// No such session in the realm.
    #[error("the session does not exist")]
    NotFound,
    /// Not while it runs.
    #[error("the session is running; interrupt it first")]
    Running,
    /// It is over.
    #[error("the session is terminated")]
    Over,
    /// The storage failed.
    #[error("the session could not be changed")]
    Store(#[from] StoreError),
}

/// How often the reconciler looks for sandboxes that should not exist.
const RECONCILE: Duration = Duration::from_secs(30);

impl Sessions {
    /// Sessions with nothing live yet; see [`Sessions::begin`].
    #[must_use]
    pub fn new(parts: Parts) -> Sessions {
        let Parts {
            store,
            provider,
            egress,
            ledger,
            vaults,
            auditor,
            keeper: keeping,
            versions,
            settings,
            clock,
            ids,
        } = parts;
        let owner = ids.mint(Prefix::Request);
        let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let places = settings.max_sandboxes;
        let fleet = Fleet::new(provider, egress, ids.clone(), places, tasks.clone());
        let (actors, feeds) = Default::default();
        let snapshots = keeping.snapshots().clone();
        let blobs = keeping.blobs().clone();
        let retention = Retention::new(store.clone(), snapshots, blobs, clock.clone());
        let inner = Inner {
            store,
            fleet: Arc::new(fleet),
            keeping,
            retention,
            ledger,
            vaults,
            binding: tokio::sync::Mutex::default(),
            auditor,
            versions,
            settings,
            clock,
            ids,
            owner,
            actors,
            feeds,
            tenants: Tenants::default(),
            tasks,
            shutdown,
        };
        Sessions(Arc::new(inner))
    }

    /// Removes what an earlier server left, then goes on with the sessions that it had not finished.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn begin(&self) -> Result<(), StoreError> {
        crate::reconcile::reconcile(&self.0).await;
        self.load_limits().await?;
        for (realm, id) in self.0.store.sessions().unfinished().await? {
            self.wake(&realm, &id);
        }
        let filler = fleet::fill(Arc::downgrade(&self.0.fleet), self.0.shutdown.clone());
        self.0.tasks.spawn(filler);
        let attempts = fleet::keep_attempts(&self.0.fleet, self.0.shutdown.clone());
        self.0.tasks.spawn(attempts);
        let sessions = self.clone();
        self.0.tasks.spawn(async move {
            let inner = &sessions.0;
            tokio::select! {
                () = inner.shutdown.cancelled() => return,
                () = sessions.bring_back() => {}
            }
            let mut every = tokio::time::interval(RECONCILE);
            for round in 0.. {
                let work = async {
                    // The first comes at once: what an earlier server left is searched in the background.
                    every.tick().await;
                    if round > 0 {
                        crate::reconcile::reconcile(inner).await;
                    }
                    sessions.sweep(round).await;
                };
                tokio::select! {
                    () = inner.shutdown.cancelled() => return,
                    () = work => {}
                }
            }
        });
        Ok(())
    }

    /// Brings back what lives without being asked: sessions whose sandboxes stay, as many as there are
    /// places (the others come back with their next message), and the least number of spares.
    async fn bring_back(&self) {
        let inner = &self.0;
        let places = u32::try_from(inner.settings.max_sandboxes).unwrap_or(u32::MAX);
        match inner.store.sessions().long_running(places).await {
            Ok(staying) => {
                for (realm, id) in staying {
                    let requests = inner.handle(&realm, &id, |handle| handle.requests.clone());
                    // One whose inbox is full is not asleep.
                    let _ = requests.try_send(Request::Revive);
                }
            }
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "sessions whose sandboxes stay come back with their next message: they cannot be read"
            ),
        }
        class::remember(inner).await;
    }

    /// Reads what every workspace may use.
    async fn load_limits(&self) -> Result<(), StoreError> {
        for row in self.0.store.workspaces().limited().await? {
            match serde_json::from_str(&row.limits) {
                Ok(limits) => self.set_limits(&row.id, &limits),
                // Not written by this server; without limits it would be unguarded in silence.
                Err(error) => tracing::error!(
                    workspace.id = row.id,
                    error = &error as &dyn std::error::Error,
                    "the limits of workspace {} cannot be read and do not hold",
                    row.id
                ),
            }
        }
        Ok(())
    }

    /// What a workspace may use from now on. Sandboxes that it has beyond stay until they end.
    pub fn set_limits(&self, workspace: &str, limits: &Limits) {
        self.0.tenants.set(workspace, limits);
        let quota = Quota {
            sandboxes: limits.max_sandboxes,
            memory: limits.max_memory,
            disk: limits.max_disk,
        };
        self.0.fleet.set_quota(workspace, quota);
    }

    /// Lets a workspace send so many events now.
    ///
    /// # Errors
    /// When it has sent as many as it may.
    pub fn admit(&self, workspace: &str, events: usize) -> Result<(), TooFast> {
        self.0
            .tenants
            .send(workspace, events, tokio::time::Instant::now())
    }

    /// Removes what has outlived its time; every so many rounds, beginning with round 0, also what an
    /// earlier server left.
    pub async fn sweep(&self, round: u64) {
        self.0.retention.sweep(self, round).await;
    }

    /// Ends every actor and sandbox and waits until they are gone. Turns that run are cut; the next
    /// server goes on with them.
    pub async fn drain(&self) {
        self.0.shutdown.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
        self.0.ledger.flush().await;
        self.0.fleet.flush_attempts();
        self.0.auditor.flush().await;
    }

    /// An environment was changed: what its sessions may reach is what it says now.
    pub fn environment_says(&self, row: &EnvironmentRow) {
        self.0.environment_says(row, None);
    }

    /// A vault was changed: sessions of its workspace have the credentials that are in it now. What is
    /// under way with one that is gone is cut.
    ///
    /// # Errors
    /// When the store fails; then some may have those of before, which egress gives no value for any more.
    pub async fn vaults_changed(&self, workspace: &str) -> Result<(), StoreError> {
        for book in self.0.ledger.live(|book| book.workspace() == workspace) {
            self.0.bind(book.session(), workspace).await?;
        }
        Ok(())
    }

    /// How long decisions of egress are kept.
    pub(crate) fn keep_audit(&self) -> Duration {
        self.0.settings.keep_audit
    }

    /// Ends the spares of an environment that was changed, archived or deleted: they are no use to
    /// sessions that come now.
    pub fn forget_spares(&self, environment: &str) {
        self.0.fleet.forget(&format!("{environment}/"));
    }

    /// What a session has used up to now; `None` when it has made no call.
    ///
    /// # Errors
    /// When the store cannot say.
    pub async fn usage(
        &self,
        id: &str,
        active_seconds: f64,
    ) -> Result<Option<api::session::usage::Usage>, StoreError> {
        self.0.ledger.shown(id, active_seconds).await
    }

    /// Says that a session has client events to look at.
    pub fn wake(&self, realm: &Realm, id: &str) {
        self.0.handle(realm, id, |handle| handle.bell.ring());
    }

    /// Whether the session has an actor.
    pub(crate) fn is_live(&self, id: &str) -> bool {
        self.0.lock_actors().contains_key(id)
    }

    /// Takes client events, all or none; durable when it returns. Gives them back with their ids.
    ///
    /// # Errors
    /// When the session is absent or over, or an event does not fit.
    pub async fn send(
        &self,
        realm: &Realm,
        id: &str,
        events: &[ClientEvent],
    ) -> Result<Vec<Box<RawValue>>, SendError> {
        let row = self
            .0
            .store
            .sessions()
            .get(realm, id)
            .await
            .map_err(SendError::Store)?
            .ok_or(SendError::NotFound)?;
        if row.status == Status::Terminated {
            return Err(SendError::Closed { status: row.status });
        }
        let claims = self.0.check(&row, events)?;
        let queue: Vec<Queued> = events
            .iter()
            .map(|event| queued(event, self.0.ids.mint(Prefix::Event)))
            .collect();
        let echoes = queue
            .iter()
            .map(|event| RawValue::from_string(event.body.clone()).expect("we just made this JSON"))
            .collect();
        if let Err(error) = self.0.store.events().enqueue(realm, id, queue).await {
            self.0.give_back(id, &claims);
            return Err(match error {
                EnqueueError::NotFound => SendError::NotFound,
                EnqueueError::Closed { status } => SendError::Closed { status },
                EnqueueError::TooMany { limit } => SendError::TooMany { limit },
                EnqueueError::Store(error) => SendError::Store(error),
                EnqueueError::Duplicate => SendError::Store(StoreError::Closed),
            });
        }
        self.wake(realm, id);
        Ok(echoes)
    }

    /// Archives a session, which ends it for good; an archived one stays as it is.
    ///
    /// # Errors
    /// When it is absent or running.
    pub async fn archive(&self, realm: &Realm, id: &str) -> Result<SessionRow, ChangeError> {
        let row = self.row(realm, id).await?;
        if row.archived_at.is_some() {
            return Ok(row);
        }
        self.ask(realm, id, Request::Archive).await?;
        self.row(realm, id).await
    }

    /// Deletes a session with all that belongs to it.
    ///
    /// # Errors
    /// When it is absent or running.
    pub async fn delete(&self, realm: &Realm, id: &str) -> Result<(), ChangeError> {
        let row = self.row(realm, id).await?;
        if row.status != Status::Terminated {
            self.ask(realm, id, Request::Delete).await?;
        }
        self.0.retention.remove_session(realm, id).await?;
        Ok(())
    }

    /// Changes a session's fields.
    ///
    /// # Errors
    /// When it is absent or over, or its agent is to change while it runs.
    pub async fn update(
        &self,
        realm: &Realm,
        id: &str,
        change: SessionChange,
    ) -> Result<SessionRow, ChangeError> {
        if self.row(realm, id).await?.status == Status::Terminated {
            return Err(ChangeError::Over);
        }
        self.ask(realm, id, |answer| {
            Request::Update(Box::new(change), answer)
        })
        .await?;
        self.row(realm, id).await
    }

    /// Attaches a reader: from event `after` on, or from now on.
    ///
    /// # Errors
    /// When the session is absent or the log cannot be read.
    pub async fn subscribe(
        &self,
        realm: &Realm,
        id: &str,
        after: Option<i64>,
        deltas: Deltas,
    ) -> Result<Subscription, ChangeError> {
        let row = self.row(realm, id).await?;
        let feed = match row.status {
            Status::Terminated => Arc::new(Feed::closed()),
            _ => self.0.feed(id),
        };
        // The place in the feed is taken before the log's end is read: what is committed in between is
        // in the list that the client reads next, and is not shown a second time.
        let mut subscription = feed.subscribe(self.0.store.clone(), id, after, deltas);
        if after.is_none() {
            subscription.skip_to(self.0.store.events().last_seq(id).await?);
        }
        Ok(subscription)
    }

    async fn row(&self, realm: &Realm, id: &str) -> Result<SessionRow, ChangeError> {
        self.0
            .store
            .sessions()
            .get(realm, id)
            .await?
            .ok_or(ChangeError::NotFound)
    }

    async fn ask(
        &self,
        realm: &Realm,
        id: &str,
        request: impl FnOnce(oneshot::Sender<Result<(), Refused>>) -> Request,
    ) -> Result<(), ChangeError> {
        let (answer, answered) = oneshot::channel();
        let requests = self.0.handle(realm, id, |handle| handle.requests.clone());
        // An actor that is gone by now took the session with it.
        requests
            .send(request(answer))
            .await
            .map_err(|_| ChangeError::Over)?;
        match answered.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Refused::Running)) => Err(ChangeError::Running),
            Ok(Err(Refused::Over)) | Err(_) => Err(ChangeError::Over),
        }
    }
}

/// A client event as it waits in the log.
#[must_use]
pub fn queued(event: &ClientEvent, id: String) -> Queued {
    let mut body = serde_json::to_value(event).expect("a client event is plain data");
    body["id"] = json!(id);
    body["processed_at"] = Value::Null;
    Queued {
        id,
        kind: event.kind().to_owned(),
        body: body.to_string(),
    }
}

/// A uuid that is always the same for the same text: claude knows prompts by uuid, and a prompt must be
/// known again after a crash.
#[must_use]
pub fn uuid_of(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let hex: String = digest[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    // Version 8 is the one for values of one's own making; the variant bits are the standard's.
    format!(
        "{}-{}-8{}-a{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[13..16],
        &hex[17..20],
        &hex[20..]
    )
}

/// The primary thread's id: the session's own with another prefix, so that it needs no row.
#[must_use]
pub fn thread_id(session: &str) -> String {
    format!(
        "{}{}",
        Prefix::Thread.as_str(),
        session
            .strip_prefix(Prefix::Session.as_str())
            .unwrap_or(session)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_well_formed_and_stable() {
        let uuid = uuid_of("sevt_1");
        assert_eq!(uuid, uuid_of("sevt_1"));
        assert_ne!(uuid, uuid_of("sevt_2"));
        let parts: Vec<usize> = uuid.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
    }

    #[test]
    fn a_queued_event_shows_its_id_and_no_time() {
        let event = ClientEvent::Interrupt {
            session_thread_id: None,
        };
        let body: Value = serde_json::from_str(&queued(&event, "sevt_1".into()).body).unwrap();
        assert_eq!(
            body,
            json!({"id": "sevt_1", "processed_at": null, "type": "user.interrupt"})
        );
    }
}
