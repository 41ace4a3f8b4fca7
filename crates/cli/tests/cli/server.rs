//! The server as a process: ready line, first key, refusals to start, its end. No sandbox is made.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::home::{Home, Ran};

/// A server that is killed if a test forgets to end it.
struct Server {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Server {
    fn start(mut command: Command) -> Server {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let lines = BufReader::new(child.stdout.take().expect("piped"));
        Server { child, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines
            .read_line(&mut line)
            .expect("the server writes text");
        line.trim().to_owned()
    }

    /// The URL of its ready line.
    fn ready(&mut self) -> String {
        let line = self.line();
        line.strip_prefix("hostel is ready on ")
            .unwrap_or_else(|| panic!("not the ready line: {line:?}"))
            .to_owned()
    }

    /// Asks it to end, and gives the exit code and what else it wrote.
    fn end(mut self) -> (i32, String) {
        let pid = self.child.id().to_string();
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .expect("kill is there");
        let mut rest = String::new();
        self.lines
            .read_to_string(&mut rest)
            .expect("the server writes text");
        (
            self.child
                .wait()
                .expect("it was started")
                .code()
                .expect("it ended by itself"),
            rest,
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails when it has ended, which is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(home: &Home, more: &[&str]) -> Command {
    home.hostel(
        &[
            &[
                "serve",
                "--data",
                "data",
                "--listen",
                "127.0.0.1:0",
                "--offline",
            ],
            more,
        ]
        .concat(),
    )
}

#[test]
fn the_first_key_is_shown_once_and_opens_the_server() {
    let home = Home::new();
    let mut server = Server::start(serve(&home, &[]));
    let first = server.line();
    let key = first
        .strip_prefix("the first key, shown only now: ")
        .expect("the first line shows the key")
        .to_owned();
    let url = server.ready();
    let mut ps = home.hostel(&["ps", "--server", &url, "--json"]);
    ps.env("HOSTEL_API_KEY", &key);
    assert_eq!(Ran::of(ps).code, 0);
    let started = Instant::now();
    assert_eq!(server.end(), (0, String::new()));
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "a server without work ends at once"
    );

    let mut again = Server::start(serve(&home, &[]));
    again.ready();
    assert_eq!(again.end().0, 0);
}

#[test]
fn tenants_and_their_keys_are_managed_from_the_command_line() {
    let home = Home::new();
    let mut command = serve(&home, &[]);
    command.env("HOSTEL_API_KEY", "hk-test");
    let mut server = Server::start(command);
    let url = server.ready();
    let run = |key: &str, words: &[&str]| {
        let mut command = home.hostel(&[words, &["--server", &url, "--json"]].concat());
        command.env("HOSTEL_API_KEY", key);
        Ran::of(command)
    };
    let value = |ran: Ran, key: &str| ran.json()[key].as_str().expect(key).to_owned();
    let limit = ["workspaces", "create", "w", "--limit", "max_sessions=3"];
    let workspace = value(run("hk-test", &limit), "id");
    let create = ["keys", "create", "ci", "--workspace", &workspace];
    let made = run("hk-test", &create).json();
    let (id, key) = (
        made["id"].as_str().expect("id"),
        made["key"].as_str().expect("key"),
    );
    assert_eq!(run(key, &["ps"]).code, 0);
    assert_eq!(
        run(key, &["keys", "list"]).code,
        1,
        "only admin keys list keys"
    );
    let next = value(run("hk-test", &["keys", "rotate", id]), "key");
    assert_eq!((run(key, &["ps"]).code, run(&next, &["ps"]).code), (1, 0));
    let listed = run("hk-test", &["keys", "list"]);
    assert_eq!(listed.out.lines().count(), 2);
    assert!(!listed.out.contains(key) && !listed.out.contains(&next));
    for line in listed.out.lines() {
        let key: serde_json::Value = serde_json::from_str(line).expect("one key a line");
        let id = key["id"].as_str().expect("id");
        assert_eq!(run("hk-test", &["keys", "revoke", id]).code, 0);
    }
    assert_eq!(run(&next, &["ps"]).code, 1);
    let set = [
        "workspaces",
        "set",
        &workspace,
        "--limit",
        "max_sessions=none",
    ];
    assert!(run("hk-test", &set).json()["limits"]["max_sessions"].is_null());
    assert_eq!(server.end().0, 0);
}

#[test]
fn tls_is_served_and_spoken_by_the_verbs() {
    let home = Home::new();
    let file = |name: &str| {
        let tls = concat!(env!("CARGO_MANIFEST_DIR"), "/../server/tests/http/tls");
        format!("{tls}/{name}")
    };
    let mut command = serve(&home, &[]);
    command
        .env("HOSTEL_API_KEY", "hk-test")
        .env("HOSTEL_TLS_CERT_FILE", file("one.crt"))
        .env("HOSTEL_TLS_KEY_FILE", file("one.key"));
    let mut server = Server::start(command);
    let url = server.ready();
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    for (trusted, code) in [("one.crt", 0), ("two.crt", 1)] {
        let mut ps = home.hostel(&["ps", "--server", &url]);
        ps.env("HOSTEL_API_KEY", "hk-test")
            .env("SSL_CERT_FILE", file(trusted));
        let ran = Ran::of(ps);
        assert_eq!(ran.code, code, "{trusted}: {}", ran.err);
    }
    assert_eq!(server.end().0, 0);
}

#[test]
fn a_second_server_on_the_same_data_is_refused() {
    let home = Home::new();
    let mut command = serve(&home, &[]);
    command.env("HOSTEL_API_KEY", "hk-test");
    let mut server = Server::start(command);
    server.ready();
    let ran = Ran::of(serve(&home, &[]));
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("data"), "{}", ran.err);
    assert_eq!(server.end().0, 0);
}

#[test]
fn a_taken_port_is_told() {
    let home = Home::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let ran = home.run(&["serve", "--data", "data", "--listen", &address, "--offline"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains(&address), "{}", ran.err);
}
