//! Sessions: who owns a live one, and what the API may ask of it.
//!
//! ```text
//!   http ──▶ Sessions ──bell, requests──▶ Actor (one per live session) ──orders──▶ Runner ──▶ sandbox
//!              │                            │ machine: what happens next               │
//!              └── readers ◀── Feed ◀── log ┘                ◀────────── news ─────────┘
//! ```
//!
//! | where | what |
//! | --- | --- |
//! | `machine` | the whole policy, as a function |
//! | `actor` | the one task that owns a session and performs what the machine decides |
//! | `runner` | one sandbox and the claude in it |
//! | `translate`, `tools`, `start` | claude's words to the contract's and back |
//! | `resume` | from the log to the state, after a restart |
//! | `feed` | the log's live end, for readers |
//!
//! Nothing here knows how the API is spoken.

pub mod actor;
pub mod feed;
pub mod machine;
pub mod place;
mod resume;
mod runner;
pub mod start;
pub mod tools;
pub mod translate;

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use api::client_event::ClientEvent;
use api::id::Prefix;
use claude::versions::Versions;
use futures::FutureExt;
use sandbox::{Provider, Resources, Rootfs, SandboxId};
use semver::VersionReq;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use store::{EnqueueError, Queued, SessionRow, Status, Store, StoreError};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::ids::Ids;
use crate::usage::Ledger;
use actor::{Refused, Request};
use feed::Feed;
pub use feed::{Delivery, Deltas, Subscription};
use tools::Tool;

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

/// What actors share.
pub struct Inner {
    store: Arc<Store>,
    provider: Arc<dyn Provider>,
    egress: egress::Egress,
    ledger: Arc<Ledger>,
    versions: Versions,
    settings: Settings,
    clock: Clock,
    ids: Ids,
    /// This server, as the owner of leases.
    owner: String,
    places: Arc<Semaphore>,
    actors: Mutex<HashMap<String, Handle>>,
    feeds: Mutex<HashMap<String, Weak<Feed>>>,
    /// Sandboxes that are meant to exist.
    sandboxes: Mutex<HashSet<SandboxId>>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

/// An actor, from outside.
#[derive(Clone)]
struct Handle {
    bell: Arc<Bell>,
    requests: mpsc::Sender<Request>,
    open: Arc<OpenCalls>,
}

/// Says that the log has client events that the actor has not seen. Ringing twice is ringing once.
#[derive(Default)]
pub struct Bell {
    rung: AtomicBool,
    notify: Notify,
}

impl Bell {
    fn ring(&self) {
        self.rung.store(true, Ordering::Release);
        self.notify.notify_one();
    }

    /// Waits for a ring and forgets it. What was sent before the ring is in the log now.
    pub async fn heard(&self) {
        self.notify.notified().await;
        self.rung.store(false, Ordering::Release);
    }
}

/// The tool calls of a session that a client may answer, each once.
#[derive(Default)]
pub struct OpenCalls(Mutex<Open>);

#[derive(Default)]
struct Open {
    calls: HashMap<String, bool>,
    /// Answered, but the actor has not seen the answer yet.
    claimed: HashSet<String>,
}

impl OpenCalls {
    /// Takes over what the machine says.
    fn set<'a>(&self, calls: impl Iterator<Item = (&'a str, &'a Tool)>) {
        let mut open = self.lock();
        open.calls = calls
            .map(|(id, tool)| (id.to_owned(), matches!(tool, Tool::Custom(_))))
            .collect();
        let Open { calls, claimed } = &mut *open;
        claimed.retain(|id| calls.contains_key(id));
    }

    /// Takes the right to answer a call; `custom` says what kind of answer it is.
    fn claim(&self, id: &str, custom: bool) -> Result<(), String> {
        let mut open = self.lock();
        let Open { calls, claimed } = &mut *open;
        match calls.get(id) {
            None => Err(format!(
                "no open tool call has the id `{id}`: it is unknown or has been answered"
            )),
            Some(is_custom) if *is_custom != custom => {
                let right = if *is_custom {
                    "user.custom_tool_result"
                } else {
                    "user.tool_confirmation"
                };
                Err(format!("the tool call `{id}` takes a `{right}`"))
            }
            Some(_) if !claimed.insert(id.to_owned()) => {
                Err(format!("the tool call `{id}` has been answered"))
            }
            Some(_) => Ok(()),
        }
    }

    fn give_back(&self, ids: &[String]) {
        let mut open = self.lock();
        for id in ids {
            open.claimed.remove(id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
    /// No such session in the workspace.
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
    /// No such session in the workspace.
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
            versions,
            settings,
            clock,
            ids,
        } = parts;
        let owner = ids.mint(Prefix::Request);
        let places = Arc::new(Semaphore::new(settings.max_sandboxes));
        let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let (actors, feeds, sandboxes) = Default::default();
        let inner = Inner {
            store,
            provider,
            egress,
            ledger,
            versions,
            settings,
            clock,
            ids,
            owner,
            places,
            actors,
            feeds,
            sandboxes,
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
        for (workspace, id) in self.0.store.sessions().unfinished().await? {
            self.wake(&workspace, &id);
        }
        let inner = self.0.clone();
        self.0.tasks.spawn(async move {
            let mut every = tokio::time::interval(RECONCILE);
            every.tick().await;
            loop {
                tokio::select! {
                    () = inner.shutdown.cancelled() => return,
                    _ = every.tick() => crate::reconcile::reconcile(&inner).await,
                }
            }
        });
        Ok(())
    }

    /// Ends every actor and sandbox and waits until they are gone. Turns that run are cut; the next
    /// server goes on with them.
    pub async fn drain(&self) {
        self.0.shutdown.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
        self.0.ledger.flush().await;
    }

    /// Says that a session has client events to look at.
    pub fn wake(&self, workspace: &str, id: &str) {
        self.0.handle(workspace, id, |handle| handle.bell.ring());
    }

    /// Sandboxes that exist now.
    #[must_use]
    pub fn sandboxes(&self) -> usize {
        self.0.lock_sandboxes().len()
    }

    /// Takes client events, all or none; durable when it returns. Gives them back with their ids.
    ///
    /// # Errors
    /// When the session is absent or over, or an event does not fit.
    pub async fn send(
        &self,
        workspace: &str,
        id: &str,
        events: &[ClientEvent],
    ) -> Result<Vec<Box<RawValue>>, SendError> {
        let row = self
            .0
            .store
            .sessions()
            .get(workspace, id)
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
        if let Err(error) = self.0.store.events().enqueue(workspace, id, queue).await {
            self.0.give_back(id, &claims);
            return Err(match error {
                EnqueueError::NotFound => SendError::NotFound,
                EnqueueError::Closed { status } => SendError::Closed { status },
                EnqueueError::TooMany { limit } => SendError::TooMany { limit },
                EnqueueError::Store(error) => SendError::Store(error),
                EnqueueError::Duplicate => SendError::Store(StoreError::Closed),
            });
        }
        self.wake(workspace, id);
        Ok(echoes)
    }

    /// Archives a session, which ends it for good; an archived one stays as it is.
    ///
    /// # Errors
    /// When it is absent or running.
    pub async fn archive(&self, workspace: &str, id: &str) -> Result<SessionRow, ChangeError> {
        let row = self.row(workspace, id).await?;
        if row.archived_at.is_some() {
            return Ok(row);
        }
        self.ask(workspace, id, Request::Archive).await?;
        self.row(workspace, id).await
    }

    /// Deletes a session with all that belongs to it.
    ///
    /// # Errors
    /// When it is absent or running.
    pub async fn delete(&self, workspace: &str, id: &str) -> Result<(), ChangeError> {
        let row = self.row(workspace, id).await?;
        if row.status != Status::Terminated {
            self.ask(workspace, id, Request::Delete).await?;
        }
        self.0.store.sessions().delete(workspace, id).await?;
        Ok(())
    }

    /// Changes a session's fields.
    ///
    /// # Errors
    /// When it is absent or over, or its agent is to change while it runs.
    pub async fn update(
        &self,
        workspace: &str,
        id: &str,
        change: SessionChange,
    ) -> Result<SessionRow, ChangeError> {
        if self.row(workspace, id).await?.status == Status::Terminated {
            return Err(ChangeError::Over);
        }
        self.ask(workspace, id, |answer| {
            Request::Update(Box::new(change), answer)
        })
        .await?;
        self.row(workspace, id).await
    }

    /// Attaches a reader: from event `after` on, or from now on.
    ///
    /// # Errors
    /// When the session is absent or the log cannot be read.
    pub async fn subscribe(
        &self,
        workspace: &str,
        id: &str,
        after: Option<i64>,
        deltas: Deltas,
    ) -> Result<Subscription, ChangeError> {
        let row = self.row(workspace, id).await?;
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

    async fn row(&self, workspace: &str, id: &str) -> Result<SessionRow, ChangeError> {
        self.0
            .store
            .sessions()
            .get(workspace, id)
            .await?
            .ok_or(ChangeError::NotFound)
    }

    async fn ask(
        &self,
        workspace: &str,
        id: &str,
        request: impl FnOnce(oneshot::Sender<Result<(), Refused>>) -> Request,
    ) -> Result<(), ChangeError> {
        let (answer, answered) = oneshot::channel();
        let requests = self
            .0
            .handle(workspace, id, |handle| handle.requests.clone());
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

impl Inner {
    /// Does something with a session's actor, which is started when there is none.
    fn handle<T>(
        self: &Arc<Self>,
        workspace: &str,
        id: &str,
        with: impl FnOnce(&Handle) -> T,
    ) -> T {
        let mut actors = self.lock_actors();
        let handle = actors
            .entry(id.to_owned())
            .or_insert_with(|| self.start_actor(workspace, id));
        with(handle)
    }

    fn start_actor(self: &Arc<Self>, workspace: &str, id: &str) -> Handle {
        let (requests, inbox) = mpsc::channel(actor::INBOX);
        let handle = Handle {
            bell: Arc::default(),
            requests,
            open: Arc::default(),
        };
        let (bell, open, inner) = (handle.bell.clone(), handle.open.clone(), self.clone());
        // An actor begins with a look at the log, whoever started it.
        bell.ring();
        let (workspace, id) = (workspace.to_owned(), id.to_owned());
        self.tasks.spawn(async move {
            let run = resume::run(inner.clone(), &workspace, &id, open.clone(), inbox, bell);
            if AssertUnwindSafe(run).catch_unwind().await.is_err() {
                tracing::error!(
                    session.id = id,
                    "the actor of session {id} failed; its session goes on with the next event"
                );
                inner.ledger.close(&id);
            }
            inner.forget(&id, &open);
        });
        handle
    }

    /// Removes an actor that has nothing to do, unless something came in the meantime.
    fn retire(
        &self,
        id: &str,
        inbox: &mpsc::Receiver<Request>,
        bell: &Bell,
        open: &Arc<OpenCalls>,
    ) -> bool {
        let mut actors = self.lock_actors();
        if bell.rung.load(Ordering::Acquire) || !inbox.is_empty() {
            return false;
        }
        remove(&mut actors, id, open);
        true
    }

    fn forget(&self, id: &str, open: &Arc<OpenCalls>) {
        remove(&mut self.lock_actors(), id, open);
    }

    /// Checks events against the session's state; the calls that they answer.
    fn check(&self, row: &SessionRow, events: &[ClientEvent]) -> Result<Vec<String>, SendError> {
        let open = self
            .lock_actors()
            .get(&row.id)
            .map(|handle| handle.open.clone())
            .unwrap_or_default();
        let spent = budget_spent(row);
        let mut claims = Vec::new();
        for (index, event) in events.iter().enumerate() {
            let checked = match event {
                ClientEvent::Message { .. } if spent => Err("the session's budget is used up; only `user.tool_confirmation`, \
                     `user.custom_tool_result` and `user.interrupt` are taken until it is raised or removed".to_owned()),
                ClientEvent::Message { .. } | ClientEvent::Interrupt { .. } => Ok(()),
                ClientEvent::ToolConfirmation { tool_use_id, .. } => open.claim(tool_use_id, false).map(|()| claims.push(tool_use_id.clone())),
                ClientEvent::CustomToolResult { custom_tool_use_id, .. } => {
                    open.claim(custom_tool_use_id, true).map(|()| claims.push(custom_tool_use_id.clone()))
                }
            };
            if let Err(message) = checked {
                open.give_back(&claims);
                return Err(SendError::Invalid { index, message });
            }
        }
        Ok(claims)
    }

    fn give_back(&self, id: &str, claims: &[String]) {
        if let Some(handle) = self.lock_actors().get(id) {
            handle.open.give_back(claims);
        }
    }

    /// The live end of a session's log, made when nobody holds it.
    fn feed(&self, id: &str) -> Arc<Feed> {
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(feed) = feeds
            .get(id)
            .and_then(Weak::upgrade)
            .filter(|feed| !feed.is_closed())
        {
            return feed;
        }
        // Every doubling sweeps out those that nobody holds any more.
        if feeds.len() == feeds.capacity() {
            feeds.retain(|_, feed| feed.strong_count() > 0);
        }
        let feed = Arc::new(Feed::default());
        feeds.insert(id.to_owned(), Arc::downgrade(&feed));
        feed
    }

    /// The provider, for the reconciler.
    pub fn provider(&self) -> &dyn Provider {
        &*self.provider
    }

    /// Whether a sandbox is meant to exist.
    #[must_use]
    pub fn wants(&self, id: &SandboxId) -> bool {
        self.lock_sandboxes().contains(id)
    }

    fn sandbox_made(&self, id: &SandboxId) {
        self.lock_sandboxes().insert(id.clone());
    }

    fn sandbox_gone(&self, id: &SandboxId) {
        self.lock_sandboxes().remove(id);
    }

    fn lock_actors(&self) -> MutexGuard<'_, HashMap<String, Handle>> {
        self.actors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_sandboxes(&self) -> MutexGuard<'_, HashSet<SandboxId>> {
        self.sandboxes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes the actor that holds `open`; a successor of it stays.
fn remove(actors: &mut HashMap<String, Handle>, id: &str, open: &Arc<OpenCalls>) {
    if actors
        .get(id)
        .is_some_and(|handle| Arc::ptr_eq(&handle.open, open))
    {
        actors.remove(id);
    }
}

/// Whether what the session had used when it last went idle reaches its budget.
fn budget_spent(row: &SessionRow) -> bool {
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    let cents = |amount: &Value| {
        amount["amount"]
            .as_str()
            .and_then(|amount| amount.parse::<u64>().ok())
    };
    let cap = row
        .budget
        .as_deref()
        .and_then(|budget| cents(&parse(budget)["max_list_cost"]));
    let used = cents(&parse(&row.usage)["list_cost"]);
    cap.zip(used).is_some_and(|(cap, used)| used >= cap)
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
    fn a_call_is_answered_once_and_with_the_right_kind() {
        let open = OpenCalls::default();
        let (bash, custom) = (Tool::BuiltIn("bash".into()), Tool::Custom("c".into()));
        open.set([("e1", &bash), ("e2", &custom)].into_iter());
        assert!(
            open.claim("e9", false)
                .unwrap_err()
                .contains("unknown or has been answered")
        );
        assert!(
            open.claim("e2", false)
                .unwrap_err()
                .contains("user.custom_tool_result")
        );
        open.claim("e1", false).unwrap();
        assert!(
            open.claim("e1", false)
                .unwrap_err()
                .contains("has been answered")
        );
        open.set([("e1", &bash)].into_iter());
        assert!(
            open.claim("e1", false).is_err(),
            "the actor has not seen the answer yet"
        );
        open.give_back(&["e1".into()]);
        open.claim("e1", false).unwrap();
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
