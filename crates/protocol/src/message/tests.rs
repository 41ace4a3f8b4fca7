use proptest::prelude::*;

use super::*;
use crate::{Opened, ProcessSpec, Stats, Stray, User, WindowSize};

fn user() -> User {
    User {
        uid: 2000,
        gid: 2000,
        groups: vec![1999],
    }
}

fn spec() -> ProcessSpec {
    ProcessSpec {
        argv: vec!["sh".into(), "-c".into(), "true".into()],
        env: vec![("KEY".into(), "v\u{e9}".into())],
        cwd: "/workspace".into(),
        terminal: Some(WindowSize { rows: 24, cols: 80 }),
        user: Some(user()),
    }
}

fn opens() -> Vec<Open> {
    vec![
        Open::Hello {
            generations: vec![1, 2],
        },
        Open::Spawn(spec()),
        Open::Dial {
            port: 80,
            uid: None,
        },
        Open::Listen {
            port: 0,
            tag: "model".into(),
            uid: Some(2000),
        },
        Open::Unpack {
            dir: "/workspace".into(),
            user: Some(user()),
        },
        Open::Pack {
            paths: vec![".".into()],
            base: "/workspace".into(),
            user: None,
        },
        Open::MakeDir {
            path: "/home/one".into(),
            mode: 0o700,
            owner: Some(user()),
        },
        Open::RemoveDir {
            path: "/home/one".into(),
        },
        Open::Save {
            roots: vec!["/workspace".into()],
            since_ns: 1,
            user: None,
        },
        Open::Restore {
            roots: vec!["/workspace".into()],
            user: Some(user()),
        },
        Open::Stats,
        Open::Transparent,
        Open::Accepted {
            tag: "model".into(),
        },
        Open::Name {
            name: "a.example".into(),
            kind: 1,
            uid: None,
        },
        Open::Reach {
            name: "a.example".into(),
            port: 443,
            uid: Some(2000),
        },
        Open::Strays {
            strays: vec![Stray {
                protocol: 17,
                address: "2001:db8::1".parse().unwrap(),
                port: 53,
                uid: None,
                count: 3,
            }],
            more: 1,
        },
    ]
}

#[test]
fn every_open_survives_the_wire() {
    for open in opens() {
        let mut decoder = MessageDecoder::default();
        decoder.push(&encode(&open).unwrap());
        let body = decoder.next_body().unwrap().unwrap();
        assert_eq!(decode_open(&body).unwrap(), open);
    }
}

#[test]
fn the_list_of_known_opens_is_complete() {
    let names: Vec<String> = opens()
        .iter()
        .map(|open| {
            serde_json::to_value(open).unwrap()["open"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(names, KNOWN);
}

#[test]
fn an_unknown_field_is_ignored() {
    let open = decode_open(br#"{"open":"dial","port":1,"since":"generation 9"}"#).unwrap();
    assert_eq!(open, Open::Dial { port: 1, uid: None });
}

#[test]
fn an_unknown_open_is_told_from_nonsense() {
    assert_eq!(
        decode_open(br#"{"open":"fly"}"#).unwrap_err().code,
        ErrorCode::Unsupported
    );
    assert_eq!(
        decode_open(br#"{"open":"dial"}"#).unwrap_err().code,
        ErrorCode::BadRequest
    );
    assert_eq!(decode_open(b"[]").unwrap_err().code, ErrorCode::BadRequest);
    assert_eq!(
        decode_open(b"\xff").unwrap_err().code,
        ErrorCode::BadRequest
    );
}

#[test]
fn an_unknown_error_code_is_tolerated() {
    let answer = br#"{"opened":"err","code":"moon_phase","message":"m"}"#;
    let Opened::Err(refusal) = serde_json::from_slice(answer).unwrap() else {
        panic!()
    };
    assert_eq!(refusal.code, ErrorCode::Unknown);
}

#[test]
fn stats_of_an_older_guest_have_defaults() {
    let stats: Stats = serde_json::from_str(r#"{"processes":2}"#).unwrap();
    assert_eq!(
        stats,
        Stats {
            processes: 2,
            ..Stats::default()
        }
    );
}

#[test]
fn debug_of_a_process_hides_values() {
    let shown = format!("{:?}", Open::Spawn(spec()));
    assert!(
        shown.contains("KEY") && !shown.contains("v\u{e9}"),
        "{shown}"
    );
}

#[test]
fn a_long_message_is_refused_before_its_body() {
    let mut decoder = MessageDecoder::default();
    decoder.push(&(MESSAGE_MAX as u32 + 1).to_be_bytes());
    assert!(matches!(
        decoder.next_message::<Open>(),
        Err(MessageError::TooLong { .. })
    ));
    let long = Open::Unpack {
        dir: "x".repeat(MESSAGE_MAX),
        user: None,
    };
    assert!(matches!(encode(&long), Err(MessageError::TooLong { .. })));
}

proptest! {
    #[test]
    fn any_split_gives_the_same_message(sizes in prop::collection::vec(1usize..40, 1..60)) {
        let open = Open::Spawn(spec());
        let bytes = encode(&open).unwrap();
        let (mut decoder, mut rest, mut sizes) =
            (MessageDecoder::default(), &bytes[..], sizes.into_iter().cycle());
        let decoded = loop {
            let (piece, left) = rest.split_at(sizes.next().unwrap().min(rest.len()));
            decoder.push(piece);
            rest = left;
            if let Some(decoded) = decoder.next_message::<Open>().unwrap() {
                break decoded;
            }
            prop_assert!(decoder.wanted() > 0 && !rest.is_empty());
        };
        prop_assert!(rest.is_empty());
        prop_assert_eq!(decoded, open);
    }

    #[test]
    fn reading_what_is_wanted_never_takes_what_follows(tail in prop::collection::vec(any::<u8>(), 0..50)) {
        let mut bytes = encode(&Open::Stats).unwrap().to_vec();
        bytes.extend_from_slice(&tail);
        let (mut decoder, mut rest) = (MessageDecoder::default(), &bytes[..]);
        while decoder.wanted() > 0 {
            let (piece, left) = rest.split_at(decoder.wanted());
            decoder.push(piece);
            rest = left;
        }
        prop_assert_eq!(decoder.next_message::<Open>().unwrap(), Some(Open::Stats));
        prop_assert_eq!(rest, &tail[..]);
    }

    #[test]
    fn garbage_is_an_error_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_open(&bytes);
        let mut decoder = MessageDecoder::default();
        decoder.push(&bytes);
        let _ = decoder.next_message::<Opened>();
    }
}
