//! Readers of a session's log: early, late, returning, over a WebSocket, and one that never reads.
//! All get the same bytes, and none costs another anything.

use std::sync::Arc;

use futures::StreamExt;
use integration::sse::{Frame, Parser};
use integration::wait::soon;
use integration::{Agent, Session, World};
use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

/// Reads a stream up to the `idles`th idle.
async fn read(world: &World, session: &Session, after: Option<i64>, idles: usize) -> Vec<Frame> {
    let mut request = world
        .client
        .request(Method::GET, &session.path("/events/stream"));
    if let Some(after) = after {
        request = request.header("last-event-id", after);
    }
    let mut response = request.send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let (mut parser, mut frames) = (Parser::default(), Vec::new());
    let whole = async {
        while idle(&frames) < idles {
            let chunk = response.chunk().await.unwrap().unwrap();
            frames.extend(
                parser
                    .push(&chunk)
                    .into_iter()
                    .filter(|frame| frame.event != "ping"),
            );
        }
    };
    soon("a stream up to its end", whole).await;
    frames
}

fn idle(frames: &[Frame]) -> usize {
    frames
        .iter()
        .filter(|frame| frame.event == "session.status_idle")
        .count()
}

fn data(frames: &[Frame]) -> Vec<&str> {
    frames.iter().map(|frame| frame.data.as_str()).collect()
}

#[tokio::test]
async fn live_replayed_listed_and_over_a_websocket_the_bytes_are_the_same() {
    let Some(world) = World::new().await else {
        return;
    };
    let session = world.session(&Agent::free()).await;
    // A plain reader, there before anything happened.
    let live = read(&world, &session, None, 2);
    let turns = async {
        session.turn("@think hm\n@say \"quoted\", é and \u{1F600}\n@tool Bash {\"command\":\"printf 'a\\\\nb'\"}\n@say two").await;
        session.turn("@say three").await
    };
    let (live, _) = tokio::join!(live, turns);
    let list = session.list().await;
    assert_eq!(data(&live), list);
    let replay = read(&world, &session, Some(0), 2).await;
    assert_eq!(replay, live);
    let middle = live.len() / 2;
    let rest = read(&world, &session, live[middle].id, 1).await;
    assert_eq!(rest, live[middle + 1..]);
    let from = format!(
        "ws://{}{}?after=0",
        world.client.authority(),
        session.path("/events/ws")
    );
    let mut request = from.into_client_request().unwrap();
    let key = format!("Bearer {}", world.client.key()).parse().unwrap();
    request.headers_mut().insert("authorization", key);
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    let mut texts = Vec::new();
    while texts.len() < list.len() {
        match soon("a message of the socket", socket.next())
            .await
            .unwrap()
            .unwrap()
        {
            Message::Text(text) => texts.push(text.to_string()),
            other => assert!(other.is_ping(), "{other:?}"),
        }
    }
    assert_eq!(texts, list);
    world.end().await;
}

#[tokio::test]
async fn deltas_come_as_the_model_speaks_and_are_a_beginning_of_what_it_said() {
    let Some(world) = World::new().await else {
        return;
    };
    let session = world.session(&Agent::free()).await;
    let turn = session.turn("@slow 5\n@repeat 60 word").await;
    let message = turn.only("agent.message");
    let starts = turn.of("event_start");
    assert_eq!(
        starts
            .iter()
            .filter(|start| start["event"]["id"] == message["id"])
            .count(),
        1
    );
    let deltas: Vec<String> = turn
        .of("event_delta")
        .iter()
        .filter(|delta| delta["event_id"] == message["id"])
        .map(|delta| {
            delta["delta"]["content"]["text"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert!(deltas.len() > 5, "{deltas:?}");
    assert!(
        message["content"][0]["text"]
            .as_str()
            .unwrap()
            .starts_with(&deltas.concat())
    );
    let kinds = ["event_start", "event_delta"];
    assert!(
        session
            .list()
            .await
            .iter()
            .all(|event| !kinds.iter().any(|kind| event.contains(kind)))
    );
    world.end().await;
}

/// A connection that asked for the stream and reads nothing, with small buffers in the kernel.
async fn sleeper(world: &World, session: &Session) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let address = world.client.authority();
    let mut stream = socket.connect(address.parse().unwrap()).await.unwrap();
    let path = session.path("/events/stream?event_deltas[]=agent.message");
    let key = world.client.key();
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\nlast-event-id: 0\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// The body of a chunked answer, out of the bytes of its connection.
#[derive(Default)]
struct Chunked {
    bytes: Vec<u8>,
    /// Bytes left of the chunk that was begun; none before the head has ended.
    left: Option<usize>,
}

impl Chunked {
    fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.bytes.extend_from_slice(bytes);
        let mut body = Vec::new();
        loop {
            match self.left {
                None => {
                    let Some(end) = find(&self.bytes, b"\r\n\r\n") else {
                        return body;
                    };
                    self.bytes.drain(..end + 4);
                    self.left = Some(0);
                }
                Some(0) => {
                    let Some(end) = find(&self.bytes, b"\r\n") else {
                        return body;
                    };
                    let line = String::from_utf8(self.bytes[..end].to_vec()).unwrap();
                    self.bytes.drain(..end + 2);
                    // A blank line ends the chunk before.
                    if !line.is_empty() {
                        self.left = Some(usize::from_str_radix(&line, 16).unwrap());
                    }
                }
                Some(_) if self.bytes.is_empty() => return body,
                Some(left) => {
                    let take = left.min(self.bytes.len());
                    body.extend(self.bytes.drain(..take));
                    self.left = Some(left - take);
                }
            }
        }
    }
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes
        .windows(needle.len())
        .position(|window| window == needle)
}

#[tokio::test]
async fn a_reader_that_never_reads_costs_nobody_anything_and_catches_up() {
    let Some(world) = World::new().await else {
        return;
    };
    let session: Arc<Session> = world.session(&Agent::free()).await;
    session.turn("@say first").await.answered("first");
    let before = world.server().memory();
    let mut sleepers = Vec::new();
    for _ in 0..20 {
        sleepers.push(sleeper(&world, &session).await);
    }
    let word = "x".repeat(1023);
    for _ in 0..4 {
        // The other reader, which the session's fixture is, gets all of it.
        session
            .turn(&format!("@repeat 1024 {word}"))
            .await
            .answered(&vec![word.clone(); 1024].join(" "));
    }
    let grown = world.server().memory().saturating_sub(before) >> 20;
    assert!(
        grown < 48,
        "4 MiB for 20 readers that do not read cost {grown} MiB"
    );
    // One of them wakes up and finds everything, from the first byte on.
    let list = session.list().await;
    let (mut parser, mut seen) = (Parser::default(), Vec::new());
    let mut body = Chunked::default();
    let caught_up = async {
        let mut chunk = vec![0; 1 << 16];
        while seen.len() < list.len() {
            let length = sleepers[0].read(&mut chunk).await.unwrap();
            assert!(length > 0, "it was cut after {} events", seen.len());
            let frames = parser.push(&body.push(&chunk[..length]));
            seen.extend(frames.into_iter().filter(|frame| frame.id.is_some()));
        }
    };
    soon("a reader that catches up", caught_up).await;
    assert!(data(&seen) == list, "it has every event once and in order");
    world.end().await;
}
