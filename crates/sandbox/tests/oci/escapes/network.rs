//! What a program tries in order to get out by the network (`network.toml`), and what works by the
//! transparent way, with a host that knows one name.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use sandbox::guest_channel::{Arrival, GUEST, Guest, Incoming};
use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};

use super::{
    cell::{connect, run},
    host::Host,
};
use crate::world::{World, id, spec};

/// What attempts are made with. Nobody may wait for an answer.
const TOOLS: &str = r#"
import errno, os, socket, struct, sys
HOST_PORT = int(sys.argv[1])
def slow(): print('nobody refused it'); os._exit(0)
def tcp(host, port):
    family, kind, proto, _, place = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)[0]
    s = socket.socket(family, kind, proto)
    s.settimeout(20)
    try: s.connect(place)
    except socket.timeout: slow()
    return s
def udp(host, port, data):
    family, kind, proto, _, place = socket.getaddrinfo(host, port, 0, socket.SOCK_DGRAM)[0]
    s = socket.socket(family, kind, proto)
    s.settimeout(20)
    s.connect(place)
    try:
        s.send(data)
        return s.recv(2000)
    except socket.timeout: slow()
def ask(name, kind):
    labels = b''.join(bytes([len(l)]) + l.encode() for l in name.split('.'))
    return struct.pack('>HHHHHH', 7, 0x100, 1, 0, 0, 0) + labels + struct.pack('>BHH', 0, kind, 1)
def answered(question):
    answer = udp('127.64.0.1', 53, question)
    if struct.unpack('>H', answer[6:8])[0] == 0: raise OSError('an empty answer')
def device(): return [name for _, name in socket.if_nameindex() if name != 'lo'][0]
"#;

#[derive(Deserialize)]
struct Attempts {
    attempt: Vec<Attempt>,
}

#[derive(Deserialize)]
struct Attempt {
    name: String,
    run: String,
    /// What the host is told.
    #[serde(default)]
    seen: Vec<String>,
    /// The question that the host is asked.
    asked: Option<String>,
    /// Levels at which there is nothing to try, with the reason.
    #[serde(default)]
    lacks: BTreeMap<String, String>,
}

/// What the host was told and asked.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn has(&self, what: &str) -> bool {
        self.0.lock().unwrap().iter().any(|told| told == what)
    }

    fn note(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }
}

/// A host that lets `a.example` be reached on two ports, and says there what it was asked for.
async fn serve(mut incoming: Incoming, told: Told) {
    let mut open = JoinSet::new();
    while let Some(arrival) = incoming.next().await {
        match arrival {
            Arrival::Accepted { .. } => {}
            Arrival::Name {
                name, kind, asker, ..
            } => {
                told.note(format!("{name} {kind}"));
                match (name.as_str(), kind) {
                    ("a.example" | "b.example", 1) => asker.reached_on(vec![80, 22]).await,
                    _ => asker.refused().await,
                }
            }
            Arrival::Reach {
                name, port, mut io, ..
            } => {
                told.note(format!("{name}:{port}"));
                open.spawn(async move {
                    let _ = io
                        .write_all(format!("this is {name}:{port}\n").as_bytes())
                        .await;
                    let mut said = [0; 64];
                    // Whoever says nothing is refused, by an end in the middle.
                    while let Ok(len @ 1..) = io.read(&mut said).await {
                        let _ = io.write_all(&said[..len]).await;
                    }
                    let _ = io.shutdown().await;
                });
            }
            Arrival::Strays { strays, .. } => {
                for stray in strays {
                    let (protocol, address, port) = (stray.protocol, stray.address, stray.port);
                    told.note(format!("{protocol} {address} {port}"));
                }
            }
        }
    }
}

struct Net {
    world: World,
    guest: Guest,
    told: Told,
    _serving: JoinSet<()>,
}

impl Net {
    async fn new(level: &str) -> Option<Self> {
        let runtime = match level {
            "process" => "none",
            "container" => "embedded",
            "gvisor" => "runsc",
            runtime => runtime,
        };
        let world = World::with_guest(runtime, GUEST).await?;
        let (guest, incoming) = connect(&world, &spec("cell")).await;
        let told = Told::default();
        let mut serving = JoinSet::new();
        serving.spawn(serve(incoming, told.clone()));
        Some(Self {
            world,
            guest,
            told,
            _serving: serving,
        })
    }

    async fn end(self) {
        self.world.provider.destroy(&id("cell")).await.unwrap();
        self.world.assert_nothing_left().await;
    }
}

async fn network_attempts_fail(level: &str) {
    let Some(net) = Net::new(level).await else {
        return;
    };
    let _way = net.guest.transparent().await.unwrap();
    let host = Host::now();
    let outside = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = outside.local_addr().unwrap().port().to_string();
    let Attempts { attempt } = toml::from_str(include_str!("network.toml")).unwrap();
    let mut broken = Vec::new();
    for Attempt {
        name,
        run: script,
        lacks,
        ..
    } in &attempt
    {
        if lacks.contains_key(level) {
            continue;
        }
        let script = format!("{TOOLS}\n{script}");
        let done = run(&net.guest, &["/usr/bin/python3", "-c", &script, &port]).await;
        let refused = done.text.contains("OSError") || done.text.contains("Error: [Errno");
        if done.exit.success() || !(refused || done.text.contains("gaierror")) {
            broken.push(format!("{name}: {}: {}", done.exit, done.text));
        }
    }
    assert!(broken.is_empty(), "at level {level}: {broken:#?}");
    let sees = level != "gvisor" && std::path::Path::new("/dev/net/tun").exists();
    if !sees {
        eprintln!("skipped: what is refused is not seen at level {level}");
    }
    for Attempt {
        name,
        seen,
        asked,
        lacks,
        ..
    } in &attempt
    {
        let seen = seen.iter().filter(|_| sees && !lacks.contains_key(level));
        for what in seen.chain(asked) {
            let told = async {
                while !net.told.has(what) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            let waited = tokio::time::timeout(super::cell::PATIENCE, told).await;
            let told = net.told.0.lock().unwrap().clone();
            assert!(
                waited.is_ok(),
                "at level {level}: {name}: {what} is not among {told:#?}"
            );
        }
    }
    net.end().await;
    host.assert_unchanged();
}

/// Programs that know no proxy reach what the host lets them, by name.
async fn names_lead_out(level: &str) {
    let Some(net) = Net::new(level).await else {
        return;
    };
    let script = format!(
        "{TOOLS}\n{}",
        r#"
s = tcp('a.example', 80)
here = s.getpeername()[0]
s.sendall(b'hello')
s.shutdown(socket.SHUT_WR)
said = b''
while True:
    piece = s.recv(100)
    if not piece: break
    said += piece
print(said.decode(), here == socket.gethostbyname('A.Example.'))
print(socket.gethostbyname('a.example') != socket.gethostbyname('b.example'))
print(socket.gethostbyname(socket.gethostname()), socket.gethostbyname('localhost'))
for name in ('no.example', 'a.example.invalid'):
    try: print(socket.gethostbyname(name))
    except socket.gaierror as error: print(error.args[0])
s = socket.create_connection(('127.64.0.1', 53))
question = ask('a.example', 1)
s.sendall(struct.pack('>H', len(question)) + question)
print(s.recv(512)[2:].endswith(socket.inet_aton(socket.gethostbyname('a.example'))))
"#
    );
    let argv = ["/usr/bin/python3", "-c", &script, "0"];
    // Closed, names are not there, and nobody waits for them.
    let before = run(&net.guest, &argv).await;
    assert!(before.text.contains("gaierror"), "{level}: {before:?}");
    let way = net.guest.transparent().await.unwrap();
    let expected = "this is a.example:80\nhello True\nTrue\n127.0.0.1 127.0.0.1\n-2\n-2\nTrue\n";
    for _ in 0..2 {
        let done = run(&net.guest, &argv).await;
        assert_eq!(done.text, expected, "{level}");
    }
    assert!(
        net.guest.transparent().await.is_err(),
        "{level}: open twice"
    );
    drop(way);
    let opens = async {
        while net.guest.transparent().await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(super::cell::PATIENCE, opens)
        .await
        .unwrap();
    net.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn network_attempts_fail_at_level_process() {
    network_attempts_fail("process").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn network_attempts_fail_at_level_container() {
    network_attempts_fail("container").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn network_attempts_fail_at_level_gvisor() {
    network_attempts_fail("gvisor").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_lead_out_at_every_level_and_with_every_runtime() {
    for level in ["process", "container", "runc", "crun", "gvisor"] {
        names_lead_out(level).await;
    }
}
