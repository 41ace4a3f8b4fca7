//! One session's seat and the claude in it: brings them up, carries lines both ways, takes them down.
//!
//! ```text
//!   Waiting (for a seat) ─▶ Ready ◀──▶ Claude runs ◀──▶ frozen
//!                             └──────────┴──▶ Left (saved) ─▶ Ended
//! ```
//!
//! A runner knows nothing of turns. It follows [`Order`]s and tells its actor [`News`]. Claude may end
//! and be started again in the same seat, so its files outlive it. Cancelling the runner's token ends it
//! from any state; the seat is given back then.

pub mod process;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use claude::frame::Frame;
use claude::launch::Launch;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::fleet::{Company, Fleet, Plan, Sitter, Spare, Stillness, Wait};
use super::keep::{Keeping, Kept, Output};

/// Orders that wait while claude starts or is slow to read; the actor waits beyond that.
pub const ORDERS: usize = 64;

/// What a runner tells its actor.
#[derive(Debug)]
pub enum News {
    /// The session has its seat.
    Up,
    /// Claude wrote this.
    Frame(Box<Frame>),
    /// The session waits for a sandbox.
    Queued(Wait),
    /// A limit was hit; one sentence.
    Limit(String),
    /// Claude ended; the seat stays.
    ClaudeEnded(Ended),
    /// What came of [`Order::Park`].
    Parked(Parked),
    /// What came of [`Order::Outputs`].
    Outputs(Result<Vec<Output>, String>),
    /// What came of [`Order::Leave`]: the files are kept and [`News::Ended`] follows, or the seat stays.
    Left(Result<Kept, String>),
    /// The seat is gone, or could not be had. Always the last news.
    Ended(Ended),
}

/// What an actor tells its runner.
#[derive(Debug)]
pub enum Order {
    /// Start claude.
    Start(Box<Start>),
    /// Write this line to claude.
    Line(Bytes),
    /// End claude.
    End,
    /// Rest: nobody talks to the session.
    Park(Park),
    /// Take the memory of a frozen seat.
    Reclaim,
    /// Keep the session's results.
    Outputs,
    /// Go: end claude, keep the session's files, give the seat back.
    Leave,
}

/// How to start claude.
#[derive(Debug)]
pub struct Start {
    /// Its arguments, environment and first line; where it sits is filled in by the runner.
    pub launch: Launch,
    /// A snapshot to bring back first.
    pub snapshot: Option<snapshot::SnapshotId>,
    /// A transcript to bring back after it: a tar of files below the home directory.
    pub transcript: Option<Vec<u8>>,
    /// How long claude may take to say its first word.
    pub first_word: Duration,
}

/// How to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Park {
    /// Keep a snapshot first.
    pub save: bool,
    /// A claude that takes more bytes of memory than this is ended, and started anew when needed.
    pub soft_memory: Option<u64>,
}

/// What became of a session that was to rest.
#[derive(Debug)]
pub struct Parked {
    /// Whether it does.
    pub stillness: Stillness,
    /// The snapshot, when one was asked for.
    pub kept: Option<Result<Kept, String>>,
    /// Claude took too much memory and was ended.
    pub recycled: bool,
}

/// Why claude or a sandbox ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// In one sentence for people.
    pub why: String,
    /// Whether another try makes sense.
    pub again: bool,
}

impl Ended {
    pub(super) fn new(why: impl Into<String>, again: bool) -> Ended {
        Ended {
            why: why.into(),
            again,
        }
    }

    /// A step that failed, with all its causes.
    pub(super) fn step(step: &str, error: &dyn std::error::Error, again: bool) -> Ended {
        Ended {
            why: format!("cannot {step}: {}", with_causes(error)),
            again,
        }
    }
}

/// An error and what caused it, in one line.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// How a runner gets its seat.
pub enum Begin {
    /// In a sandbox that is made, or that others sit in.
    Cold(Plan, Company),
    /// In one that was made ready.
    Warm(Box<Spare>),
}

/// Whom a runner serves.
pub struct Surroundings {
    /// Where seats are.
    pub fleet: Arc<Fleet>,
    /// The session, for who carries what leaves the sandbox and tells what happens to it.
    pub sitter: Sitter,
    /// What stands for the model's key in claude's environment.
    pub placeholder: String,
    /// Where snapshots and results go.
    pub keeping: Keeping,
}

/// Runs until the seat is lost or given up, or `stop` is cancelled.
pub async fn run(
    begin: Begin,
    around: Surroundings,
    orders: mpsc::Receiver<Order>,
    stop: CancellationToken,
) {
    let ended = tokio::select! {
        biased;
        () = stop.cancelled() => Ended::new("it was stopped", false),
        ended = sit(begin, &around, orders) => ended,
    };
    // An actor that is gone has no use for the news.
    let _ = around.sitter.news.send(News::Ended(ended)).await;
}

async fn sit(begin: Begin, around: &Surroundings, orders: mpsc::Receiver<Order>) -> Ended {
    let (mut seat, claude) = match begin {
        Begin::Warm(spare) => {
            let Spare {
                seat,
                claude,
                rests,
                ..
            } = *spare;
            seat.give(around.sitter.clone());
            if !rests {
                seat.yield_to_others(false).await;
            }
            (seat, Some(claude))
        }
        Begin::Cold(plan, company) => {
            let sitter = around.sitter.clone();
            let seat = around.fleet.seat(plan, company, sitter, &around.keeping);
            match seat.await {
                Ok(seat) => (seat, None),
                Err(ended) => return ended,
            }
        }
    };
    let _ = around.sitter.news.send(News::Up).await;
    let gone = seat.ended();
    tokio::select! {
        ended = process::follow(&mut seat, claude, orders, around) => ended,
        ended = gone => ended,
    }
}
