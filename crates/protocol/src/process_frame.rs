//! What flows on the stream of a process.
//!
//! Standard input has a window of its own ([`STDIN_WINDOW`]): the host sends no more than the
//! guest has said it delivered ([`GuestFrame::StdinTaken`]). So a process that never reads its
//! standard input fills this window and nothing else, and a signal still gets through.

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::{Frame, FrameError, WindowSize};

/// Bytes of standard input that may be on their way or waiting in the guest. Large enough that
/// the round trip does not limit throughput, small enough to be held for every process.
pub const STDIN_WINDOW: usize = 256 * 1024;

/// The longest payload; larger writes are split.
const PAYLOAD_MAX: usize = 256 * 1024;

/// The kinds of frames.
pub mod kind {
    /// [`super::HostFrame::Stdin`].
    pub const STDIN: u8 = 0x01;
    /// [`super::HostFrame::StdinEof`].
    pub const STDIN_EOF: u8 = 0x02;
    /// [`super::HostFrame::Signal`].
    pub const SIGNAL: u8 = 0x03;
    /// [`super::HostFrame::Resize`].
    pub const RESIZE: u8 = 0x04;
    /// [`super::HostFrame::KillTree`].
    pub const KILL_TREE: u8 = 0x05;
    /// [`super::GuestFrame::Started`].
    pub const STARTED: u8 = 0x81;
    /// [`super::GuestFrame::Stdout`].
    pub const STDOUT: u8 = 0x82;
    /// [`super::GuestFrame::Stderr`].
    pub const STDERR: u8 = 0x83;
    /// [`super::GuestFrame::StdinTaken`].
    pub const STDIN_TAKEN: u8 = 0x84;
    /// [`super::GuestFrame::Exit`].
    pub const EXIT: u8 = 0x85;
}

/// From the host to a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostFrame {
    /// Bytes for standard input, within the window.
    Stdin(Bytes),
    /// Closes standard input after what was sent before.
    StdinEof,
    /// A signal for the main process, by its Linux number.
    Signal(i32),
    /// A new size of the terminal; ignored without one.
    Resize(WindowSize),
    /// Kills the process and everything it started, detached or not.
    KillTree,
}

/// From a process to the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestFrame {
    /// The process runs.
    Started {
        /// Its id inside the sandbox.
        pid: u32,
    },
    /// Bytes of standard output, or of the terminal.
    Stdout(Bytes),
    /// Bytes of standard error.
    Stderr(Bytes),
    /// So many more bytes of standard input were delivered or became undeliverable.
    StdinTaken(u32),
    /// The process ended. The last frame, after all output.
    Exit(Exit),
}

/// How a process ended: one of the two is set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Exit {
    /// The exit code, when it exited.
    pub code: Option<i32>,
    /// The signal's Linux number, when it was killed.
    pub signal: Option<i32>,
}

impl Exit {
    /// Whether it ended with code 0.
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, "exit code {code}"),
            (None, Some(signal)) => write!(f, "signal {signal}"),
            (None, None) => f.write_str("unknown end"),
        }
    }
}

impl Frame for HostFrame {
    const PAYLOAD_MAX: usize = PAYLOAD_MAX;

    fn read(kind: u8, payload: Bytes) -> Result<Self, FrameError> {
        let bad = FrameError::BadPayload {
            kind,
            len: payload.len(),
        };
        match kind {
            kind::STDIN => Ok(Self::Stdin(payload)),
            kind::STDIN_EOF => empty(&payload, Self::StdinEof, bad),
            kind::SIGNAL => Ok(Self::Signal(i32::from_be_bytes(exact(&payload, bad)?))),
            kind::RESIZE => {
                let [r0, r1, c0, c1] = exact(&payload, bad)?;
                let rows = u16::from_be_bytes([r0, r1]);
                Ok(Self::Resize(WindowSize {
                    rows,
                    cols: u16::from_be_bytes([c0, c1]),
                }))
            }
            kind::KILL_TREE => empty(&payload, Self::KillTree, bad),
            _ => Err(FrameError::UnknownKind { kind }),
        }
    }

    fn parts(&self) -> (u8, Bytes) {
        match self {
            Self::Stdin(bytes) => (kind::STDIN, bytes.clone()),
            Self::StdinEof => (kind::STDIN_EOF, Bytes::new()),
            Self::Signal(signal) => (kind::SIGNAL, number(&signal.to_be_bytes())),
            Self::Resize(size) => {
                let mut payload = BytesMut::with_capacity(4);
                payload.put_u16(size.rows);
                payload.put_u16(size.cols);
                (kind::RESIZE, payload.freeze())
            }
            Self::KillTree => (kind::KILL_TREE, Bytes::new()),
        }
    }
}

impl Frame for GuestFrame {
    const PAYLOAD_MAX: usize = PAYLOAD_MAX;

    fn read(kind: u8, payload: Bytes) -> Result<Self, FrameError> {
        let bad = FrameError::BadPayload {
            kind,
            len: payload.len(),
        };
        match kind {
            kind::STARTED => Ok(Self::Started {
                pid: u32::from_be_bytes(exact(&payload, bad)?),
            }),
            kind::STDOUT => Ok(Self::Stdout(payload)),
            kind::STDERR => Ok(Self::Stderr(payload)),
            kind::STDIN_TAKEN => Ok(Self::StdinTaken(u32::from_be_bytes(exact(&payload, bad)?))),
            // JSON, so that a later generation can say more about an end.
            kind::EXIT => serde_json::from_slice(&payload)
                .map(Self::Exit)
                .map_err(|_| bad),
            _ => Err(FrameError::UnknownKind { kind }),
        }
    }

    fn parts(&self) -> (u8, Bytes) {
        match self {
            Self::Started { pid } => (kind::STARTED, number(&pid.to_be_bytes())),
            Self::Stdout(bytes) => (kind::STDOUT, bytes.clone()),
            Self::Stderr(bytes) => (kind::STDERR, bytes.clone()),
            Self::StdinTaken(len) => (kind::STDIN_TAKEN, number(&len.to_be_bytes())),
            Self::Exit(exit) => {
                let json = serde_json::to_vec(exit).expect("two numbers are always JSON");
                (kind::EXIT, json.into())
            }
        }
    }
}

fn number(bytes: &[u8; 4]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

fn exact<const N: usize>(payload: &[u8], bad: FrameError) -> Result<[u8; N], FrameError> {
    payload.try_into().map_err(|_| bad)
}

pub(crate) fn empty<T>(payload: &[u8], frame: T, bad: FrameError) -> Result<T, FrameError> {
    if payload.is_empty() {
        Ok(frame)
    } else {
        Err(bad)
    }
}

#[cfg(test)]
mod tests;
