//! An actor whose session nobody talks to: down the ladder, and what comes of it.

use std::time::Duration;

use api::environment::hosting::{Pattern, WhenDone};
use claude::frame::OwnWork;
use store::Write;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::log::Batch;
use super::{Actor, End, Refused};
use crate::session::fleet::Stillness;
use crate::session::keep::{Kept, Output};
use crate::session::ladder::{Standing, Step};
use crate::session::machine::{Input, Status};
use crate::session::runner::{Ended, News, Order, Park, Parked};

/// How long a session that could not be saved stays as it is before the next try.
const SAVE_AGAIN: Duration = Duration::from_secs(30);
/// How long a stopping server waits for a session's files.
const LAST_SAVE: Duration = Duration::from_secs(20);
/// The longest pause before a sandbox that dies again and again is made again.
const REVIVE_MAX: Duration = Duration::from_secs(60);

/// How far down the ladder a session is.
#[derive(Debug, Default)]
pub(super) struct Rest {
    idle_since: Option<Instant>,
    /// When it was last put to rest since it became idle.
    tried: Option<Instant>,
    /// [`Order::Park`] was given and nothing has disturbed it since.
    parking: bool,
    frozen: bool,
    /// Its memory was taken since.
    reclaimed: bool,
    /// [`Order::Leave`] was given: what clients send waits until it is done.
    leaving: Option<Step>,
    /// Nothing is saved before this, after a failure.
    refused_until: Option<Instant>,
    /// The results of this turn were asked for.
    collected: bool,
    /// Claude has work of its own to do: tasks in the background, timers.
    owes: bool,
    /// Somebody else needs the place.
    pressed: bool,
    /// Who waits for a snapshot.
    savers: Vec<oneshot::Sender<Result<(), Refused>>>,
    /// When a claude that should always run is started again.
    revive_at: Option<Instant>,
    revivals: u32,
}

impl Rest {
    /// Claude was told something, or is gone.
    pub(super) fn disturb(&mut self) {
        self.parking = false;
        self.frozen = false;
        self.reclaimed = false;
    }

    /// What claude has still to do by itself.
    pub(super) fn owes(&mut self, left: OwnWork) {
        self.owes = left.tasks + left.timers > 0;
    }

    /// Claude or its sandbox is gone. Where a session is to stay, it is brought back.
    pub(super) fn lost(&mut self, pattern: Pattern) {
        self.owes = false;
        self.savers.clear();
        if pattern.shares() {
            let pause = Duration::from_secs(1 << self.revivals.min(6)).min(REVIVE_MAX);
            self.revivals += 1;
            self.revive_at = Some(Instant::now() + pause);
        }
    }

    /// Brings claude back without a message.
    pub(super) fn revive_now(&mut self) {
        self.revive_at = Some(Instant::now());
    }

    /// Whether claude will be brought back without a message.
    pub(super) fn revives(&self) -> bool {
        self.revive_at.is_some()
    }

    /// Whether what clients send has to wait.
    pub(super) fn leaves(&self) -> bool {
        self.leaving.is_some()
    }
}

impl Actor {
    /// Looks at the session after every step.
    pub(super) async fn settle(&mut self) -> Result<(), End> {
        if self.state.status() != Status::Idle {
            self.rest.idle_since = None;
            self.rest.tried = None;
            self.rest.collected = false;
            return Ok(());
        }
        self.rest.idle_since.get_or_insert_with(Instant::now);
        let done = self.hosting.pattern == Pattern::Ephemeral && self.state.finished();
        if let (true, false, Some(live)) = (done, self.rest.collected, &self.live) {
            self.rest.collected = true;
            let _ = live.orders.send(Order::Outputs).await;
        }
        Ok(())
    }

    /// Where the session stands; `None` when there is nothing to do about it now.
    fn standing(&self, now: Instant) -> Option<Standing> {
        let up = self.live.as_ref()?.up?;
        let idle = now - self.rest.idle_since?;
        if self.rest.leaves() || self.rest.parking || self.working_off() {
            return None;
        }
        Some(Standing {
            idle,
            waits: self.state.waits(),
            owes: self.rest.owes,
            frozen: self.rest.frozen,
            reclaimed: self.rest.reclaimed,
            tried: self.rest.tried.map(|tried| now - tried),
            age: now - up,
            pressed: self.rest.pressed,
        })
    }

    /// Whether the results of an ephemeral session are on their way.
    fn working_off(&self) -> bool {
        self.rest.collected && self.state.finished()
    }

    /// When to go on with resting.
    pub(super) fn look_again(&self, now: Instant) -> Option<Instant> {
        let next = self
            .standing(now)
            .map(|standing| self.rules.next(&standing));
        let step = match next {
            Some(Ok(_)) => Some(self.rest.refused_until.map_or(now, |until| until.max(now))),
            Some(Err(Some(wait))) => Some(now + wait),
            Some(Err(None)) | None => None,
        };
        [step, self.rest.revive_at].into_iter().flatten().min()
    }

    /// Whether the session could give up its sandbox for another one.
    pub(super) fn yields(&self) -> bool {
        let standing = self.standing(Instant::now());
        let pressed = standing.map(|standing| Standing {
            pressed: true,
            ..standing
        });
        let refused = self.rest.refused_until.is_some();
        !refused && pressed.is_some_and(|at| self.rules.next(&at) == Ok(Step::Save))
    }

    pub(super) async fn pressed(&mut self) -> Result<(), End> {
        self.rest.pressed = true;
        self.rest_on().await
    }

    /// Goes on with resting, when it is time.
    pub(super) async fn rest_on(&mut self) -> Result<(), End> {
        let now = Instant::now();
        if self.rest.revive_at.is_some_and(|at| at <= now) {
            self.rest.revive_at = None;
            return self.revive().await;
        }
        if self.rest.refused_until.is_some_and(|until| now < until) {
            return Ok(());
        }
        self.rest.refused_until = None;
        let Some(Ok(step)) = self
            .standing(now)
            .map(|standing| self.rules.next(&standing))
        else {
            return Ok(());
        };
        let order = match step {
            Step::Park => {
                self.park(self.rules.keeps).await;
                return Ok(());
            }
            Step::Reclaim => {
                self.rest.reclaimed = true;
                Order::Reclaim
            }
            Step::Save | Step::Move => {
                self.rest.leaving = Some(step);
                self.rest.pressed = false;
                Order::Leave
            }
        };
        if let Some(live) = &self.live {
            let _ = live.orders.send(order).await;
        }
        Ok(())
    }

    /// The memory beyond which a claude is not worth keeping between two turns.
    fn soft_memory(&self) -> Option<u64> {
        let percent = self.inner.settings.soft_memory_percent;
        let memory = self.hosting.resources.memory;
        let limit = memory.unwrap_or(self.inner.settings.resources.memory_bytes);
        Some(limit / 100 * u64::from(percent))
    }

    /// Answers when a snapshot of the files as they are now is kept.
    pub(super) async fn save_for(&mut self, answer: oneshot::Sender<Result<(), Refused>>) {
        let up = self.live.as_ref().is_some_and(|live| live.up.is_some());
        if !up || self.rest.leaves() || self.working_off() {
            // Nothing runs, or its files are on their way.
            let _ = answer.send(Ok(()));
            return;
        }
        self.rest.savers.push(answer);
        if !self.rest.parking {
            self.park(true).await;
        }
    }

    async fn park(&mut self, save: bool) {
        self.rest.parking = true;
        self.rest.tried = Some(Instant::now());
        let order = Order::Park(Park {
            save,
            // One that waits for an answer in the middle of a turn cannot be replaced.
            soft_memory: self.soft_memory().filter(|_| !self.state.waits()),
        });
        if let Some(live) = &self.live {
            let _ = live.orders.send(order).await;
        }
    }

    pub(super) async fn parked(&mut self, parked: Parked) -> Result<(), End> {
        if parked.recycled {
            tracing::info!(session.id = %self.row.id, "claude of session {} took too much memory and is started anew with the next message", self.row.id);
            self.input(Input::Recycled).await?;
        }
        // A message may have come in the meantime; it has thawed the seat.
        self.rest.frozen = self.rest.parking && parked.stillness == Stillness::Frozen;
        self.rest.parking = false;
        self.rest.revivals = 0;
        let kept = match parked.kept {
            Some(Ok(kept)) => self.kept(kept).await,
            Some(Err(why)) => {
                tracing::error!(session.id = %self.row.id, "cannot save the files of session {}: {why}", self.row.id);
                Ok(())
            }
            None => Ok(()),
        };
        for saver in self.rest.savers.drain(..) {
            let _ = saver.send(Ok(()));
        }
        kept
    }

    /// Writes down a snapshot, from which the session is brought back from now on.
    async fn kept(&mut self, kept: Kept) -> Result<(), End> {
        let Some(snapshot) = kept.row(self.inner.clock.now()) else {
            return Ok(());
        };
        let writes = vec![Write::Snapshot(snapshot)];
        let shown = Vec::new();
        self.commit(Batch { writes, shown }).await?;
        self.inner.keeping.tidy(&self.inner, &self.row.id).await;
        Ok(())
    }

    /// The session's files are kept and its seat is given back, or neither.
    pub(super) async fn left(&mut self, kept: Result<Kept, String>) -> Result<(), End> {
        self.state.claude_ended();
        match kept {
            Ok(kept) => self.kept(kept).await,
            Err(why) => {
                tracing::error!(session.id = %self.row.id, "cannot save session {}, which keeps its sandbox: {why}", self.row.id);
                self.rest.leaving = None;
                self.rest.refused_until = Some(Instant::now() + SAVE_AGAIN);
                self.clients().await
            }
        }
    }

    /// The runner ended after [`Order::Leave`].
    pub(super) async fn gone(&mut self, ended: Ended) -> Result<(), End> {
        self.live = None;
        self.rest.disturb();
        let step = self.rest.leaving.take();
        if self.state.status() != Status::Idle || self.state.waits() {
            // Claude began something of its own in the last moment.
            return self.lost(ended).await;
        }
        self.state.claude_ended();
        self.last_sign = Instant::now();
        if step == Some(Step::Move) && self.hosting.pattern.shares() {
            self.rest.revive_now();
        }
        self.clients().await
    }

    /// Keeps a finished task's results, and then ends it as its environment says.
    pub(super) async fn outputs(
        &mut self,
        outputs: Result<Vec<Output>, String>,
    ) -> Result<(), End> {
        let kept = match outputs {
            Ok(outputs) => {
                self.inner
                    .keeping
                    .publish(&self.inner, &self.row, outputs)
                    .await
            }
            Err(why) => Err(why),
        };
        if let Err(why) = kept {
            let message = format!("the session's results could not be kept: {why}");
            self.input(Input::Limit(message)).await?;
        }
        // Somebody may have asked for more in the meantime.
        self.clients().await?;
        if !self.state.finished() {
            return Ok(());
        }
        match self.hosting.when_done {
            WhenDone::Terminate => self.input(Input::Done).await,
            WhenDone::Keep => {
                self.rest.leaving = Some(Step::Save);
                if let Some(live) = &self.live {
                    let _ = live.orders.send(Order::Leave).await;
                }
                Ok(())
            }
        }
    }

    /// Starts a claude that should run though nobody asks.
    async fn revive(&mut self) -> Result<(), End> {
        if self.state.status() != Status::Idle || self.state.started() {
            return Ok(());
        }
        self.state.claude_started();
        self.start(false).await?;
        if let Some(why) = self.failed_start.take() {
            tracing::warn!(session.id = %self.row.id, "session {} is not brought back yet: {why}", self.row.id);
            self.state.claude_ended();
            self.rest.lost(self.hosting.pattern);
        }
        Ok(())
    }

    /// The server stops: keeps the session's files, so that the next server goes on with them.
    pub(super) async fn leave_for_good(&mut self) {
        if self.live.as_ref().is_none_or(|live| live.up.is_none()) {
            return;
        }
        let leave = async {
            if self.working_off() {
                self.last_outputs().await;
            }
            match self.state.status() {
                Status::Terminated => {}
                _ => self.last_files().await,
            }
        };
        if tokio::time::timeout(LAST_SAVE, leave).await.is_err() {
            tracing::warn!(session.id = %self.row.id, "the files of session {} are as old as its last snapshot", self.row.id);
        }
    }

    /// Waits for results that were asked for already.
    async fn last_outputs(&mut self) {
        while let Some(live) = &mut self.live {
            match live.news.recv().await {
                Some(News::Outputs(outputs)) => return drop(self.outputs(outputs).await),
                Some(News::Ended(_)) | None => return,
                Some(_) => {}
            }
        }
    }

    /// A turn that runs is cut. What its claude still says counts for nothing: the next server begins
    /// the turn again.
    async fn last_files(&mut self) {
        let idle = self.state.status() == Status::Idle && !self.state.waits();
        if let (false, Some(live)) = (self.rest.leaves(), &self.live) {
            if !idle {
                // One that is asked to end would first end its turn, and take a closed input for a no
                // to what it waits for.
                let _ = live.orders.send(Order::End).await;
            }
            let _ = live.orders.send(Order::Leave).await;
        }
        while let Some(live) = &mut self.live {
            match live.news.recv().await {
                Some(News::Left(Ok(kept))) => return drop(self.kept(kept).await),
                Some(News::Frame(frame)) if idle => {
                    if let claude::frame::Frame::Mirror(mirror) = *frame {
                        // A store that fails has said so.
                        let _ = self.mirror(mirror).await;
                    }
                }
                Some(News::Left(Err(why))) => {
                    tracing::error!(session.id = %self.row.id, "cannot save the files of session {}: {why}", self.row.id);
                    return;
                }
                Some(News::Ended(_)) | None => return,
                Some(_) => {}
            }
        }
    }
}
