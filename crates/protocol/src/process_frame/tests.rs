use proptest::prelude::*;

use super::*;
use crate::{ArchiveFrame, ErrorCode, FrameDecoder, Refusal};

fn bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from)
}

fn host_frame() -> impl Strategy<Value = HostFrame> {
    prop_oneof![
        bytes().prop_map(HostFrame::Stdin),
        Just(HostFrame::StdinEof),
        any::<i32>().prop_map(HostFrame::Signal),
        (any::<u16>(), any::<u16>())
            .prop_map(|(rows, cols)| HostFrame::Resize(WindowSize { rows, cols })),
        Just(HostFrame::KillTree),
    ]
}

fn guest_frame() -> impl Strategy<Value = GuestFrame> {
    prop_oneof![
        any::<u32>().prop_map(|pid| GuestFrame::Started { pid }),
        bytes().prop_map(GuestFrame::Stdout),
        bytes().prop_map(GuestFrame::Stderr),
        any::<u32>().prop_map(GuestFrame::StdinTaken),
        (any::<Option<i32>>(), any::<Option<i32>>())
            .prop_map(|(code, signal)| GuestFrame::Exit(Exit { code, signal })),
    ]
}

fn archive_frame() -> impl Strategy<Value = ArchiveFrame> {
    prop_oneof![
        bytes().prop_map(ArchiveFrame::Data),
        Just(ArchiveFrame::End),
        ".*".prop_map(|message| ArchiveFrame::Failed(Refusal::new(ErrorCode::Confined, message))),
    ]
}

/// Encodes, cuts in pieces of these sizes, decodes.
fn through<F: Frame>(frames: &[F], sizes: &[usize]) -> Vec<F> {
    let mut wire = BytesMut::new();
    frames.iter().for_each(|frame| frame.encode(&mut wire));
    let (mut decoder, mut rest, mut out) = (FrameDecoder::<F>::default(), &wire[..], Vec::new());
    for size in sizes.iter().cycle() {
        let (piece, left) = rest.split_at((*size).min(rest.len()));
        decoder.push(piece);
        rest = left;
        while let Some(frame) = decoder.next_frame().unwrap() {
            out.push(frame);
        }
        if rest.is_empty() {
            break;
        }
    }
    decoder.finish().unwrap();
    out
}

proptest! {
    #[test]
    fn any_split_gives_the_same_host_frames(
        frames in prop::collection::vec(host_frame(), 0..12),
        sizes in prop::collection::vec(1usize..50, 1..20),
    ) {
        prop_assert_eq!(through(&frames, &sizes), frames);
    }

    #[test]
    fn any_split_gives_the_same_guest_frames(
        frames in prop::collection::vec(guest_frame(), 0..12),
        sizes in prop::collection::vec(1usize..50, 1..20),
    ) {
        prop_assert_eq!(through(&frames, &sizes), frames);
    }

    #[test]
    fn any_split_gives_the_same_archive_frames(
        frames in prop::collection::vec(archive_frame(), 0..12),
        sizes in prop::collection::vec(1usize..50, 1..20),
    ) {
        prop_assert_eq!(through(&frames, &sizes), frames);
    }

    #[test]
    fn garbage_is_an_error_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut host = FrameDecoder::<HostFrame>::default();
        host.push(&bytes);
        while let Ok(Some(_)) = host.next_frame() {}
        let mut guest = FrameDecoder::<GuestFrame>::default();
        guest.push(&bytes);
        while let Ok(Some(_)) = guest.next_frame() {}
    }
}

#[test]
fn a_long_frame_is_refused_before_its_payload_and_for_ever() {
    let mut decoder = FrameDecoder::<HostFrame>::default();
    decoder.push(&crate::header(kind::STDIN, PAYLOAD_MAX + 1));
    let error = FrameError::TooLong {
        kind: kind::STDIN,
        len: PAYLOAD_MAX + 1,
        max: PAYLOAD_MAX,
    };
    assert_eq!(decoder.next_frame(), Err(error.clone()));
    decoder.push(&crate::header(kind::STDIN_EOF, 0));
    assert_eq!(decoder.next_frame(), Err(error));
}

#[test]
fn a_frame_of_the_other_direction_is_unknown() {
    let mut decoder = FrameDecoder::<HostFrame>::default();
    decoder.push(&crate::header(kind::STDOUT, 0));
    assert_eq!(
        decoder.next_frame(),
        Err(FrameError::UnknownKind { kind: kind::STDOUT })
    );
}

#[test]
fn a_payload_of_the_wrong_size_is_refused() {
    let mut decoder = FrameDecoder::<HostFrame>::default();
    decoder.push(&crate::header(kind::SIGNAL, 3));
    decoder.push(&[0; 3]);
    assert_eq!(
        decoder.next_frame(),
        Err(FrameError::BadPayload {
            kind: kind::SIGNAL,
            len: 3
        })
    );
}

#[test]
fn a_stream_that_ends_inside_a_frame_is_noticed() {
    let mut decoder = FrameDecoder::<GuestFrame>::default();
    decoder.push(&[kind::STDOUT, 0]);
    assert_eq!(decoder.next_frame(), Ok(None));
    assert_eq!(decoder.finish(), Err(FrameError::Truncated));
}
