//! How far a session that nobody talks to goes down: live, frozen, saved.
//!
//! ```text
//!   live ──idle for a moment, nothing owed──▶ frozen ──idle_timeout──▶ saved (no sandbox)
//!                                               └─ its memory is swapped out where there is swap
//!     ▲ ◀───────── the next message ─────────────┘                        │
//!     └──────────────────────────── the next message ────────────────────┘
//! ```
//!
//! What a rung costs and what the way back costs stands in `docs/OPERATE.md`. A rung between the last two
//! (a checkpoint of the process) would be one more [`Step`]. A plain function: no clock, no I/O.

use std::time::Duration;

use api::environment::hosting::{Hosting, Pattern};

/// How long after something that ran besides claude the seat is looked at again.
const AGAIN: Duration = Duration::from_secs(30);

/// How long a session is frozen before its memory is taken. One that is thawed sooner would only have
/// to read it again.
const RECLAIM: Duration = Duration::from_secs(30);

/// What an environment says about sessions that rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How long a session is idle before it is frozen. Long enough that a quick conversation is not
    /// frozen and thawed at each message.
    pub freeze_after: Duration,
    /// How long it is idle before it is saved; `None` is never.
    pub idle_timeout: Option<Duration>,
    /// How old its sandbox may become; `None` is any age.
    pub max_lifetime: Option<Duration>,
    /// Whether files are kept at each rest, so that little is lost with a sandbox that dies.
    pub keeps: bool,
}

/// Where a session that has a seat stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// How long it has been idle.
    pub idle: Duration,
    /// It waits for a client's answer in the middle of a turn, which only this claude can take.
    pub waits: bool,
    /// It has work of its own: background tasks, timers.
    pub owes: bool,
    /// Whether it is frozen.
    pub frozen: bool,
    /// Whether its memory was taken since.
    pub reclaimed: bool,
    /// How long ago it was last put to rest since it became idle, with or without success.
    pub tried: Option<Duration>,
    /// How old the sandbox is.
    pub age: Duration,
    /// Somebody else needs the sandbox's place.
    pub pressed: bool,
}

/// What to do with a session that rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Freeze it.
    Park,
    /// Take the memory of a frozen one.
    Reclaim,
    /// Save it and give its seat back.
    Save,
    /// Give its seat back because the sandbox is too old, and take another.
    Move,
}

impl Rules {
    /// The rules of an environment.
    #[must_use]
    pub fn of(hosting: &Hosting, freeze_after: Duration) -> Rules {
        Rules {
            freeze_after,
            idle_timeout: hosting.idle_timeout,
            max_lifetime: hosting.max_lifetime,
            keeps: hosting.pattern != Pattern::Ephemeral,
        }
    }

    /// What to do now, or when to look again; neither when nothing will be to do.
    ///
    /// # Errors
    /// When there is nothing to do now.
    pub fn next(&self, at: &Standing) -> Result<Step, Option<Duration>> {
        let mut again: Option<Duration> = None;
        let mut due = |limit: Option<Duration>, since: Duration| {
            let left = limit?.saturating_sub(since);
            again = Some(again.map_or(left, |again| again.min(left)));
            left.is_zero().then_some(())
        };
        let gone = due(self.idle_timeout.filter(|_| !at.waits), at.idle);
        if gone.is_some() || (at.pressed && self.idle_timeout.is_some() && !at.waits) {
            return Ok(Step::Save);
        }
        let lifetime = self.max_lifetime.filter(|_| !at.waits && !at.owes);
        if due(lifetime, at.age).is_some() {
            return Ok(Step::Move);
        }
        let parks = !at.frozen && !at.owes;
        let park = match at.tried {
            None => due(Some(self.freeze_after).filter(|_| parks), at.idle),
            Some(tried) => due(Some(AGAIN).filter(|_| parks), tried),
        };
        if park.is_some() {
            return Ok(Step::Park);
        }
        let reclaims = at.frozen && !at.reclaimed;
        match due(
            Some(RECLAIM).filter(|_| reclaims),
            at.tried.unwrap_or_default(),
        ) {
            Some(()) => Ok(Step::Reclaim),
            None => Err(again),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const RULES: Rules = Rules {
        freeze_after: s(1),
        idle_timeout: Some(s(600)),
        max_lifetime: Some(s(3600)),
        keeps: true,
    };

    const IDLE: Standing = Standing {
        idle: s(0),
        waits: false,
        owes: false,
        frozen: false,
        reclaimed: false,
        tried: None,
        age: s(0),
        pressed: false,
    };

    #[test]
    fn a_session_goes_down_step_by_step() {
        assert_eq!(RULES.next(&IDLE), Err(Some(s(1))));
        let second = Standing { idle: s(1), ..IDLE };
        assert_eq!(RULES.next(&second), Ok(Step::Park));
        let frozen = Standing {
            frozen: true,
            tried: Some(s(0)),
            ..second
        };
        assert_eq!(RULES.next(&frozen), Err(Some(s(30))));
        let longer = Standing {
            idle: s(31),
            tried: Some(s(30)),
            ..frozen
        };
        assert_eq!(RULES.next(&longer), Ok(Step::Reclaim));
        let frozen = Standing {
            reclaimed: true,
            ..frozen
        };
        assert_eq!(RULES.next(&frozen), Err(Some(s(599))));
        let late = Standing {
            idle: s(600),
            ..frozen
        };
        assert_eq!(RULES.next(&late), Ok(Step::Save));
    }

    #[test]
    fn one_that_waits_for_an_answer_is_frozen_and_never_saved() {
        let waits = Standing {
            idle: s(10_000),
            age: s(10_000),
            waits: true,
            pressed: true,
            ..IDLE
        };
        assert_eq!(RULES.next(&waits), Ok(Step::Park));
        let frozen = Standing {
            frozen: true,
            reclaimed: true,
            ..waits
        };
        assert_eq!(RULES.next(&frozen), Err(None));
    }

    #[test]
    fn one_with_work_of_its_own_goes_on_and_is_looked_at_again() {
        let owes = Standing {
            idle: s(5),
            owes: true,
            ..IDLE
        };
        assert_eq!(RULES.next(&owes), Err(Some(s(595))));
        let busy = Standing {
            idle: s(5),
            tried: Some(s(4)),
            ..IDLE
        };
        assert_eq!(RULES.next(&busy), Err(Some(s(26))));
        let again = Standing {
            tried: Some(s(30)),
            ..busy
        };
        assert_eq!(RULES.next(&again), Ok(Step::Park));
    }

    #[test]
    fn an_old_sandbox_is_left_between_turns() {
        let old = Standing {
            age: s(3600),
            ..IDLE
        };
        assert_eq!(RULES.next(&old), Ok(Step::Move));
        let kept = Rules {
            idle_timeout: None,
            max_lifetime: None,
            ..RULES
        };
        let frozen = Standing {
            frozen: true,
            reclaimed: true,
            ..old
        };
        assert_eq!(kept.next(&frozen), Err(None));
    }

    #[test]
    fn a_place_that_is_needed_is_given_up_early() {
        let pressed = Standing {
            pressed: true,
            ..IDLE
        };
        assert_eq!(RULES.next(&pressed), Ok(Step::Save));
        let stays = Rules {
            idle_timeout: None,
            ..RULES
        };
        assert_eq!(stays.next(&pressed), Err(Some(s(1))));
    }
}
