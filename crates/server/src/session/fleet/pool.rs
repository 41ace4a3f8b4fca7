//! Spares: sandboxes with a claude that is started and has read its definition, made before anybody asks.
//!
//! A spare belongs to a [`Class`]: the environment, the agent and the CLI as they are now. It has never
//! seen anybody's data and serves one session. One task fills the shelves, one spare at a time and with
//! the least share of the processor, so that filling slows nobody. What can differ between two sessions
//! of a class (title, metadata, budget) is no business of claude's, so a claimed spare needs nothing but
//! its first message. Everything else is another class and starts cold.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use api::environment::hosting;
use claude::custom::{Asked, CustomTool, CustomTools};
use claude::frame::{ControlRequestKind, Frame};
use claude::input;
use claude::launch::Launch;
use futures::FutureExt as _;
use tokio::sync::Notify;
use tokio::time::{Instant, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::places::{Held, Name};
use super::{Fleet, Plan, Seat};
use crate::session::runner::process::{Claude, Over};
use crate::session::runner::{Ended, News};
use crate::session::uuid_of;

/// How far back demand counts.
const DEMAND: Duration = Duration::from_secs(60);
/// A spare older than this is replaced, because the host around it changes too.
const OLD: Duration = Duration::from_secs(1800);
/// How often shelves are looked at when nobody claims.
const TICK: Duration = Duration::from_secs(1);
/// A claude works on for 0.2 s of processor time, spread over almost two seconds, after it has said that
/// it is ready. One that is frozen before has that still to do when it gets its first message.
const SETTLE: Duration = Duration::from_secs(2);
/// How long a session that came just now is left the processor, before the next spare is made: most have
/// their first answer by then.
const CALM: Duration = Duration::from_millis(500);
/// How long a class whose spare could not be made is left alone.
const REST: Duration = Duration::from_secs(30);
/// Classes that are remembered. The one that was asked for longest ago is forgotten beyond that.
pub const CLASSES: usize = 64;

/// What makes spares interchangeable.
#[derive(Debug, Clone)]
pub struct Class {
    /// Of whom there is one class at a time: an environment and an agent. A newer class of the same
    /// owner replaces the older one.
    pub owner: String,
    /// Same name, same spare.
    pub name: String,
    /// The sandbox.
    pub plan: Plan,
    /// Claude, but for its session.
    pub launch: Launch,
    /// The agent's custom tools.
    pub custom: Vec<CustomTool>,
    /// How many are kept.
    pub pool: hosting::Pool,
    /// How long claude may take to say its first word.
    pub first_word: Duration,
}

/// A sandbox with a claude that waits for its first message.
pub struct Spare {
    /// The only seat of its sandbox.
    pub seat: Seat,
    /// What runs in it.
    pub claude: Claude,
    /// The conversation that this claude begins.
    pub claude_session: String,
    /// Whether it has settled and is frozen; until then it has the least share of the processor.
    pub rests: bool,
    made: Instant,
}

/// All spares of a server.
#[derive(Default)]
pub struct Pool {
    shelves: Mutex<HashMap<String, Shelf>>,
    asked: Notify,
}

impl Spare {
    /// Whether it can serve a session: its sandbox lives, and so does its claude as far as is known. A
    /// frozen one says nothing, and cannot end by itself.
    fn is_good(&mut self) -> bool {
        if self.seat.is_over() {
            return false;
        }
        loop {
            match self.claude.next().now_or_never() {
                None => return true,
                // What it says is about nobody's session.
                Some(Ok(_)) => {}
                Some(Err(_)) => return false,
            }
        }
    }
}

struct Shelf {
    class: Class,
    spares: VecDeque<Spare>,
    /// When sessions came, the oldest first; no more than matter for the largest pool.
    claims: VecDeque<Instant>,
    last: Instant,
    /// Nothing is made before this, after a failure.
    rests_until: Option<Instant>,
}

impl Shelf {
    fn new(class: Class, now: Instant) -> Shelf {
        Shelf {
            class,
            spares: VecDeque::new(),
            claims: VecDeque::new(),
            last: now,
            rests_until: None,
        }
    }

    fn claimed(&mut self, now: Instant) {
        self.last = now;
        self.claims.push_back(now);
        if self.claims.len() > self.class.pool.max as usize {
            self.claims.pop_front();
        }
    }

    /// How many spares there should be: as many as were asked for lately, within the bounds.
    fn target(&mut self, now: Instant) -> usize {
        while self.claims.front().is_some_and(|at| now - *at > DEMAND) {
            self.claims.pop_front();
        }
        let hosting::Pool { min, max } = self.class.pool;
        self.claims.len().clamp(min as usize, max as usize)
    }
}

impl Pool {
    /// Takes a spare of the class, if there is one, and remembers that one was wanted.
    pub fn claim(&self, class: Class) -> Option<Spare> {
        let now = Instant::now();
        let mut shelves = self.lock();
        let shelf = shelves
            .entry(class.owner.clone())
            .or_insert_with(|| Shelf::new(class.clone(), now));
        let mut outdated = VecDeque::new();
        if shelf.class.name != class.name {
            outdated = std::mem::take(&mut shelf.spares);
            *shelf = Shelf::new(class, now);
        }
        shelf.claimed(now);
        let mut claimed = None;
        while let Some(mut spare) = shelf.spares.pop_front() {
            if spare.is_good() {
                claimed = Some(spare);
                break;
            }
            outdated.push_back(spare);
        }
        if shelves.len() > CLASSES {
            let oldest = shelves.iter().min_by_key(|(_, shelf)| shelf.last);
            if let Some(owner) = oldest.map(|(owner, _)| owner.clone()) {
                outdated.extend(
                    shelves
                        .remove(&owner)
                        .into_iter()
                        .flat_map(|shelf| shelf.spares),
                );
            }
        }
        drop(shelves);
        drop(outdated);
        self.asked.notify_one();
        claimed
    }

    /// Keeps the least number of a class that nobody has claimed yet, where there is room for it.
    pub fn keep(&self, class: Class) {
        let mut shelves = self.lock();
        if shelves.len() < CLASSES {
            let new = || Shelf::new(class.clone(), Instant::now());
            shelves.entry(class.owner.clone()).or_insert_with(new);
        }
        drop(shelves);
        self.asked.notify_one();
    }

    /// Gives up one spare, of this workspace if one is named, so that a session gets its place.
    pub fn make_room(&self, of: Option<&Name>) {
        let mut shelves = self.lock();
        let fullest = shelves
            .values_mut()
            .filter(|shelf| of.is_none_or(|name| shelf.class.plan.workspace == *name))
            .max_by_key(|shelf| shelf.spares.len());
        let given = fullest.and_then(|shelf| shelf.spares.pop_back());
        drop(shelves);
        drop(given);
    }

    /// Forgets the classes whose owner's name begins so; their spares end.
    pub fn forget(&self, owner: &str) {
        let mut shelves = self.lock();
        let mut gone = Vec::new();
        shelves.retain(|name, shelf| {
            let keep = !name.starts_with(owner);
            if !keep {
                gone.append(&mut shelf.spares.drain(..).collect());
            }
            keep
        });
        drop(shelves);
        drop(gone);
    }

    /// Removes spares that are dead, old or too many; the class of which one is missing most.
    fn sweep(&self) -> Option<Class> {
        let now = Instant::now();
        let mut gone = Vec::new();
        let mut shelves = self.lock();
        let mut neediest: Option<(usize, Class)> = None;
        for shelf in shelves.values_mut() {
            let target = shelf.target(now);
            let mut kept = VecDeque::new();
            for mut spare in shelf.spares.drain(..) {
                let good = spare.is_good() && now - spare.made < OLD;
                if good && kept.len() < target {
                    kept.push_back(spare);
                } else {
                    gone.push(spare);
                }
            }
            shelf.spares = kept;
            let missing = target - shelf.spares.len();
            let rests = shelf.rests_until.is_some_and(|until| now < until);
            let needier = neediest.as_ref().is_none_or(|(most, _)| missing > *most);
            if missing > 0 && !rests && needier {
                neediest = Some((missing, shelf.class.clone()));
            }
        }
        drop(shelves);
        drop(gone);
        neediest.map(|(_, class)| class)
    }

    /// Takes out one that has settled and does not rest yet.
    fn restless(&self) -> Option<(Class, Spare)> {
        let now = Instant::now();
        let settled = |spare: &Spare| !spare.rests && now - spare.made >= SETTLE;
        self.lock().values_mut().find_map(|shelf| {
            let at = shelf.spares.iter().position(settled)?;
            Some((shelf.class.clone(), shelf.spares.remove(at)?))
        })
    }

    fn stock(&self, class: &Class, made: Result<Spare, Ended>) {
        let mut shelves = self.lock();
        let shelf = shelves
            .get_mut(&class.owner)
            .filter(|shelf| shelf.class.name == class.name);
        match (shelf, made) {
            (Some(shelf), Ok(spare)) => shelf.spares.push_back(spare),
            (Some(shelf), Err(ended)) => {
                tracing::warn!("cannot make a spare for {}: {}", class.owner, ended.why);
                shelf.rests_until = Some(Instant::now() + REST);
            }
            // Its class was replaced while it was made.
            (None, made) => {
                drop(shelves);
                drop(made);
            }
        }
    }

    /// Leaves a class alone for a while.
    fn rest(&self, class: &Class) {
        if let Some(shelf) = self.lock().get_mut(&class.owner) {
            shelf.rests_until = Some(Instant::now() + REST);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Shelf>> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fills the shelves until the server stops.
pub async fn fill(fleet: Weak<Fleet>, shutdown: CancellationToken) {
    let mut tick = interval(TICK);
    loop {
        let Some(fleet) = fleet.upgrade() else { return };
        tokio::select! {
            () = shutdown.cancelled() => {
                fleet.pool.forget("");
                return;
            }
            _ = tick.tick() => {}
            () = fleet.pool.asked.notified() => {
                // Over early when the server stops, which the next round sees.
                let _ = timeout(CALM, shutdown.cancelled()).await;
            }
        }
        while let Some(class) = fleet.pool.sweep() {
            // Spares never wait for a place: sessions come first.
            let Some(place) = fleet.free_place(&class.plan) else {
                if fleet.is_full() {
                    break;
                }
                // Its workspace has as much as it may; others may have more.
                fleet.pool.rest(&class);
                continue;
            };
            let made = tokio::select! {
                () = shutdown.cancelled() => break,
                made = make(&fleet, &class, place) => made,
            };
            fleet.pool.stock(&class, made);
            rest(&fleet).await;
        }
        rest(&fleet).await;
    }
}

/// Freezes those that have settled. Nobody can claim one in the few milliseconds that it takes.
async fn rest(fleet: &Fleet) {
    while let Some((class, mut spare)) = fleet.pool.restless() {
        spare.seat.yield_to_others(false).await;
        spare.seat.freeze(true).await;
        spare.rests = true;
        fleet.pool.stock(&class, Ok(spare));
    }
}

async fn make(fleet: &Arc<Fleet>, class: &Class, place: Held) -> Result<Spare, Ended> {
    let seat = fleet.alone(class.plan.clone(), None, place).await?;
    seat.yield_to_others(true).await;
    let claude_session = uuid_of(seat.sandbox().as_str());
    let mut launch = class.launch.clone();
    launch.session = claude::launch::Session::New(claude_session.clone());
    let started = Claude::spawn(&seat, &launch, class.first_word).await;
    let mut claude = started.map_err(why)?;
    wait_until_ready(&mut claude, &class.custom).await?;
    Ok(Spare {
        seat,
        claude,
        claude_session,
        rests: false,
        made: Instant::now(),
    })
}

/// Answers claude until it has answered its first line. What it says besides is about nobody's session.
async fn wait_until_ready(claude: &mut Claude, custom: &[CustomTool]) -> Result<(), Ended> {
    let custom = CustomTools::new(custom.to_vec());
    loop {
        let News::Frame(frame) = claude.next().await.map_err(why)? else {
            continue;
        };
        match *frame {
            Frame::ControlResponse(_) => return Ok(()),
            Frame::ControlRequest(request) => {
                if let ControlRequestKind::McpMessage(message) = &request.kind
                    && let Asked::Reply(reply) = custom.answer(&message.message)
                {
                    let line = input::mcp_reply(&request.request_id, &reply);
                    // A claude that does not read any more ends, and says why.
                    let _ = claude.write(&line).await;
                }
            }
            _ => {}
        }
    }
}

fn why(over: Over) -> Ended {
    match over {
        Over::Claude(ended) | Over::Sandbox(ended) => ended,
        Over::Ordered(_) | Over::Recycle(_) | Over::Leave => {
            Ended::new("it was ended by order", false)
        }
    }
}
