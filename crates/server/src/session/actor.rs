//! The one task that owns a live session: feeds the machine and performs its effects, in order.
//!
//! Inputs: client events (read from the log when the bell rings), news from the runner, requests of the
//! API, and deadlines. Everything that the machine logs is committed before the next effect is
//! performed; a commit that another owner has fenced off ends the actor at once, without a word.
//!
//! An actor never holds a lock across a wait, and never knows how the API is spoken.

mod clients;
mod ledger;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::event::{Body, Event};
use api::id::Prefix;
use bytes::Bytes;
use claude::custom::{Asked as McpAsked, CustomTools};
use claude::frame::{ControlRequestKind, Frame};
use claude::input;
use sandbox::SandboxId;
use serde_json::Value;
use store::{CommitError, Fence, NewEvent, SessionRow, TranscriptEntry, Write};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::feed::{Delivery, Feed};
use super::machine::{self, Effect, Entry, Ids, Input, State, Status, Tell};
use super::runner::{self, News, Order, Plan, Start, Surroundings};
use super::tools::Tools;
use super::translate::translate;
use super::{Bell, Inner, OpenCalls, start};

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

/// What the API asks of an actor.
pub enum Request {
    /// Archive the session.
    Archive(oneshot::Sender<Result<(), Refused>>),
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

/// Why claude was not started.
enum Unstartable {
    /// In one sentence for people.
    Why(String),
    End(End),
}

impl Unstartable {
    fn why(error: &dyn std::error::Error) -> Unstartable {
        Unstartable::Why(format!("cannot start claude: {error}"))
    }
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
}

/// The runner of this session's sandbox.
struct Live {
    orders: mpsc::Sender<Order>,
    news: mpsc::Receiver<News>,
    stop: CancellationToken,
    /// Claude has been started in this sandbox before, so its files are there.
    used: bool,
    /// The sandbox is made; before that it may wait for a place, which is no silence of claude's.
    up: bool,
}

/// New event ids from the server's source.
struct EventIds<'a>(&'a crate::ids::Ids);

impl Ids for EventIds<'_> {
    fn event(&mut self) -> String {
        self.0.mint(Prefix::Event)
    }
}

/// Consecutive log entries on their way into one commit.
#[derive(Default)]
struct Batch {
    writes: Vec<Write>,
    /// Kind and body of the events among them, in order.
    shown: Vec<(String, String)>,
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
        let shutdown = self.inner.shutdown.clone();
        tokio::select! {
            biased;
            () = shutdown.cancelled() => Err(End::Drain),
            Some(request) = inbox.recv() => self.request(request).await,
            () = bell.heard() => self.clients().await,
            () = book.refused.notified() => self.input(Input::BudgetReached).await,
            news = next_news(&mut self.live) => self.news(news).await,
            () = tokio::time::sleep_until(deadline) => self.overdue().await,
        }
    }

    /// When to look whether something is missing.
    fn deadline(&self) -> Instant {
        let patience = match () {
            () if self.state.interrupting() => INTERRUPT_GRACE,
            () if self.silent() => self.inner.settings.stall,
            () => LINGER,
        };
        self.last_sign + patience
    }

    /// Whether claude is to blame when nothing comes.
    fn silent(&self) -> bool {
        self.state.owes_frames() && self.live.as_ref().is_some_and(|live| live.up)
    }

    async fn overdue(&mut self) -> Result<(), End> {
        self.last_sign = Instant::now();
        if self.state.interrupting() {
            let why = format!(
                "claude did not heed the interrupt within {} s",
                INTERRUPT_GRACE.as_secs()
            );
            return self.input(Input::Overdue { why }).await;
        }
        if self.silent() {
            let why = format!(
                "claude gave no sign of life for {} s",
                self.inner.settings.stall.as_secs()
            );
            return self.input(Input::Overdue { why }).await;
        }
        if self.live.is_none() && self.state.status() == Status::Idle {
            return Err(End::Idle);
        }
        Ok(())
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
        Ok(())
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

    // ---- the log

    async fn log(&mut self, entry: Entry, batch: &mut Batch) -> Result<(), End> {
        let now = self.inner.clock.now();
        match entry {
            Entry::Event { id, body } => batch.event(Event {
                id,
                processed_at: now,
                body,
            }),
            Entry::Usage => {
                let usage = serde_json::to_value(self.book.shown(self.clock.seconds()))
                    .expect("usage is plain data");
                let budget = self
                    .row
                    .budget
                    .as_deref()
                    .and_then(|budget| serde_json::from_str(budget).ok());
                batch.writes.push(Write::Usage(usage.to_string()));
                batch
                    .writes
                    .push(Write::Stats(self.clock.stats(now).to_string()));
                let id = self.inner.ids.mint(Prefix::Event);
                batch.event(Event {
                    id,
                    processed_at: now,
                    body: Body::SessionUsage { usage, budget },
                });
            }
            Entry::Processed(id) => {
                let Some((kind, body)) = self.processed(&id, now).await? else {
                    return Ok(());
                };
                batch.writes.push(Write::Process {
                    id,
                    processed_at: now,
                    body: body.clone(),
                });
                batch.shown.push((kind, body));
            }
            Entry::Status(status, attention) => {
                self.clock.status(status);
                let status = match status {
                    Status::Idle => store::Status::Idle,
                    Status::Running => store::Status::Running,
                    Status::Rescheduling => store::Status::Rescheduling,
                    Status::Terminated => {
                        batch.writes.push(Write::Archive { at: now });
                        return Ok(());
                    }
                };
                batch.writes.push(Write::Status {
                    status,
                    attention,
                    updated_at: now,
                });
            }
        }
        Ok(())
    }

    /// Commits and then shows. While the disk is full or failing it tries again, and what claude says
    /// waits: nothing is shown that is not kept.
    async fn commit(&mut self, batch: Batch) -> Result<(), End> {
        if batch.writes.is_empty() {
            return Ok(());
        }
        let Batch { writes, shown } = batch;
        let appended = loop {
            match self
                .inner
                .store
                .events()
                .commit(&self.row.id, self.fence, writes.clone())
                .await
            {
                Ok(appended) => break appended,
                Err(CommitError::Store(error)) if error.is_transient() => {
                    tracing::error!(session.id = %self.row.id, error = &error as &dyn std::error::Error, "cannot write to the log; trying again");
                    tokio::select! {
                        () = self.inner.shutdown.cancelled() => return Err(End::Drain),
                        () = tokio::time::sleep(RETRY_COMMIT) => {}
                    }
                }
                Err(error) => {
                    tracing::error!(session.id = %self.row.id, error = &error as &dyn std::error::Error, "session {} is left to its new owner", self.row.id);
                    return Err(End::Over);
                }
            }
        };
        let events = appended.iter().zip(&shown);
        self.feed.publish(
            events.map(|(appended, (kind, body))| Delivery::new(Some(appended.seq), kind, body)),
        );
        Ok(())
    }

    // ---- claude

    async fn start(&mut self, interrupted: bool) -> Result<(), End> {
        let (cli, start) = match self.plan(interrupted).await {
            Ok(planned) => planned,
            // Remembered, because what else the step that wanted claude did comes first.
            Err(Unstartable::Why(why)) => {
                self.failed_start = Some(why);
                return Ok(());
            }
            Err(Unstartable::End(end)) => return Err(end),
        };
        if self.live.is_none() {
            self.live = Some(self.make_sandbox(cli));
        }
        if let Some(live) = &mut self.live {
            live.used = true;
            let _ = live.orders.send(Order::Start(Box::new(start))).await;
        }
        self.last_sign = Instant::now();
        Ok(())
    }

    /// The claude binary and how to start it.
    async fn plan(&mut self, interrupted: bool) -> Result<(PathBuf, Start), Unstartable> {
        let installed = self
            .inner
            .versions
            .resolve(self.inner.settings.cli.as_ref());
        let cli = installed.map_err(|error| Unstartable::why(&error))?.path;
        let files = self.inner.store.transcripts().load(&self.row.id).await;
        let files = files.map_err(|error| Unstartable::why(&error))?;
        let resumable = start::resumable(&files);
        let session = self
            .conversation(!resumable, interrupted)
            .await
            .map_err(Unstartable::End)?;
        let fresh = !self.live.as_ref().is_some_and(|live| live.used);
        let transcript = if fresh && resumable {
            let made = start::transcript(&self.row.claude_session, &files);
            made.map_err(|error| Unstartable::why(&error))?
        } else {
            None
        };
        let agent: Value = serde_json::from_str(&self.row.agent).unwrap_or_default();
        let tools = state_tools(&self.row);
        self.custom = CustomTools::new(start::custom(&tools));
        let launch = start::launch(&agent, &tools, session, self.inner.settings.launch);
        Ok((
            cli,
            Start {
                launch,
                transcript,
                first_word: self.inner.settings.start_timeout,
            },
        ))
    }

    /// Which conversation claude carries on. One of which nothing was mirrored is begun anew, under a
    /// new id: claude refuses an id whose transcript it finds.
    async fn conversation(
        &mut self,
        new: bool,
        interrupted: bool,
    ) -> Result<claude::launch::Session, End> {
        if !new {
            return Ok(claude::launch::Session::Resume {
                id: self.row.claude_session.clone(),
                interrupted,
            });
        }
        if self.live.as_ref().is_some_and(|live| live.used) {
            self.row.claude_session = super::uuid_of(&self.inner.ids.mint(Prefix::Event));
            let writes = vec![Write::ClaudeSession(self.row.claude_session.clone())];
            self.commit(Batch {
                writes,
                shown: Vec::new(),
            })
            .await?;
        }
        Ok(claude::launch::Session::New(
            self.row.claude_session.clone(),
        ))
    }

    fn make_sandbox(&self, cli: PathBuf) -> Live {
        let settings = &self.inner.settings;
        let (order_sender, orders) = mpsc::channel(runner::ORDERS);
        let (news_sender, news) = mpsc::channel(NEWS);
        let stop = CancellationToken::new();
        let plan = Plan {
            sandbox: sandbox_id(&self.inner.ids),
            rootfs: settings.rootfs.clone(),
            resources: settings.resources,
            cli,
        };
        let around = Surroundings {
            provider: self.inner.provider.clone(),
            places: self.inner.places.clone(),
            egress: self.inner.egress.clone(),
            client: egress::ClientId(self.row.id.clone()),
            news: news_sender,
        };
        self.inner.sandbox_made(&plan.sandbox);
        let (inner, id) = (self.inner.clone(), plan.sandbox.clone());
        let token = stop.clone();
        self.inner.tasks.spawn(async move {
            runner::run(plan, around, orders, token).await;
            inner.sandbox_gone(&id);
        });
        Live {
            orders: order_sender,
            news,
            stop,
            used: false,
            up: false,
        }
    }

    /// Ends claude and its sandbox; what they still say is not heard.
    fn kill(&mut self) {
        if let Some(live) = self.live.take() {
            live.stop.cancel();
        }
    }

    async fn order(&mut self, line: Bytes) {
        self.last_sign = Instant::now();
        if let Some(live) = &self.live {
            // A runner that ended says so as news; the line is then of no use.
            let _ = live.orders.send(Order::Line(line)).await;
        }
    }

    async fn tell(&mut self, tell: Tell) {
        let line = match tell {
            Tell::Prompt(prompt) => match input::user(&prompt.uuid, &prompt.content) {
                Ok(line) => line,
                Err(_) => return,
            },
            Tell::Interrupt => {
                self.requests += 1;
                input::interrupt(&format!("interrupt_{}", self.requests), true)
            }
            Tell::Allow { request_id } => input::allow(&request_id, None),
            Tell::Deny {
                request_id,
                message,
            } => input::deny(&request_id, &message, false),
            Tell::ToolResult {
                request_id,
                rpc_id,
                content,
                is_error,
            } => input::mcp_reply(
                &request_id,
                &clients::mcp_result(&rpc_id, &content, is_error),
            ),
        };
        self.order(line).await;
    }

    async fn news(&mut self, news: Option<News>) -> Result<(), End> {
        self.last_sign = Instant::now();
        match news {
            Some(News::Up) => {
                if let Some(live) = &mut self.live {
                    live.up = true;
                }
                Ok(())
            }
            Some(News::Frame(frame)) => self.frame(*frame).await,
            Some(News::Limit(message)) => self.input(Input::Limit(message)).await,
            Some(News::ClaudeEnded(ended)) => {
                self.input(Input::Lost {
                    why: ended.why,
                    again: ended.again,
                })
                .await
            }
            Some(News::Ended(ended)) => {
                self.live = None;
                self.input(Input::Lost {
                    why: ended.why,
                    again: ended.again,
                })
                .await
            }
            None => {
                self.live = None;
                self.input(Input::Lost {
                    why: "the sandbox's runner failed".to_owned(),
                    again: true,
                })
                .await
            }
        }
    }

    async fn frame(&mut self, frame: Frame) -> Result<(), End> {
        let request = match frame {
            Frame::Mirror(mirror) => return self.mirror(mirror).await,
            Frame::ControlRequest(request) => request,
            frame => return self.said(frame).await,
        };
        let line = match request.kind {
            ControlRequestKind::CanUseTool(_) => {
                return self.said(Frame::ControlRequest(request)).await;
            }
            ControlRequestKind::McpMessage(message) => match self.custom.answer(&message.message) {
                McpAsked::Reply(reply) | McpAsked::Cancelled { reply, .. } => {
                    input::mcp_reply(&request.request_id, &reply)
                }
                McpAsked::Call(call) => {
                    let run = clients::run_custom(request.request_id, call);
                    return self.input(Input::Said(run)).await;
                }
            },
            ControlRequestKind::HookCallback(_) | ControlRequestKind::Other { .. } => {
                input::failure(&request.request_id, "this host does not serve that request")
            }
        };
        self.order(line).await;
        Ok(())
    }

    async fn said(&mut self, frame: Frame) -> Result<(), End> {
        for said in translate(frame) {
            self.input(Input::Said(said)).await?;
        }
        Ok(())
    }

    /// Keeps what claude appended to its transcript. Frames come in order, so a turn's entries are kept
    /// before its result is logged.
    async fn mirror(&mut self, mirror: claude::frame::Mirror) -> Result<(), End> {
        let key = match claude::transcript::key(&mirror) {
            Ok(key) => key,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "claude mirrored a file with a strange name"
                );
                return Ok(());
            }
        };
        let entries = mirror.entries.iter().map(|entry| TranscriptEntry {
            subpath: key.subpath.clone(),
            uuid: claude::transcript::entry_uuid(entry),
            body: entry.get().to_owned(),
        });
        let writes = vec![Write::Transcript(entries.collect())];
        self.commit(Batch {
            writes,
            shown: Vec::new(),
        })
        .await
    }

    // ---- the API

    async fn request(&mut self, request: Request) -> Result<(), End> {
        match request {
            Request::Archive(answer) => {
                let refused = self.busy();
                let result = refused.map_or(Ok(()), Err);
                let ended = if refused.is_none() {
                    self.input(Input::Archive).await
                } else {
                    Ok(())
                };
                let _ = answer.send(result);
                ended
            }
            Request::Delete(answer) => {
                let Some(refused) = self.busy() else {
                    self.kill();
                    self.feed.publish([Delivery::new(
                        None,
                        "session.deleted",
                        &deleted(&self.inner),
                    )]);
                    let _ = answer.send(Ok(()));
                    return Err(End::Over);
                };
                let _ = answer.send(Err(refused));
                Ok(())
            }
            Request::Update(change, answer) => {
                let changed = self.update(*change).await;
                let ended = matches!(changed, Err(Change::Ended(_)));
                let _ = answer.send(match &changed {
                    Ok(()) => Ok(()),
                    Err(Change::Refused(refused)) => Err(*refused),
                    Err(Change::Ended(_)) => Err(Refused::Over),
                });
                match changed {
                    Err(Change::Ended(end)) if ended => Err(end),
                    _ => Ok(()),
                }
            }
        }
    }

    /// Why the session cannot be ended now.
    fn busy(&self) -> Option<Refused> {
        matches!(self.state.status(), Status::Running | Status::Rescheduling)
            .then_some(Refused::Running)
    }

    async fn update(&mut self, change: super::SessionChange) -> Result<(), Change> {
        if change.update.agent.is_some() && self.state.status() != Status::Idle {
            return Err(Change::Refused(Refused::Running));
        }
        let now = self.inner.clock.now();
        let event = Event {
            id: self.inner.ids.mint(Prefix::Event),
            processed_at: now,
            body: change.shown,
        };
        let mut batch = Batch::default();
        batch.writes.push(Write::Update {
            update: change.update.clone(),
            updated_at: now,
        });
        batch.event(event);
        self.commit(batch).await.map_err(Change::Ended)?;
        if let Some(budget) = change.update.budget {
            self.book.set_budget(
                budget
                    .as_deref()
                    .and_then(|budget| serde_json::from_str(budget).ok())
                    .as_ref(),
            );
            self.row.budget = budget;
            self.state.budget_raised();
        }
        if let Some(agent) = change.update.agent {
            self.row.agent = agent;
            self.state.set_tools(state_tools(&self.row));
            if let Some(live) = &self.live {
                // The next prompt starts a claude that knows the new tools, in the same sandbox.
                let _ = live.orders.send(Order::End).await;
                self.state.claude_ended();
            }
        }
        Ok(())
    }

    async fn finish(mut self, end: End) {
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

/// Why an update did not happen.
enum Change {
    Refused(Refused),
    Ended(End),
}

impl Batch {
    fn event(&mut self, event: Event) {
        let (kind, body) = (event.kind().to_owned(), event.to_json());
        self.shown.push((kind.clone(), body.clone()));
        self.writes.push(Write::Append(NewEvent {
            id: event.id,
            kind,
            processed_at: event.processed_at,
            body,
        }));
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

fn deleted(inner: &Inner) -> String {
    Event {
        id: inner.ids.mint(Prefix::Event),
        processed_at: inner.clock.now(),
        body: Body::SessionDeleted {},
    }
    .to_json()
}

/// A sandbox's name: the random part of an id, in the characters that every provider takes.
fn sandbox_id(ids: &crate::ids::Ids) -> SandboxId {
    let name = super::uuid_of(&ids.mint(Prefix::Session));
    name.parse().expect("a uuid is a sandbox id")
}
