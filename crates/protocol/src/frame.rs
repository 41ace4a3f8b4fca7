//! Frames: `kind u8 | len u32 BE | payload`, in any number on one stream.
//!
//! The framing is the same for processes and archives; what the kinds mean is theirs to say.

use std::marker::PhantomData;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes before a frame's payload.
pub const HEADER_LEN: usize = 5;

/// What a set of frames must say about itself.
pub trait Frame: Sized {
    /// The longest payload in bytes.
    const PAYLOAD_MAX: usize;

    /// Reads a frame of this kind, or says that it is none.
    fn read(kind: u8, payload: Bytes) -> Result<Self, FrameError>;

    /// Its kind and payload.
    fn parts(&self) -> (u8, Bytes);

    /// Appends the frame's bytes.
    ///
    /// # Panics
    /// When the payload is longer than [`Self::PAYLOAD_MAX`]; the sender splits.
    fn encode(&self, out: &mut BytesMut) {
        let (kind, payload) = self.parts();
        assert!(
            payload.len() <= Self::PAYLOAD_MAX,
            "the sender splits long payloads"
        );
        out.put_slice(&header(kind, payload.len()));
        out.put_slice(&payload);
    }
}

/// The bytes before a payload, for senders that keep header and payload apart.
pub fn header(kind: u8, len: usize) -> [u8; HEADER_LEN] {
    let len = u32::try_from(len)
        .expect("payloads are bounded far below 4 GiB")
        .to_be_bytes();
    [kind, len[0], len[1], len[2], len[3]]
}

/// Why bytes are no frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The payload would be longer than these frames allow.
    #[error("frame of kind {kind:#04x} announces {len} bytes, more than {max}")]
    TooLong {
        /// The kind.
        kind: u8,
        /// The announced length in bytes.
        len: usize,
        /// The bound in bytes.
        max: usize,
    },
    /// There is no such kind in this direction.
    #[error("frame kind {kind:#04x} is unknown")]
    UnknownKind {
        /// The kind.
        kind: u8,
    },
    /// The payload does not fit the kind.
    #[error("payload of {len} bytes does not fit frame kind {kind:#04x}")]
    BadPayload {
        /// The kind.
        kind: u8,
        /// The length in bytes.
        len: usize,
    },
    /// The stream ended inside a frame.
    #[error("the stream ended inside a frame")]
    Truncated,
}

/// Takes bytes in any pieces and gives frames out.
///
/// Holds at most what was pushed: pull all frames after each push and it holds less than one
/// frame. After an error it stays in error, because the boundaries are lost.
#[derive(Debug)]
pub struct FrameDecoder<F> {
    buffer: BytesMut,
    failed: Option<FrameError>,
    frames: PhantomData<fn() -> F>,
}

impl<F> Default for FrameDecoder<F> {
    fn default() -> Self {
        Self {
            buffer: BytesMut::new(),
            failed: None,
            frames: PhantomData,
        }
    }
}

impl<F: Frame> FrameDecoder<F> {
    /// Adds bytes that arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Where a reader may append what arrives, which saves a copy.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next frame, if all of it has arrived.
    pub fn next_frame(&mut self) -> Result<Option<F>, FrameError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.pull()
            .inspect_err(|error| self.failed = Some(error.clone()))
    }

    /// Says whether the stream may end here.
    pub fn finish(&self) -> Result<(), FrameError> {
        match &self.failed {
            Some(error) => Err(error.clone()),
            None if self.buffer.is_empty() => Ok(()),
            None => Err(FrameError::Truncated),
        }
    }

    fn pull(&mut self) -> Result<Option<F>, FrameError> {
        let Some([kind, len @ ..]) = self.buffer.first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let (kind, len) = (*kind, u32::from_be_bytes(*len) as usize);
        if len > F::PAYLOAD_MAX {
            return Err(FrameError::TooLong {
                kind,
                len,
                max: F::PAYLOAD_MAX,
            });
        }
        if self.buffer.len() < HEADER_LEN + len {
            return Ok(None);
        }
        self.buffer.advance(HEADER_LEN);
        F::read(kind, self.buffer.split_to(len).freeze()).map(Some)
    }
}
