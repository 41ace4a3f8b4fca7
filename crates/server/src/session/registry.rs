//! Who owns which session: the actors of this server, and their bells.
//!
//! Its locks are held for a few lines and never across a wait.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use api::client_event::ClientEvent;
use claude::versions::Versions;
use futures::FutureExt;
use serde_json::Value;
use store::{EnvironmentRow, Realm, SessionRow, Store, StoreError};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::actor::{self, Request};
use super::feed::Feed;
use super::fleet::Fleet;
use super::keep::Keeper;
use super::open_calls::OpenCalls;
use super::{SendError, Settings, reach, resume};
use crate::audit::Auditor;
use crate::clock::Clock;
use crate::ids::Ids;
use crate::retention::Retention;
use crate::tenants::Tenants;
use crate::usage::Ledger;
use crate::vaults::Vaults;

/// What actors share.
pub struct Inner {
    pub(super) store: Arc<Store>,
    pub(super) fleet: Arc<Fleet>,
    pub(super) keeping: Keeper,
    pub(super) retention: Retention,
    pub(super) ledger: Arc<Ledger>,
    pub(super) vaults: Arc<Vaults>,
    /// Held from reading credentials to binding them, so that the last to bind is the last that read.
    pub(super) binding: tokio::sync::Mutex<()>,
    pub(super) auditor: Arc<Auditor>,
    pub(super) versions: Versions,
    pub(super) settings: Settings,
    pub(super) clock: Clock,
    pub(super) ids: Ids,
    /// This server, as the owner of leases.
    pub(super) owner: String,
    pub(super) actors: Mutex<HashMap<String, Handle>>,
    pub(super) feeds: Mutex<HashMap<String, Weak<Feed>>>,
    pub(super) tenants: Tenants,
    pub(super) tasks: TaskTracker,
    pub(super) shutdown: CancellationToken,
}

/// An actor, from outside.
#[derive(Clone)]
pub(super) struct Handle {
    pub(super) bell: Arc<Bell>,
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) open: Arc<OpenCalls>,
}

/// Says that the log has client events that the actor has not seen. Ringing twice is ringing once.
#[derive(Default)]
pub struct Bell {
    rung: AtomicBool,
    notify: Notify,
}

impl Bell {
    pub(super) fn ring(&self) {
        self.rung.store(true, Ordering::Release);
        self.notify.notify_one();
    }

    /// Waits for a ring and forgets it. What was sent before the ring is in the log now.
    pub async fn heard(&self) {
        self.notify.notified().await;
        self.rung.store(false, Ordering::Release);
    }
}

impl Inner {
    /// What sessions of an environment may reach is what it says now, for all that are live or one.
    pub(super) fn environment_says(&self, row: &EnvironmentRow, only: Option<&str>) {
        let definition: Value = serde_json::from_str(&row.body).unwrap_or_default();
        let policy = reach::environment_policy(&definition["config"]);
        self.ledger
            .environment_says(&row.id, only, row.revision, &policy);
    }

    /// Binds the credentials that a session has now, if it is live.
    pub(super) async fn bind(&self, id: &str, workspace: &str) -> Result<(), StoreError> {
        let live = self.ledger.live(|book| book.session() == id);
        let Some(book) = live.first() else {
            return Ok(());
        };
        let _turn = self.binding.lock().await;
        let realm = Realm::of(workspace);
        if let Some(row) = self.store.sessions().get(&realm, id).await? {
            let given = self.vaults.given(&row).await?;
            book.bind(given.bindings, given.servers);
        }
        Ok(())
    }

    /// Does something with a session's actor, which is started when there is none.
    pub(super) fn handle<T>(
        self: &Arc<Self>,
        realm: &Realm,
        id: &str,
        with: impl FnOnce(&Handle) -> T,
    ) -> T {
        let mut actors = self.lock_actors();
        let handle = actors
            .entry(id.to_owned())
            .or_insert_with(|| self.start_actor(realm, id));
        with(handle)
    }

    pub(super) fn start_actor(self: &Arc<Self>, realm: &Realm, id: &str) -> Handle {
        let (requests, inbox) = mpsc::channel(actor::INBOX);
        let handle = Handle {
            bell: Arc::default(),
            requests,
            open: Arc::default(),
        };
        let (bell, open, inner) = (handle.bell.clone(), handle.open.clone(), self.clone());
        // An actor begins with a look at the log, whoever started it.
        bell.ring();
        let (realm, id) = (realm.clone(), id.to_owned());
        self.tasks.spawn(async move {
            let run = resume::run(inner.clone(), &realm, &id, open.clone(), inbox, bell);
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
    pub(super) fn retire(
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

    pub(super) fn forget(&self, id: &str, open: &Arc<OpenCalls>) {
        remove(&mut self.lock_actors(), id, open);
    }

    /// Checks events against the session's state; the calls that they answer.
    pub(super) fn check(
        &self,
        row: &SessionRow,
        events: &[ClientEvent],
    ) -> Result<Vec<String>, SendError> {
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

    pub(super) fn give_back(&self, id: &str, claims: &[String]) {
        if let Some(handle) = self.lock_actors().get(id) {
            handle.open.give_back(claims);
        }
    }

    /// The live end of a session's log, made when nobody holds it.
    pub(super) fn feed(&self, id: &str) -> Arc<Feed> {
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

    /// The live sandboxes, for the reconciler.
    #[must_use]
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    pub(super) fn lock_actors(&self) -> MutexGuard<'_, HashMap<String, Handle>> {
        self.actors.lock().unwrap_or_else(PoisonError::into_inner)
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
