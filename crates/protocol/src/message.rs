//! Messages: one JSON value behind its length (u32, big endian).
//!
//! Never reads past the message, so what follows on the stream stays untouched.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Serialize, de::DeserializeOwned};

use crate::{ErrorCode, Open, Opened, Refusal};

/// The longest message in bytes. Room for an environment and arguments as large as Linux allows
/// in practice, small enough to be held for every stream.
pub const MESSAGE_MAX: usize = 1024 * 1024;

const PREFIX_LEN: usize = 4;

/// Why bytes are no message, or a value is none.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// The message would be longer than [`MESSAGE_MAX`].
    #[error("message of {len} bytes is longer than {MESSAGE_MAX}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The message is not the JSON that was expected.
    #[error("message is not what was expected")]
    Json(#[source] serde_json::Error),
}

/// Encodes a message with its length.
pub fn encode<T: Serialize>(message: &T) -> Result<Bytes, MessageError> {
    let mut out = BytesMut::with_capacity(256);
    out.put_u32(0);
    serde_json::to_writer((&mut out).writer(), message).map_err(MessageError::Json)?;
    let len = out.len() - PREFIX_LEN;
    if len > MESSAGE_MAX {
        return Err(MessageError::TooLong { len });
    }
    let prefix = u32::try_from(len).expect("MESSAGE_MAX fits in 32 bits");
    out[..PREFIX_LEN].copy_from_slice(&prefix.to_be_bytes());
    Ok(out.freeze())
}

/// Takes bytes in any pieces and gives one message out.
#[derive(Debug, Default)]
pub struct MessageDecoder {
    buffer: BytesMut,
}

impl MessageDecoder {
    /// How many more bytes are needed before [`Self::next_body`] can say more. Reading exactly this
    /// many leaves what follows the message on the stream.
    pub fn wanted(&self) -> usize {
        match self.body_len() {
            None => PREFIX_LEN - self.buffer.len(),
            Some(len) => (PREFIX_LEN + len.min(MESSAGE_MAX)).saturating_sub(self.buffer.len()),
        }
    }

    /// Adds bytes that arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The body of the message, if all of it has arrived.
    pub fn next_body(&mut self) -> Result<Option<Bytes>, MessageError> {
        let Some(len) = self.body_len() else {
            return Ok(None);
        };
        if len > MESSAGE_MAX {
            return Err(MessageError::TooLong { len });
        }
        if self.buffer.len() < PREFIX_LEN + len {
            return Ok(None);
        }
        self.buffer.advance(PREFIX_LEN);
        Ok(Some(self.buffer.split_to(len).freeze()))
    }

    /// The message, if all of it has arrived.
    pub fn next_message<T: DeserializeOwned>(&mut self) -> Result<Option<T>, MessageError> {
        match self.next_body()? {
            None => Ok(None),
            Some(body) => serde_json::from_slice(&body)
                .map(Some)
                .map_err(MessageError::Json),
        }
    }

    fn body_len(&self) -> Option<usize> {
        let prefix = self.buffer.first_chunk::<PREFIX_LEN>()?;
        Some(u32::from_be_bytes(*prefix) as usize)
    }
}

/// Reads an [`Open`], telling an unknown one (a newer host) from nonsense.
///
/// The error is ready to be sent back as [`crate::Opened::Err`].
pub fn decode_open(body: &[u8]) -> Result<Open, Refusal> {
    #[derive(serde::Deserialize)]
    struct Kind {
        open: String,
    }

    let error = match serde_json::from_slice::<Open>(body) {
        Ok(open) => return Ok(open),
        Err(error) => error,
    };
    let Ok(Kind { open }) = serde_json::from_slice::<Kind>(body) else {
        return Err(Refusal::new(
            ErrorCode::BadRequest,
            "the stream does not say what it is for",
        ));
    };
    if KNOWN.contains(&open.as_str()) {
        // The error of serde_json names fields and types, never values of the environment.
        let message = format!("open {open:?} is malformed at column {}", error.column());
        return Err(Refusal::new(ErrorCode::BadRequest, message));
    }
    let shown: String = open.chars().take(64).collect();
    let message = format!(
        "open {shown:?} is not known to generation {} of the guest",
        crate::GENERATION
    );
    Err(Refusal::new(ErrorCode::Unsupported, message))
}

/// Reads an answer to an [`Open`].
pub fn decode_opened(body: &[u8]) -> Result<Opened, MessageError> {
    serde_json::from_slice(body).map_err(MessageError::Json)
}

const KNOWN: [&str; 16] = [
    "hello",
    "spawn",
    "dial",
    "listen",
    "unpack",
    "pack",
    "make_dir",
    "remove_dir",
    "save",
    "restore",
    "stats",
    "transparent",
    "accepted",
    "name",
    "reach",
    "strays",
];

#[cfg(test)]
mod tests;
