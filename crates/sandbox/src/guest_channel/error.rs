//! How the link can fail.

use protocol::{FrameError, MessageError, Refusal};

/// Why something could not be done over the link.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The link or the stream ended: the guest is gone, or it gave the stream up.
    #[error("the link to the guest ended")]
    Ended,
    /// The guest did not answer in time.
    #[error("the guest did not answer within {seconds} s")]
    Timeout {
        /// The bound.
        seconds: u64,
    },
    /// The guest said no, and why.
    #[error("the guest refused")]
    Refused(#[source] Refusal),
    /// The guest answered something else than what was asked.
    #[error("the guest gave an answer that does not fit the question")]
    UnexpectedAnswer,
    /// The guest sent a message that is none.
    #[error("the guest sent a malformed message")]
    Message(#[from] MessageError),
    /// The guest sent a frame that is none.
    #[error("the guest sent a malformed frame")]
    Frame(#[from] FrameError),
    /// The link carries as many streams as it may.
    #[error("the link carries {max} streams already")]
    TooManyStreams {
        /// The bound.
        max: usize,
    },
    /// What was to be sent could not be read.
    #[error("reading what was to be sent failed")]
    Source(#[source] std::io::Error),
}

impl LinkError {
    /// The guest's refusal, if it was one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }
}

/// Why a process was not started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The guest could not start it, and why: no such program or directory, not executable, …
    #[error("the process could not be started")]
    Refused(#[source] Refusal),
    /// The link failed.
    #[error(transparent)]
    Link(#[from] LinkError),
}
