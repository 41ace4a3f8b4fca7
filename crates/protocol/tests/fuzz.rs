//! Any bytes that the other end of a link may send: messages, frames and trees, or a typed error.

use std::cmp::Ordering;
use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use protocol::{
    ArchiveFrame, Frame, FrameDecoder, FrameError, GuestFrame, HostFrame, MESSAGE_MAX,
    MessageDecoder, MessageError, TREE_PATH_MAX, TREE_XATTRS_MAX, TreeFrame, decode_open,
    decode_opened, encode, is_tree_path, order,
};

#[test]
fn any_bytes_on_a_link_are_what_they_say_or_an_error() {
    fuzz::target!("link", 20_000, |data| {
        frames::<HostFrame>(data);
        frames::<GuestFrame>(data);
        frames::<ArchiveFrame>(data);
        messages(data);
    });
}

#[test]
fn any_bytes_are_a_tree_s_frames_or_an_error() {
    fuzz::target!("tree", 20_000, |data| {
        let (found, _) = frames::<TreeFrame>(data);
        let mut before: Option<(Bytes, bool)> = None;
        for frame in found {
            let TreeFrame::Entry(entry) = frame else {
                continue;
            };
            assert!(is_tree_path(&entry.path) && entry.path.len() <= TREE_PATH_MAX);
            let bytes = entry
                .xattrs
                .iter()
                .map(|one| one.name.len() + one.value.len());
            assert!(bytes.sum::<usize>() <= TREE_XATTRS_MAX);
            let here = (entry.path.clone(), entry.is_dir());
            if let Some(before) = before.replace(here.clone()) {
                let one = order((&before.0, before.1), (&here.0, here.1));
                let other = order((&here.0, here.1), (&before.0, before.1));
                assert_eq!(one, other.reverse());
                assert!(one != Ordering::Equal || before.0 == here.0);
            }
        }
    });
}

/// Whatever the pieces are, the same frames come, and each survives being written and read.
fn frames<F: Frame + Debug + PartialEq>(data: &[u8]) -> (Vec<F>, Option<FrameError>) {
    let seed = data.first().copied().unwrap_or_default();
    let whole = decoded::<F>(std::iter::once(data));
    assert_eq!(whole, decoded(fuzz::pieces(data, seed)));
    for frame in &whole.0 {
        let (_, payload) = frame.parts();
        if payload.len() > F::PAYLOAD_MAX {
            // Text that was read is written in another way; nobody passes it on.
            continue;
        }
        let mut bytes = BytesMut::new();
        frame.encode(&mut bytes);
        let (again, error) = decoded::<F>(std::iter::once(&bytes[..]));
        assert_eq!(
            (again.as_slice(), error),
            (std::slice::from_ref(frame), None)
        );
    }
    whole
}

fn decoded<'a, F: Frame>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<F>, Option<FrameError>) {
    let (mut decoder, mut found) = (FrameDecoder::<F>::default(), Vec::new());
    for piece in pieces {
        decoder.push(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => found.push(frame),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.next_frame().err(), Some(error.clone()));
                    return (found, Some(error));
                }
            }
        }
    }
    let end = decoder.finish().err();
    (found, end.filter(|end| *end != FrameError::Truncated))
}

/// The decoder takes exactly one message from a stream, and a message is the same when it comes again.
fn messages(data: &[u8]) {
    let mut decoder = MessageDecoder::default();
    let mut rest = data;
    let body = loop {
        match decoder.next_body() {
            Ok(Some(body)) => break body,
            Ok(None) => {}
            Err(MessageError::TooLong { len }) => return assert!(len > MESSAGE_MAX),
            Err(error) => panic!("{error}"),
        }
        let wanted = decoder.wanted();
        assert!((1..=MESSAGE_MAX + 4).contains(&wanted));
        if rest.is_empty() {
            return;
        }
        let (piece, after) = rest.split_at(wanted.min(rest.len()));
        decoder.push(piece);
        rest = after;
    };
    assert_eq!(
        data.len() - rest.len(),
        4 + body.len(),
        "what follows stays"
    );
    if let Ok(open) = decode_open(&body) {
        let bytes = encode(&open).expect("it was no longer");
        assert_eq!(decode_open(&bytes[4..]).expect("it was one"), open);
    }
    if let Ok(opened) = decode_opened(&body) {
        let bytes = encode(&opened).expect("it was no longer");
        assert_eq!(decode_opened(&bytes[4..]).expect("it was one"), opened);
    }
}
