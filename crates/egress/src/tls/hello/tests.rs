use std::sync::Arc;

use proptest::prelude::*;

use super::*;

/// What a real client says first.
fn real(name: &str) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = name.to_owned().try_into().unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// A first message with these extensions and nothing else of interest.
fn made(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut list = Vec::new();
    for (kind, content) in extensions {
        list.extend(kind.to_be_bytes());
        list.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
        list.extend(content);
    }
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 1, 1, 0]);
    body.extend(u16::try_from(list.len()).unwrap().to_be_bytes());
    body.extend(list);
    let mut message = vec![CLIENT_HELLO, 0];
    message.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    message.extend(body);
    message
}

fn records(message: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for piece in message.chunks(size) {
        bytes.extend([HANDSHAKE, 3, 1]);
        bytes.extend(u16::try_from(piece.len()).unwrap().to_be_bytes());
        bytes.extend(piece);
    }
    bytes
}

fn name(names: &[&str]) -> Vec<u8> {
    let mut list = Vec::new();
    for name in names {
        list.push(0);
        list.extend(u16::try_from(name.len()).unwrap().to_be_bytes());
        list.extend(name.bytes());
    }
    let mut content = u16::try_from(list.len()).unwrap().to_be_bytes().to_vec();
    content.extend(list);
    content
}

#[test]
fn a_real_message_is_read_and_any_part_of_it_waits_for_more() {
    let bytes = real("api.example.com");
    let expected = Hello {
        server: Some("api.example.com".into()),
        encrypted: false,
    };
    assert_eq!(peek(&bytes), Peeked::Hello(expected));
    for length in 0..bytes.len() {
        assert_eq!(peek(&bytes[..length]), Peeked::More, "{length} bytes");
    }
    let to_address = peek(&real("127.0.0.1"));
    assert!(matches!(
        to_address,
        Peeked::Hello(Hello { server: None, .. })
    ));
}

#[test]
fn a_message_in_many_records_is_put_together() {
    let message = made(&[(SERVER_NAME, name(&["a.example"]))]);
    for size in [1, 3, 50, 4096] {
        let Peeked::Hello(hello) = peek(&records(&message, size)) else {
            panic!("{size}")
        };
        assert_eq!(hello.server.as_deref(), Some("a.example"));
    }
}

#[test]
fn an_encrypted_message_is_seen() {
    let message = made(&[
        (SERVER_NAME, name(&["public.example"])),
        (ENCRYPTED_CLIENT_HELLO, vec![0; 40]),
    ]);
    let Peeked::Hello(hello) = peek(&records(&message, 4096)) else {
        panic!()
    };
    assert!(hello.encrypted);
}

#[test]
fn what_names_a_server_twice_or_does_not_add_up_is_malformed() {
    let twice = (SERVER_NAME, name(&["a.example"]));
    for message in [
        made(&[twice.clone(), twice]),
        made(&[(SERVER_NAME, name(&["a.example", "b.example"]))]),
        made(&[(SERVER_NAME, name(&[""]))]),
        made(&[(SERVER_NAME, vec![0, 9, 0])]),
        vec![2, 0, 0, 1, 0],
        vec![CLIENT_HELLO, 0, 0, 1, 0],
    ] {
        assert_eq!(
            peek(&records(&message, 4096)),
            Peeked::Malformed,
            "{message:?}"
        );
    }
    assert_eq!(peek(&[HANDSHAKE, 3, 1, 0, 0]), Peeked::Malformed);
}

#[test]
fn other_protocols_are_told_at_once() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"SSH-2.0-x\r\n",
        b"\x16\x02",
        b"\x00\x00\x00\x08",
    ] {
        assert_eq!(peek(bytes), Peeked::Other);
    }
}

proptest! {
    #[test]
    fn any_bytes_give_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut whole = vec![HANDSHAKE, 3, 1];
        whole.extend(u16::try_from(bytes.len()).unwrap().to_be_bytes());
        whole.extend(&bytes);
        peek(&bytes);
        peek(&whole);
        let mut body = vec![CLIENT_HELLO, 0];
        body.extend(u16::try_from(bytes.len()).unwrap().to_be_bytes());
        body.extend(&bytes);
        peek(&records(&body, 100));
    }
}
