//! What flows on the stream of an archive, in either direction.
//!
//! The end is a frame of its own, because the end of a stream alone cannot tell a whole archive
//! from one whose sender died.

use bytes::Bytes;

use crate::{Frame, FrameError, Refusal, process_frame::empty};

/// The longest payload in bytes; larger writes are split.
pub const ARCHIVE_CHUNK_MAX: usize = 256 * 1024;

const DATA: u8 = 0x41;
const END: u8 = 0x42;
const FAILED: u8 = 0x43;

/// A piece of an archive, or how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArchiveFrame {
    /// Bytes of the tar stream.
    Data(Bytes),
    /// From the sender: the archive is whole. From the unpacking guest: everything is written.
    End,
    /// It could not be finished; what was written so far stays.
    Failed(Refusal),
}

impl Frame for ArchiveFrame {
    const PAYLOAD_MAX: usize = ARCHIVE_CHUNK_MAX;

    fn read(kind: u8, payload: Bytes) -> Result<Self, FrameError> {
        let bad = FrameError::BadPayload {
            kind,
            len: payload.len(),
        };
        match kind {
            DATA => Ok(Self::Data(payload)),
            END => empty(&payload, Self::End, bad),
            FAILED => serde_json::from_slice(&payload)
                .map(Self::Failed)
                .map_err(|_| bad),
            _ => Err(FrameError::UnknownKind { kind }),
        }
    }

    fn parts(&self) -> (u8, Bytes) {
        match self {
            Self::Data(bytes) => (DATA, bytes.clone()),
            Self::End => (END, Bytes::new()),
            Self::Failed(refusal) => {
                let json = serde_json::to_vec(refusal).expect("two strings are always JSON");
                (FAILED, json.into())
            }
        }
    }
}
