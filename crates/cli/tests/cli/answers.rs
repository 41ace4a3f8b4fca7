//! What the client verbs make of a server's answers, from a stand-in that says one thing.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;

use crate::home::{Home, Ran};

/// Answers one request after the other with these, and gives the request lines.
fn stand_in(answers: Vec<(u16, &'static str)>) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let thread = std::thread::spawn(move || {
        answers
            .into_iter()
            .map(|(status, body)| answer(&listener, status, body))
            .collect()
    });
    (url, thread)
}

fn answer(listener: &TcpListener, status: u16, body: &str) -> String {
    let (mut stream, _) = listener.accept().expect("the binary connects");
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut head = Vec::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a request");
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a number");
        }
        if line.trim().is_empty() {
            break;
        }
        head.push(line);
    }
    std::io::copy(
        &mut std::io::Read::take(reader, length),
        &mut std::io::sink(),
    )
    .expect("the body");
    write!(
        stream,
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .expect("the answer is read");
    head[0].trim().to_owned()
}

fn run(words: &[&str], url: &str) -> Ran {
    let home = Home::new();
    let mut command = home.hostel(words);
    command
        .env("HOSTEL_BASE_URL", url)
        .env("HOSTEL_API_KEY", "k");
    Ran::of(command)
}

#[test]
fn an_error_is_told_with_message_and_request() {
    let body = r#"{"type":"error","error":{"type":"not_found_error","message":"no session sesn_9"},"request_id":"req_7"}"#;
    let (url, server) = stand_in(vec![(404, body)]);
    let ran = run(&["events", "sesn_9"], &url);
    assert_eq!(ran.code, 1);
    assert!(
        ran.err.contains("404: no session sesn_9 (req_7)") && ran.err.contains("hostel ps"),
        "{}",
        ran.err
    );
    assert!(server.join().expect("answered")[0].starts_with("GET /v1/sessions/sesn_9/events?"));
}

#[test]
fn a_wrong_key_is_told_with_the_next_step() {
    let body = r#"{"type":"error","error":{"type":"authentication_error","message":"this key is not known here"}}"#;
    let (url, server) = stand_in(vec![(401, body)]);
    let ran = run(&["ps"], &url);
    assert!(
        ran.code == 1 && ran.err.contains("HOSTEL_API_KEY"),
        "{}",
        ran.err
    );
    server.join().expect("answered");
}

#[test]
fn pages_are_followed_to_the_last() {
    let first = r#"{"data":[{"id":"sevt_1","type":"agent.message","content":[{"type":"text","text":"one"}]}],"next_page":"p2"}"#;
    let second = r#"{"data":[{"id":"sevt_2","type":"agent.message","content":[{"type":"text","text":"two"}]}],"next_page":null}"#;
    let (url, server) = stand_in(vec![(200, first), (200, second)]);
    let ran = run(&["events", "sesn_1"], &url);
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, "one\ntwo\n"),
        "{}",
        ran.err
    );
    assert!(server.join().expect("answered")[1].contains("page=p2"));
}

#[test]
fn json_events_are_one_per_line_as_the_server_sent_them() {
    let page = r#"{"data":[{"id":"sevt_1","type":"newer.kind","x":1},{"id":"sevt_2","type":"agent.thinking"}],"next_page":null}"#;
    let (url, server) = stand_in(vec![(200, page)]);
    let ran = run(&["events", "sesn_1", "--json"], &url);
    let events: Vec<serde_json::Value> = ran
        .out
        .lines()
        .map(|line| serde_json::from_str(line).expect("one JSON value per line"))
        .collect();
    assert_eq!((events.len(), &events[0]["x"]), (2, &1.into()));
    server.join().expect("answered");
}

#[test]
fn an_answer_that_is_not_json_is_no_panic() {
    let (url, server) = stand_in(vec![(200, "<html>hello</html>")]);
    let ran = run(&["ps"], &url);
    assert!(ran.code == 1 && ran.err.contains("not JSON"), "{}", ran.err);
    server.join().expect("answered");
}

#[test]
fn sessions_are_listed_with_the_pattern_of_their_environment() {
    let environments =
        r#"{"data":[{"id":"env_1","config":{"hosting":{"pattern":"shared"}}}],"next_page":null}"#;
    let sessions = r#"{"data":[{"id":"sesn_1","environment_id":"env_1"},{"id":"sesn_2","environment_id":"env_9"}],"next_page":null}"#;
    let (url, server) = stand_in(vec![(200, environments), (200, sessions)]);
    let ran = run(&["ps", "--json"], &url);
    let listed: Vec<serde_json::Value> = ran
        .out
        .lines()
        .map(|line| serde_json::from_str(line).expect("one JSON value per line"))
        .collect();
    assert_eq!(listed[0]["pattern"], "shared", "{}", ran.err);
    assert!(listed[1]["pattern"].is_null(), "{}", ran.out);
    server.join().expect("answered");

    let (url, server) = stand_in(vec![(200, environments), (200, sessions)]);
    let ran = run(&["ps"], &url);
    assert!(ran.out.contains("shared"), "{} {}", ran.out, ran.err);
    server.join().expect("answered");
}

#[test]
fn a_fork_is_told_by_its_id() {
    let forked = r#"{"id":"sesn_2","status":"idle"}"#;
    let (url, server) = stand_in(vec![(200, forked)]);
    let ran = run(&["fork", "sesn_1", "--at", "sevt_7"], &url);
    assert!(
        ran.code == 0 && ran.out.contains("sesn_2"),
        "{} {}",
        ran.out,
        ran.err
    );
    let requests = server.join().expect("answered");
    assert!(
        requests[0].starts_with("POST /v1/sessions/sesn_1/fork "),
        "{requests:?}"
    );

    let (url, server) = stand_in(vec![(200, forked)]);
    let view = run(&["fork", "sesn_1", "--json"], &url).json();
    assert_eq!(view["id"], "sesn_2");
    server.join().expect("answered");
}
