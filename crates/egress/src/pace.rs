//! Waiting for upstream's rate limit, fairly.
//!
//! One 429 closes the way for all calls of its payer for as long as upstream
//! asked. Who comes meanwhile waits in the line of its client; then the lines
//! take turns, so that a client with fifty calls does not keep one with a single
//! call waiting. They leave in growing groups (1, 2, 4, …), and another 429
//! begins it all anew.
//!
//! There is no task behind it: those who wait look themselves, and whoever looks
//! first lets go who is due.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};
use tracing::info;

use crate::usage::ClientId;

/// The longest pause that is waited for. A longer one means a spent quota rather
/// than a busy moment: that 429 is its caller's to hear, and nobody is held.
const LONGEST: Duration = Duration::from_secs(60);

/// The pause after a 429 that names none; doubled for each in a row.
const USUAL: Duration = Duration::from_secs(1);

/// Time between two groups: enough for most 429s to come back in.
const STEP: Duration = Duration::from_millis(250);

/// The lines of all payers.
#[derive(Default)]
pub(crate) struct Pace {
    // One for each payer that had a 429 lately; removed when nobody waits.
    payers: Mutex<HashMap<Arc<str>, Lines>>,
}

/// The lines of one payer.
struct Lines {
    /// Nobody leaves before.
    until: Instant,
    /// How many leave then.
    group: usize,
    /// The next pause, when upstream names none.
    usual: Duration,
    /// The client whose turn is next stands in front. Bounded by the calls that
    /// each client may have under way.
    clients: VecDeque<(ClientId, VecDeque<oneshot::Sender<()>>)>,
}

impl Pace {
    /// Resolves when a call of `client` may leave. Dropping it leaves the line.
    pub(crate) async fn pass(&self, payer: &Arc<str>, client: &ClientId) {
        let Some(mut turn) = self.join(payer, client) else {
            return;
        };
        loop {
            let next = self.advance(payer);
            tokio::select! {
                biased;
                _ = &mut turn => return,
                () = sleep_until(next) => {}
            }
        }
    }

    /// Upstream answered a call of `payer` with a 429.
    pub(crate) fn limited(&self, payer: &Arc<str>, retry_after: Option<Duration>) {
        if retry_after.is_some_and(|pause| pause > LONGEST) {
            return;
        }
        let now = Instant::now();
        let mut payers = self.lock();
        let lines = payers.entry(Arc::clone(payer)).or_insert_with(|| Lines {
            until: now,
            group: 1,
            usual: USUAL,
            clients: VecDeque::new(),
        });
        // Calls that were under way together get their 429s together: only one
        // that comes when some have left again says that the pause was too short.
        if lines.group > 1 {
            lines.usual = (lines.usual * 2).min(LONGEST);
        }
        let pause = retry_after.unwrap_or(lines.usual).max(STEP);
        lines.until = lines.until.max(now + pause);
        lines.group = 1;
        info!(
            workspace.id = %payer, pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            "the model API limits {payer}; its calls wait"
        );
    }

    /// A place in the line; `None` when nobody has to wait.
    fn join(&self, payer: &Arc<str>, client: &ClientId) -> Option<oneshot::Receiver<()>> {
        let mut payers = self.lock();
        let lines = payers.get_mut(payer)?;
        lines.sweep();
        if lines.until <= Instant::now() && lines.clients.is_empty() {
            payers.remove(payer);
            return None;
        }
        let (leave, turn) = oneshot::channel();
        let found = lines.clients.iter_mut().find(|(other, _)| other == client);
        match found {
            Some((_, line)) => line.push_back(leave),
            None => lines
                .clients
                .push_back((client.clone(), VecDeque::from([leave]))),
        }
        Some(turn)
    }

    /// Lets go who is due, and says when to look again.
    fn advance(&self, payer: &Arc<str>) -> Instant {
        let now = Instant::now();
        let mut payers = self.lock();
        let Some(lines) = payers.get_mut(payer) else {
            return now;
        };
        if lines.until <= now {
            lines.release();
            lines.until = now + STEP;
            lines.group = lines.group.saturating_mul(2);
        }
        let next = lines.until;
        if lines.clients.is_empty() && lines.group > 1 {
            payers.remove(payer);
        }
        next
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Lines>> {
        self.payers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    /// Lets a group go, one of each client in turn.
    fn release(&mut self) {
        let mut left = self.group;
        while left > 0
            && let Some((client, mut line)) = self.clients.pop_front()
        {
            // Who has gone away takes nobody's place.
            while let Some(leave) = line.pop_front() {
                if leave.send(()).is_ok() {
                    left -= 1;
                    break;
                }
            }
            if !line.is_empty() {
                self.clients.push_back((client, line));
            }
        }
    }

    /// Forgets who has gone away.
    fn sweep(&mut self) {
        for (_, line) in &mut self.clients {
            line.retain(|leave| !leave.is_closed());
        }
        self.clients.retain(|(_, line)| !line.is_empty());
    }
}

#[cfg(test)]
mod tests;
