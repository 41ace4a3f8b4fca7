//! The one task that owns a live session: feeds the machine and performs its effects, in order.
//!
//! Inputs: client events (read from the log when the bell rings), news from the runner, requests of the
//! API, and deadlines. Everything that the machine logs is committed before the next effect is
//! performed; a commit that another owner has fenced off ends the actor at once, without a word.
//!
//! A session that nobody talks to goes down the ladder (`rest`). An actor never holds a lock across a
//! wait, and never knows how the API is spoken.

mod clients;
mod driver;
mod ledger;
mod log;
mod requests;
mod rest;

use std::sync::Arc;
use std::time::Duration;

use api::environment::hosting::Hosting;
use api::id::Prefix;
use claude::custom::CustomTools;
use store::{Fence, SessionRow, Write};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::feed::Feed;
use super::ladder::Rules;
use super::machine::{self, Effect, Ids, Input, State, Status};
use super::runner::{News, Order};
use super::tools::Tools;
use super::{Bell, Inner, OpenCalls, start};
use log::Batch;

pub use clients::asked;
pub use machine::Asked;

/// Requests of the API that wait for an actor; a caller beyond that waits too.
pub const INBOX: usize = 16;
/// News that the actor has not looked at yet; beyond that claude's output waits in the link.
const NEWS: usize = 256;
/// How long claude may take to heed an interrupt. It takes 50 ms; a tool that does not die takes longer.
const INTERRUPT_GRACE: Duration = Duration::from_secs(10);
/// How often a commit is tried again while the disk is full or failing.
const RETRY_COMMIT: Duration = Duration::from_secs(1);
/// An actor with nothing to do and no sandbox ends after this; the next event starts another.
const LINGER: Duration = Duration::from_secs(5);
/// How long an actor sleeps that waits for nothing in particular.
const LONG: Duration = Duration::from_secs(3600);

/// What the API asks of an actor.
pub enum Request {
    /// Archive the session.
    Archive(oneshot::Sender<Result<(), Refused>>),
    /// Keep a snapshot of the files as they are, when the session has a seat.
    Save(oneshot::Sender<Result<(), Refused>>),
    /// Bring back the sandbox of a session that is to stay.
    Revive,
    /// End everything, so that the session can be deleted.
    Delete(oneshot::Sender<Result<(), Refused>>),
    /// Change the session's fields.
    Update(
        Box<super::SessionChange>,
        oneshot::Sender<Result<(), Refused>>,
    ),
}

/// Why an actor refused a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Not while the session runs.
    Running,
    /// The session is over.
    Over,
}

/// Why an actor ended.
enum End {
    /// Nothing to do.
    Idle,
    /// Terminated, deleted, or owned by another.
    Over,
    /// The server stops.
    Drain,
}

/// One session's owner.
pub struct Actor {
    inner: Arc<Inner>,
    row: SessionRow,
    fence: Fence,
    state: State,
    feed: Arc<Feed>,
    open: Arc<OpenCalls>,
    book: Arc<crate::usage::Book>,
    /// The last queued event that the machine has seen.
    taken: i64,
    custom: CustomTools,
    live: Option<Live>,
    /// Counts requests to claude, so that each has an id of its own.
    requests: u64,
    clock: ledger::Active,
    /// Why claude could not be started just now.
    failed_start: Option<String>,
    /// When claude last said something or was told something.
    last_sign: Instant,
    /// How the environment wants its sessions to live.
    hosting: Hosting,
    rules: Rules,
    rest: rest::Rest,
    /// Seconds that the session had worked when its turn began; `None` between turns.
    turn_began: Option<f64>,
    /// Writes that go with the next commit.
    pending: Vec<Write>,
}

/// The runner of this session's sandbox.
struct Live {
    orders: mpsc::Sender<Order>,
    news: mpsc::Receiver<News>,
    stop: CancellationToken,
    /// Claude has been started in this sandbox before, so its files are there.
    used: bool,
    /// When the session got its seat; before that it may wait for a place, which is no silence of
    /// claude's.
    up: Option<Instant>,
}

/// New event ids from the server's source.
struct EventIds<'a>(&'a crate::ids::Ids);

impl Ids for EventIds<'_> {
    fn event(&mut self) -> String {
        self.0.mint(Prefix::Event)
    }
}

/// Everything an actor needs to begin.
pub struct Begin {
    /// What it shares with the others.
    pub inner: Arc<Inner>,
    /// The session as the store has it.
    pub row: SessionRow,
    /// The lease.
    pub fence: Fence,
    /// Where the session stands.
    pub state: State,
    /// Its live end.
    pub feed: Arc<Feed>,
    /// The calls that clients may answer.
    pub open: Arc<OpenCalls>,
    /// Its books.
    pub book: Arc<crate::usage::Book>,
}

impl Actor {
    /// An actor that has not begun.
    #[must_use]
    pub fn new(begin: Begin) -> Actor {
        let Begin {
            inner,
            row,
            fence,
            state,
            feed,
            open,
            book,
        } = begin;
        let custom = CustomTools::new(start::custom(&state_tools(&row)));
        let clock = ledger::Active::of(&row);
        let hosting = start::hosting(&row);
        let rules = Rules::of(&hosting, inner.settings.freeze_after);
        Actor {
            inner,
            row,
            fence,
            state,
            feed,
            open,
            book,
            taken: 0,
            custom,
            live: None,
            requests: 0,
            clock,
            failed_start: None,
            last_sign: Instant::now(),
            hosting,
            rules,
            rest: rest::Rest::default(),
            turn_began: None,
            pending: Vec::new(),
        }
    }

    /// Runs until there is nothing more to do. `cut` says that the last server ended in the middle of a
    /// turn.
    pub async fn run(mut self, mut inbox: mpsc::Receiver<Request>, bell: Arc<Bell>, cut: bool) {
        if cut {
            let why = "the server was restarted in the middle of the turn".to_owned();
            if let Err(End::Over) = self.input(Input::Lost { why, again: true }).await {
                return self.finish(End::Over).await;
            }
        }
        let end = loop {
            if let Err(end) = self.turn_once(&mut inbox, &bell).await {
                match end {
                    End::Idle if !self.inner.retire(&self.row.id, &inbox, &bell, &self.open) => {}
                    end => break end,
                }
            }
        };
        self.finish(end).await;
    }

    /// Waits for one thing and handles it.
    async fn turn_once(
        &mut self,
        inbox: &mut mpsc::Receiver<Request>,
        bell: &Bell,
    ) -> Result<(), End> {
        let deadline = self.deadline();
        let book = self.book.clone();
        let inner = self.inner.clone();
        let yields = self.yields();
        let workspace = self.row.workspace_id.clone();
        tokio::select! {
            biased;
            () = inner.shutdown.cancelled() => Err(End::Drain),
            Some(request) = inbox.recv() => self.request(request).await,
            () = bell.heard() => self.clients().await,
            () = book.refused.notified() => {
                self.input(Input::BudgetReached(book.refusal())).await
            }
            () = book.failed.notified() => self.failed().await,
            news = next_news(&mut self.live) => self.news(news).await,
            () = inner.fleet.pressed(&workspace), if yields => self.pressed().await,
            () = tokio::time::sleep_until(deadline) => self.overdue().await,
        }
    }

    /// When to look whether something is missing.
    fn deadline(&self) -> Instant {
        let now = Instant::now();
        let patience = match () {
            () if self.state.interrupting() => Some(INTERRUPT_GRACE),
            () if self.silent() => Some(self.inner.settings.stall),
            () if self.live.is_none() && !self.rest.revives() => Some(LINGER),
            () => None,
        };
        let silence = patience.map(|patience| self.last_sign + patience);
        let turn = self.turn_left().map(|left| now + left);
        let rest = self.look_again(now);
        let first = [silence, turn, rest].into_iter().flatten().min();
        first.unwrap_or(now + LONG)
    }

    /// Whether claude is to blame when nothing comes.
    fn silent(&self) -> bool {
        self.state.owes_frames() && self.live.as_ref().is_some_and(|live| live.up.is_some())
    }

    /// How long the turn may still take, when that is limited.
    fn turn_left(&self) -> Option<Duration> {
        let began = self.turn_began.filter(|_| !self.state.interrupting())?;
        let max = self.hosting.limits.max_turn_seconds?;
        let worked = (self.clock.seconds() - began).max(0.0);
        (self.state.status() == Status::Running)
            .then(|| max.saturating_sub(Duration::from_secs_f64(worked)))
    }

    async fn overdue(&mut self) -> Result<(), End> {
        let silence = self.last_sign.elapsed();
        if self.state.interrupting() && silence >= INTERRUPT_GRACE {
            self.last_sign = Instant::now();
            let why = format!(
                "claude did not heed the interrupt within {} s",
                INTERRUPT_GRACE.as_secs()
            );
            return self.input(Input::Overdue { why }).await;
        }
        let stall = self.inner.settings.stall;
        if !self.state.interrupting() && self.silent() && silence >= stall {
            self.last_sign = Instant::now();
            let why = format!("claude gave no sign of life for {} s", stall.as_secs());
            return self.input(Input::Overdue { why }).await;
        }
        if self.turn_left() == Some(Duration::ZERO) {
            let max = self.hosting.limits.max_turn_seconds.unwrap_or_default();
            let message = format!(
                "the turn hit its limit of {} s (max_turn_seconds)",
                max.as_secs_f64()
            );
            self.last_sign = Instant::now();
            return self.input(Input::TurnLimit(message)).await;
        }
        let over = self.live.is_none() && !self.rest.revives() && silence >= LINGER;
        if over && self.state.status() == Status::Idle {
            self.last_sign = Instant::now();
            return Err(End::Idle);
        }
        self.rest_on().await
    }

    /// What came, through the machine, into the world.
    async fn input(&mut self, input: Input) -> Result<(), End> {
        let mut next = Some(input);
        while let Some(input) = next {
            let effects = machine::step(&mut self.state, input, &mut EventIds(&self.inner.ids));
            self.open.set(self.state.open_calls());
            self.perform(effects).await?;
            next = self
                .failed_start
                .take()
                .map(|why| Input::Lost { why, again: false });
        }
        self.turn_began = match self.state.status() {
            Status::Running => self.turn_began.or(Some(self.clock.seconds())),
            _ if self.state.waits() => self.turn_began,
            _ => None,
        };
        self.settle().await
    }

    async fn perform(&mut self, effects: Vec<Effect>) -> Result<(), End> {
        let mut batch = Batch::default();
        for effect in effects {
            match effect {
                Effect::Log(entry) => self.log(entry, &mut batch).await?,
                effect => {
                    self.commit(std::mem::take(&mut batch)).await?;
                    self.act(effect).await?;
                }
            }
        }
        self.commit(batch).await?;
        match self.state.status() {
            Status::Terminated => Err(End::Over),
            _ => Ok(()),
        }
    }

    async fn act(&mut self, effect: Effect) -> Result<(), End> {
        match effect {
            Effect::Log(_) => {}
            Effect::Preview(preview) => self.feed.preview(&preview),
            Effect::Tell(tell) => self.tell(tell).await,
            Effect::Start { interrupted } => self.start(interrupted).await?,
            Effect::Kill => self.kill(),
        }
        Ok(())
    }

    async fn finish(mut self, end: End) {
        if matches!(end, End::Drain) {
            self.leave_for_good().await;
        }
        self.kill();
        self.inner.ledger.close(&self.row.id);
        match end {
            End::Idle => {}
            End::Over | End::Drain => {
                self.feed.close();
                self.inner.forget(&self.row.id, &self.open);
            }
        }
    }
}

async fn next_news(live: &mut Option<Live>) -> Option<News> {
    match live {
        Some(live) => live.news.recv().await,
        None => std::future::pending().await,
    }
}

fn state_tools(row: &SessionRow) -> Tools {
    Tools::of(&serde_json::from_str(&row.agent).unwrap_or_default())
}
