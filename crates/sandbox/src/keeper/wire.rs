//! What server and keeper say to each other: the closed list of requests, their replies, and the frames
//! they travel in. Knows no socket.
//!
//! ```text
//!   length (4 bytes, of what follows) │ length of the head (4 bytes) │ head: JSON │ tail: bytes
//! ```
//!
//! The tail holds the lists of authorities of a sandbox: a few hundred kilobytes that are not worth
//! being quoted. The link of a sandbox that was made comes as a descriptor with the first byte of its
//! reply. Every request has one reply; replies come in any order.

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio_util::codec::LengthDelimitedCodec;

use crate::provider::{
    Abilities, Description, Footprints, GroupLimits, LimitHits, Observed, ProviderError, Reclaimed,
    SandboxId, Spec, Trusted,
};

/// Bytes of one frame. The longest that are honest have all authorities of a machine in them, a quarter
/// of this, or the names of all sandboxes. A longer one is not sent, and ends the keeper if it comes.
pub(super) const LONGEST: usize = 1 << 20;

/// Requests under way at one time. The server lets further ones wait; if more come, the keeper ends.
pub(super) const MOST: usize = 256;

/// A request, with the number its reply will have.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub number: u64,
    pub ask: Ask,
}

/// All that can be asked.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Ask {
    /// Prepare and try everything. The first request, and only the first.
    Begin,
    Create {
        spec: Box<Spec>,
        /// Of [`Spec::trusted`], the bytes of its first and second list; the rest of the tail is the
        /// third.
        trusted: Option<(usize, usize)>,
    },
    /// Nobody waits for the making of this number any more.
    Cancel,
    List,
    Limits(SandboxId),
    Destroy(SandboxId),
    Freeze(SandboxId, Option<String>),
    Thaw(SandboxId, Option<String>),
    Reclaim(SandboxId),
    YieldToOthers(SandboxId, bool),
    LimitProcessor(SandboxId, Option<u32>),
    Footprints(SandboxId),
    Group(SandboxId, String, GroupLimits),
    Join(SandboxId, String, u32),
    GroupLimits(SandboxId, String),
    KillGroup(SandboxId, String),
}

/// The reply to the request of this number.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Reply {
    pub number: u64,
    pub told: Told,
}

/// All that can be replied.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Told {
    Begun(Abilities),
    /// Sandboxes cannot be made here; why, with causes.
    NotBegun(String),
    /// With the link as a descriptor.
    Made(Description),
    Listed(Vec<Observed>),
    Hits(LimitHits),
    Reclaimed(Reclaimed),
    Footprints(Footprints),
    Done,
    Refused(ProviderError),
    /// The making was cancelled. What it made so far can be destroyed.
    Cancelled,
}

/// What does not fit into a frame, or is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// Longer than [`LONGEST`].
    #[error("a frame would have {length} bytes, and {LONGEST} are allowed")]
    TooLong { length: usize },
    /// Not what was expected there.
    #[error("a frame holds something else: {0}")]
    Garbage(String),
}

/// Cuts the frames out of what was read.
pub(super) fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder()
        .little_endian()
        .length_field_length(4)
        .max_frame_length(LONGEST)
        .new_codec()
}

/// A frame ready to be sent.
pub(super) fn encode(head: &impl Serialize, tail: &[&[u8]]) -> Result<Bytes, FrameError> {
    let head = serde_json::to_vec(head).map_err(|error| FrameError::Garbage(error.to_string()))?;
    let length = 4 + head.len() + tail.iter().map(|part| part.len()).sum::<usize>();
    let (Ok(whole), true) = (u32::try_from(length), length <= LONGEST) else {
        return Err(FrameError::TooLong { length });
    };
    let mut frame = BytesMut::with_capacity(4 + length);
    frame.put_u32_le(whole);
    frame.put_u32_le(u32::try_from(head.len()).expect("it is shorter than the whole"));
    frame.put_slice(&head);
    for part in tail {
        frame.put_slice(part);
    }
    Ok(frame.freeze())
}

/// Head and tail of a frame, of which [`codec`] took the first length away.
pub(super) fn decode<T: DeserializeOwned>(mut frame: Bytes) -> Result<(T, Bytes), FrameError> {
    let cut = || FrameError::Garbage("it is cut short".to_owned());
    let length = frame.get(..4).and_then(|bytes| bytes.try_into().ok());
    let length = length.map(u32::from_le_bytes).ok_or_else(cut)?;
    let end = 4 + length as usize;
    if end > frame.len() {
        return Err(cut());
    }
    let tail = frame.split_off(end);
    let head = serde_json::from_slice(&frame[4..]);
    let head = head.map_err(|error| FrameError::Garbage(error.to_string()))?;
    Ok((head, tail))
}

/// Puts the lists of authorities back where they belong.
pub(super) fn trusted(tail: &Bytes, lengths: (usize, usize)) -> Result<Trusted, FrameError> {
    let garbage = |text: &str| FrameError::Garbage(text.to_owned());
    let cut = || garbage("its lists are cut short");
    let (all, rest) = tail.split_at_checked(lengths.0).ok_or_else(cut)?;
    let (own, java) = rest.split_at_checked(lengths.1).ok_or_else(cut)?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec());
    match (text(all), text(own)) {
        (Ok(all), Ok(own)) => Ok(Trusted {
            all,
            own,
            java: java.to_vec(),
        }),
        _ => Err(garbage("its lists are no text")),
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::codec::Decoder;

    use super::*;

    fn through(frame: &Bytes) -> Bytes {
        let mut bytes = BytesMut::from(&frame[..]);
        let taken = codec().decode(&mut bytes).unwrap().unwrap();
        assert!(bytes.is_empty());
        taken.freeze()
    }

    #[test]
    fn head_and_tail_come_back_as_they_were() {
        let ask = Ask::Group("one".parse().unwrap(), "a".into(), GroupLimits::default());
        let frame = encode(&Request { number: 7, ask }, &[b"alle", b"own", b"\xfe\xed"]).unwrap();
        let (request, tail): (Request, _) = decode(through(&frame)).unwrap();
        assert_eq!(request.number, 7);
        assert!(
            matches!(request.ask, Ask::Group(id, name, _) if id.as_str() == "one" && name == "a")
        );
        let lists = trusted(&tail, (4, 3)).unwrap();
        assert_eq!((lists.all.as_str(), lists.own.as_str()), ("alle", "own"));
        assert_eq!(lists.java, b"\xfe\xed");
        assert!(trusted(&tail, (10, 0)).is_err());
        assert!(trusted(&tail, (4, 6)).is_err());
        assert!(trusted(&Bytes::from_static(b"\xff"), (0, 1)).is_err());
    }

    #[test]
    fn what_is_no_request_is_an_error_and_never_a_panic() {
        let id = |id: &str| format!(r#"{{"number":1,"ask":{{"Destroy":{id:?}}}}}"#);
        let framed = |head: &str, said: usize| {
            let said = u32::try_from(said).unwrap().to_le_bytes();
            Bytes::from([&said[..], head.as_bytes()].concat())
        };
        let fine = id("one");
        assert!(decode::<Request>(framed(&fine, fine.len())).is_ok());
        for head in [
            id("../one"),
            id("one/two"),
            id(""),
            r#"{"number":1,"ask":{"Mount":"/"}}"#.to_owned(),
            r#"{"number":-1,"ask":"List"}"#.to_owned(),
            String::new(),
        ] {
            assert!(
                decode::<Request>(framed(&head, head.len())).is_err(),
                "{head}"
            );
        }
        for said in [0, 3, fine.len() + 1, u32::MAX as usize] {
            assert!(decode::<Request>(framed(&fine, said)).is_err(), "{said}");
        }
        for length in 0..4 {
            assert!(decode::<Request>(Bytes::from(vec![0; length])).is_err());
        }
    }

    #[test]
    fn a_frame_that_is_too_long_is_neither_made_nor_taken() {
        let tail = "x".repeat(LONGEST);
        assert!(matches!(
            encode(&(), &[tail.as_bytes()]),
            Err(FrameError::TooLong { .. })
        ));
        let mut bytes = BytesMut::new();
        bytes.put_u32_le(u32::try_from(LONGEST).unwrap() + 1);
        assert!(codec().decode(&mut bytes).is_err());
    }
}
