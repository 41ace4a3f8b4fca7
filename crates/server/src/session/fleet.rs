//! The live sandboxes of this server, and who gets a seat in which.
//!
//! A session sits alone in a sandbox, or among others of its environment, or in a spare that was made
//! ready before it came. Every sandbox takes one of the server's places; who finds none waits, after
//! spares have made room and idle sessions were asked to go. Who is next: `places`.

pub mod places;
mod pool;
mod sandbox;
mod seat;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ::sandbox::{Provider, SandboxId};
use api::id::Prefix;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::keep::Keeping;
use super::place::Place;
use super::runner::{Ended, News};
use super::uuid_of;
use crate::ids::Ids;
use places::{Held, Places};
pub use places::{Quota, Wait};
use pool::Pool;
pub use pool::{CLASSES, Class, Spare, fill};
use sandbox::Sandbox;
pub use sandbox::{Plan, Sitter};
pub use seat::{Seat, Stillness};

/// Sandboxes that several sessions sit in, by what they have in common. The lock of a group is held
/// while a sandbox is made for it, so that two who come at once do not make two.
type Group = Arc<tokio::sync::Mutex<Vec<Weak<Sandbox>>>>;

/// All live sandboxes of this server.
pub struct Fleet {
    provider: Arc<dyn Provider>,
    egress: egress::Egress,
    ids: Ids,
    tasks: TaskTracker,
    places: Places,
    /// Sandboxes that are meant to exist.
    wanted: Mutex<HashSet<SandboxId>>,
    groups: Mutex<HashMap<String, Group>>,
    pool: Pool,
}

/// With whom a session sits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Company {
    /// Alone.
    Alone,
    /// With others of the same group.
    Among(Members),
}

/// Those with whom a session sits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    /// What they have in common.
    pub group: String,
    /// How many may sit in one sandbox.
    pub max: u32,
    /// The session's own name for its directories.
    pub name: String,
    /// Whether they have a common directory, and so must all sit in one sandbox.
    pub shared: bool,
}

/// Has what is refused without a connection recorded, until the server stops.
pub fn keep_attempts(
    fleet: &Fleet,
    shutdown: CancellationToken,
) -> impl Future<Output = ()> + use<> {
    let egress = fleet.egress.clone();
    async move {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = egress.keep_attempts() => {}
        }
    }
}

impl Fleet {
    /// A fleet of at most `places` sandboxes, none of which is made yet.
    #[must_use]
    pub fn new(
        provider: Arc<dyn Provider>,
        egress: egress::Egress,
        ids: Ids,
        places: usize,
        tasks: TaskTracker,
    ) -> Fleet {
        Fleet {
            provider,
            egress,
            ids,
            tasks,
            places: Places::new(places),
            wanted: Mutex::default(),
            groups: Mutex::default(),
            pool: Pool::default(),
        }
    }

    /// Has what was refused without a connection recorded now.
    pub fn flush_attempts(&self) {
        self.egress.flush_attempts();
    }

    /// A seat for a session, as soon as there is one.
    ///
    /// # Errors
    /// When the sandbox cannot be made.
    pub async fn seat(
        self: &Arc<Self>,
        plan: Plan,
        company: Company,
        sitter: Sitter,
        keeping: &Keeping,
    ) -> Result<Seat, Ended> {
        match company {
            Company::Alone => {
                let place = self.place(&plan, &sitter).await?;
                self.alone(plan, Some(sitter), place).await
            }
            Company::Among(members) => self.among(plan, members, &sitter, keeping).await,
        }
    }

    async fn alone(
        self: &Arc<Self>,
        plan: Plan,
        sitter: Option<Sitter>,
        place: Held,
    ) -> Result<Seat, Ended> {
        let sandbox = Sandbox::open(self, plan, place).await?;
        let chair = sandbox.sit(sitter, 1);
        let chair = chair.ok_or_else(|| Ended::new("the sandbox ended", true))?;
        Seat::furnish(chair, Place::only(), false).await
    }

    /// A seat in a sandbox of the group; one is made when the others are full.
    async fn among(
        self: &Arc<Self>,
        plan: Plan,
        members: Members,
        sitter: &Sitter,
        keeping: &Keeping,
    ) -> Result<Seat, Ended> {
        let Members {
            group,
            max,
            name,
            shared,
        } = members;
        let group = self.group(&group);
        loop {
            let mut sandboxes = group.lock().await;
            sandboxes.retain(|sandbox| sandbox.upgrade().is_some_and(|live| !live.is_over()));
            let live: Vec<Arc<Sandbox>> = sandboxes.iter().filter_map(Weak::upgrade).collect();
            let left = live.first().map(|first| first.left());
            for sandbox in &live {
                if let Some(chair) = sandbox.sit(Some(sitter.clone()), max) {
                    drop(sandboxes);
                    let place = Place::member(chair.seat, &name);
                    return Seat::furnish(chair, place, shared).await;
                }
            }
            if let (true, Some(full), Some(mut left)) = (shared, live.first(), left) {
                // Those who work together need one sandbox, so the next one waits for a seat.
                drop(sandboxes);
                let what = format!(
                    "all {max} seats of the shared sandbox are taken; the turn begins when one is free"
                );
                let _ = sitter.news.send(News::Limit(what)).await;
                tokio::select! {
                    _ = left.changed() => {}
                    _ = full.ended() => {}
                }
                continue;
            }
            let place = self.place(&plan, sitter).await?;
            let sandbox = Sandbox::open(self, plan.clone(), place).await?;
            sandboxes.push(Arc::downgrade(&sandbox));
            if let Some(chair) = sandbox.sit(Some(sitter.clone()), max) {
                let place = Place::member(chair.seat, &name);
                let seat = Seat::furnish(chair, place, shared).await?;
                // Before anybody else sits down: all of them see the same directory.
                let restored = keeping.restore_common(&seat).await;
                restored.map_err(|why| {
                    Ended::new(format!("cannot bring the common files back: {why}"), true)
                })?;
                return Ok(seat);
            }
        }
    }

    /// The sandboxes of a group. Groups of which none is left are forgotten on the way.
    fn group(&self, name: &str) -> Group {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups.retain(|_, group| {
            // Whoever is about to make one holds the group.
            let held = Arc::strong_count(group) > 1;
            let lives = |live: &Weak<Sandbox>| live.strong_count() > 0;
            held || group.try_lock().is_ok_and(|live| live.iter().any(lives))
        });
        groups.entry(name.to_owned()).or_default().clone()
    }

    /// Waits for one of the server's places, and says where it stands in the line.
    async fn place(&self, plan: &Plan, sitter: &Sitter) -> Result<Held, Ended> {
        let (workspace, size) = (&plan.workspace, plan.size());
        if !self.places.is_possible(workspace, size) {
            let why = "its sandbox may use more memory or disk than its workspace may altogether";
            return Err(Ended::new(why, false));
        }
        let mut line = self.places.line_up(workspace, size);
        let mut asked = false;
        loop {
            let wait = match line.step().await {
                Ok(held) => return Ok(held),
                Err(wait) => wait,
            };
            if !std::mem::replace(&mut asked, true) {
                let own = matches!(wait, Wait::Quota(_)).then_some(workspace);
                self.pool.make_room(own);
            }
            // An actor that is gone has no use for the news.
            let _ = sitter.news.send(News::Queued(wait)).await;
        }
    }

    /// A place that nobody has to wait for.
    fn free_place(&self, plan: &Plan) -> Option<Held> {
        self.places.take_spare(&plan.workspace, plan.size())
    }

    /// Whether nobody gets a place now without waiting.
    fn is_full(&self) -> bool {
        self.places.is_full()
    }

    /// What a workspace may hold from now on.
    pub fn set_quota(&self, workspace: &str, quota: Quota) {
        self.places.set_quota(workspace, quota);
    }

    /// A sandbox that was made ready for a session of this class, if there is one.
    pub fn claim(&self, class: Class) -> Option<Spare> {
        self.pool.claim(class)
    }

    /// Keeps as many spares of a class as its environment wants at least.
    pub fn keep(&self, class: Class) {
        self.pool.keep(class);
    }

    /// Ends the spares of an environment, or of all when it is empty.
    pub fn forget(&self, environment: &str) {
        self.pool.forget(environment);
    }

    /// Resolves when the caller, an idle session of this workspace, should give up its sandbox for
    /// somebody else.
    pub async fn pressed(&self, workspace: &str) {
        self.places.pressed(workspace).await;
    }

    /// The provider, for the reconciler.
    pub fn provider(&self) -> &dyn Provider {
        &*self.provider
    }

    /// Whether a sandbox is meant to exist.
    #[must_use]
    pub fn wants(&self, id: &SandboxId) -> bool {
        self.lock_wanted().contains(id)
    }

    /// A sandbox's name: the random part of an id, in the characters that every provider takes.
    fn new_id(&self) -> SandboxId {
        let name = uuid_of(&self.ids.mint(Prefix::Session));
        name.parse().expect("a uuid is a sandbox id")
    }

    fn wanted(&self, id: &SandboxId) {
        self.lock_wanted().insert(id.clone());
    }

    fn gone(&self, id: &SandboxId) {
        self.lock_wanted().remove(id);
    }

    fn lock_wanted(&self) -> MutexGuard<'_, HashSet<SandboxId>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
