//! Every secret that a server can be given, and every place where something is kept or shown: agents hunt
//! for them, everything that can fail does, and then all of it is searched.
//!
//! A decoy takes the way that agents have to each of these places. Where it is not found, the search
//! would not have found a secret either.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use integration::{Agent, Canaries, MODEL_KEY, Process, Session, Setup, World, until};
use rcgen::{CertificateParams, KeyPair};
use reqwest::Method;
use serde_json::{Value, json};
use snapshot::{Key, Snapshots};
use store::Store;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What the agent may know: it is on the wrong side from the start.
const DECOY: &str = "decoy-7b1f40d92ce85a63";
/// A key that opens nothing, as somebody mistypes one.
const MISTYPED: &str = "hk-mistyped-5e90c1d47fa2b863";
/// What credentials of a vault are worth: of a variable, before and after a change, of a server, and of one
/// with a token that is renewed.
const CREDENTIALS: [&str; 6] = [
    "cred-variable-4f7a91c0be26d835",
    "cred-changed-a03d58e7f1946bc2",
    "cred-bearer-6be29f40d17c83a5",
    "cred-access-e81c04b79d36fa52",
    "cred-refresh-2d95b7f3c60a48e1",
    "cred-client-97d1e3a80c5bf264",
];
/// Of the operator's, in the server's environment for something else.
const OPERATORS: &str = "operators-own-c83a5d17f29e604b";

/// Prints whatever it can see that looks like a key: files, environments, arguments, and the memory of
/// every process that lets itself be read.
const HUNT: &str = r#"
import glob, os, re
looks = re.compile(rb"(sk-ant-api03-|hk-|hostel_|operators-own-|cred-|-----BEGIN )[A-Za-z0-9_-]{4,100}")
def look(where, data):
    for found in set(m.group() for m in looks.finditer(data)):
        if b"placeholder" not in found: print(where, found)
for name in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline"):
    try: look(name, open(name, "rb").read())
    except OSError as error: pass
for maps in glob.glob("/proc/[0-9]*/maps"):
    try:
        lines, memory = open(maps).read().splitlines(), open(maps[:-4] + "mem", "rb")
    except OSError as error: continue
    for line in lines:
        low, high = [int(part, 16) for part in line.split()[0].split("-")]
        if " rw" in line and high - low < 1 << 28:
            try: memory.seek(low); look(maps, memory.read(high - low))
            except (OSError, ValueError, OverflowError): pass
for top in ["/home", "/workspace", "/tmp", "/etc", "/opt", "/mnt", "/run", "/dev/shm", "/var"]:
    for base, _, names in os.walk(top):
        for name in names:
            path = os.path.join(base, name)
            try:
                if os.path.isfile(path) and os.path.getsize(path) < 1 << 26: look(path, open(path, "rb").read())
            except OSError: pass
print("hunted", len(os.listdir("/proc")))
"#;

/// Files that hold secrets, outside of everything that the server has.
struct Kept {
    dir: TempDir,
    snapshot: String,
    vault: String,
    tls: String,
}

impl Kept {
    fn new() -> Kept {
        let dir = tempfile::tempdir().unwrap();
        let snapshot = "7d3e91b04fa8c625e1700d9b8acf4263".repeat(2);
        let vault = "b86f20e5d4139ac7f02e7d81695cb3a4".repeat(2);
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let pem = key.serialize_pem();
        for (name, text) in [
            ("snapshot", snapshot.as_str()),
            ("vault", &vault),
            ("tls.key", &pem),
            ("tls.crt", &certificate.pem()),
        ] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        // The line of the key that is no header of every key.
        let tls = pem.lines().nth(2).unwrap().to_owned();
        Kept {
            dir,
            snapshot,
            vault,
            tls,
        }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }
}

/// What was found, by place.
#[derive(Default)]
struct Found(BTreeMap<&'static str, BTreeSet<String>>);

impl Found {
    fn add(&mut self, place: &'static str, names: BTreeSet<String>) {
        self.0.entry(place).or_default().extend(names);
    }
}

/// Arguments and environments of all that the server starts, however short it lives.
struct Sampled {
    texts: Arc<Mutex<BTreeSet<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Sampled {
    fn of(server: Process) -> Sampled {
        let texts: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let (seen, own) = (texts.clone(), server.arguments().join(" "));
        let task = tokio::spawn(async move {
            let mut often = tokio::time::interval(Duration::from_millis(3));
            loop {
                often.tick().await;
                for process in server.descendants() {
                    let arguments = process.arguments().join(" ");
                    // Between fork and exec it is the server itself, with its memory.
                    if arguments == own {
                        continue;
                    }
                    let path = format!("/proc/{}/environ", process.pid);
                    let bytes = std::fs::read(path).unwrap_or_default();
                    let variables = String::from_utf8_lossy(&bytes);
                    seen.lock()
                        .unwrap()
                        .insert(format!("{arguments}\n{variables}"));
                }
            }
        });
        Sampled { texts, task }
    }

    fn end(self) -> String {
        self.task.abort();
        let texts = self.texts.lock().unwrap();
        texts.iter().cloned().collect::<Vec<_>>().join("\n")
    }
}

async fn bash(session: &Session, command: &str) -> Value {
    let call = json!({"command": command});
    let turn = session
        .turn(&format!("@tool Bash {call}\n@say {{{{result}}}}"))
        .await;
    turn.only("agent.tool_result")
}

/// Everything of this sandbox that an agent can write to, and all that runs in it.
fn search_sandboxes(world: &World, canaries: &Canaries, found: &mut Found) {
    for sandbox in integration::Sandbox::all(&world.data) {
        for place in [
            "/workspace",
            "/home",
            "/tmp",
            "/mnt",
            "/dev/shm",
            "/etc",
            "/run",
        ] {
            found.add(
                "files of a sandbox",
                canaries.of_files(&sandbox.file(place)),
            );
        }
        found.add("the guest", canaries.of_process(sandbox.guest));
        for process in sandbox.guest.descendants() {
            found.add("processes of a sandbox", canaries.of_process(process));
        }
    }
}

/// Requests that are wrong in every way, with keys where none belong.
async fn wrong_requests(world: &World, session: &Session) -> Vec<String> {
    let routes = [
        "/v1/agents",
        "/v1/agents/x",
        "/v1/environments",
        "/v1/environments/x",
        "/v1/sessions",
        "/v1/files",
        "/v1/files/x/content",
        "/v1/audit",
        "/v1/models",
        "/v1/models/x",
        "/v1/workspaces",
        "/v1/workspaces/x",
        "/v1/api_keys",
        "/v1/api_keys/x",
        "/v1/vaults",
        "/v1/nothing",
        "/nothing",
    ];
    let own = [
        session.path(""),
        session.path("/events"),
        session.path("/events/stream"),
        session.path("/fork"),
    ];
    let mut said = Vec::new();
    for path in routes.iter().map(|path| (*path).to_owned()).chain(own) {
        for method in [Method::GET, Method::POST, Method::DELETE, Method::PUT] {
            // A good session is not to be deleted by the way.
            if method == Method::DELETE && path == session.path("") {
                continue;
            }
            let query = format!("{path}?unknown={DECOY}");
            let body = json!({"unknown": DECOY, "name": 7});
            for client in [world.client.clone(), world.client.with_key(MISTYPED)] {
                let request = client.request(method.clone(), &query).json(&body);
                let request = request
                    .header("x-api-key", MISTYPED)
                    .header("cookie", MISTYPED);
                said.push(client.send(request).await.text);
            }
        }
    }
    let torn = world
        .client
        .request(Method::POST, "/v1/agents")
        .body("{\"name\":");
    said.push(world.client.send(torn).await.text);
    said.push(
        world
            .client
            .get(&format!("/v1/sessions/{DECOY}"))
            .await
            .text,
    );
    said
}

/// What every list and record says.
async fn answers(world: &World, session: &Session) -> Vec<String> {
    let mut said = Vec::new();
    for path in [
        "/v1/sessions",
        "/v1/agents",
        "/v1/environments",
        "/v1/files",
        "/v1/audit",
        "/v1/models",
        "/v1/workspaces",
        "/v1/api_keys",
        "/v1/vaults",
        "/healthz",
        "/readyz",
    ] {
        said.push(world.client.get(path).await.text);
    }
    said.push(session.show().await.to_string());
    said.push(session.list().await.join("\n"));
    said
}

/// The files of every snapshot as a sandbox would get them.
async fn restored(data: &Path, key: &str) -> TempDir {
    let bytes = (0..64)
        .step_by(2)
        .map(|at| u8::from_str_radix(&key[at..at + 2], 16).unwrap());
    let bytes: Vec<u8> = bytes.collect();
    let snapshots = Snapshots::open(
        data.join("snapshots"),
        Some(Key::new(bytes.try_into().unwrap())),
    )
    .unwrap();
    let (store, dir) = (Store::open(data).unwrap(), tempfile::tempdir().unwrap());
    for line in snapshots.lines().await.unwrap() {
        for row in store.snapshots().list(&line).await.unwrap() {
            let id = row.snapshot.id.parse().unwrap();
            let (ours, mut theirs) = tokio::io::duplex(1 << 16);
            let all = async {
                let mut all = Vec::new();
                // The end of a tree waits for an answer, which is its own.
                while theirs.read_buf(&mut all).await.unwrap() > 0 {
                    if let Some(end) = last_frame(&all) {
                        theirs.write_all(&end).await.unwrap();
                        break;
                    }
                }
                all
            };
            let (all, restored) = tokio::join!(all, snapshots.restore(&line, &id, None, ours));
            restored.unwrap();
            std::fs::write(dir.path().join(format!("{line}-{id}")), all).unwrap();
        }
    }
    dir
}

/// The frame that ends a tree, when it has come.
fn last_frame(mut bytes: &[u8]) -> Option<Vec<u8>> {
    const END: u8 = 0x57;
    while let Some([kind, length @ ..]) = bytes.first_chunk::<5>() {
        let length = 5 + u32::from_be_bytes(*length) as usize;
        if bytes.len() < length {
            return None;
        }
        if *kind == END {
            return Some(bytes[..length].to_vec());
        }
        bytes = &bytes[length..];
    }
    None
}

/// A vault with a credential of each kind, one of them changed since.
async fn vault(world: &World) -> String {
    let [first, changed, bearer, access, refresh, client] = CREDENTIALS;
    let vault = json!({"display_name": "private"});
    let vault = world.client.post("/v1/vaults", &vault).await.ok();
    let vault = vault["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/vaults/{vault}/credentials");
    let post = async |path: &str, auth: Value| {
        let made = world.client.post(path, &json!({"auth": auth})).await.ok();
        made["id"].as_str().unwrap().to_owned()
    };
    let allowed = json!({"type": "limited", "allowed_hosts": ["private.example"]});
    let variable = json!({"type": "environment_variable", "secret_name": "PRIVATE",
        "secret_value": first, "networking": allowed});
    let variable = post(&path, variable).await;
    let change = json!({"type": "environment_variable", "secret_value": changed});
    post(&format!("{path}/{variable}"), change).await;
    let server = json!({"type": "static_bearer", "mcp_server_url": "https://mcp.example/a", "token": bearer});
    post(&path, server).await;
    let client = json!({"type": "client_secret_post", "client_secret": client});
    let refresh = json!({"client_id": "hostel", "refresh_token": refresh,
        "token_endpoint": "https://mcp.example/token", "token_endpoint_auth": client});
    let renewed = json!({"type": "mcp_oauth", "mcp_server_url": "https://mcp.example/b",
        "access_token": access, "expires_at": "2099-01-01T00:00:00Z", "refresh": refresh});
    post(&path, renewed).await;
    vault
}

/// The agent's hunt, with the decoy in each place that it can reach.
async fn hunt(session: &Session) {
    let plant = format!(
        "echo {DECOY} > /workspace/plain; echo {DECOY} | base64 > /tmp/encoded; \
         (D={DECOY} setsid sleep 600 & ) ; curl -s http://{DECOY}.example/ ; \
         curl -s -H \"authorization: $PRIVATE\" https://private.example/$PRIVATE; \
         echo \"$PRIVATE\" > /workspace/private; python3 - <<'P'\n{HUNT}\nP"
    );
    let result = bash(session, &plant).await.to_string();
    assert!(result.contains("hunted"), "{result}");
}

/// Whatever can go wrong in a turn does.
async fn go_wrong(world: &mut World, session: &Session) {
    for script in [
        "@error 400 invalid_request_error",
        "@error 401 authentication_error times=1\n@say on",
        "@error 500 api_error times=1\n@say on",
        "@say half\n@cut times=1\n@say on",
        "@break overloaded_error times=1\n@say on",
    ] {
        session.turn(script).await;
    }
    bash(
        session,
        "head -c 100M /dev/zero > /workspace/full; rm -f /workspace/full; echo over",
    )
    .await;
    let slow = "@slow 40\n@repeat 60 word";
    session.say(slow).await;
    session.event("event_delta").await;
    world.sandbox().await.claude().await.kill_and_wait().await;
    session.idle().await;
    session.say(slow).await;
    session.event("event_delta").await;
    world.sandbox().await.guest.kill_and_wait().await;
    session.idle().await;
    session.say(slow).await;
    session.event("event_delta").await;
    world.crash().await;
    world.deserted().await;
    world.restart().await;
    session.idle().await;
}

#[tokio::test]
async fn no_secret_is_anywhere_but_where_it_belongs() {
    let kept = Kept::new();
    // Small disks, because every byte of their images is read.
    let setup = Setup::default()
        .set("sandbox.disk_mib", 64)
        .set("snapshot_key_file", kept.path("snapshot"))
        .set("vaults.key", format!("file:{}", kept.path("vault")))
        .set("tls.key_file", kept.path("tls.key"))
        .set("tls.cert_file", kept.path("tls.crt"))
        .variable("OPERATORS_OWN", OPERATORS)
        .log("trace");
    let Some(mut world) = setup.start().await else {
        return;
    };
    let issued = json!({"name": "issued", "scope": "sessions"});
    let issued = world.client.post("/v1/api_keys", &issued).await.ok();
    let issued_key = issued["key"]
        .as_str()
        .expect("a key is shown once")
        .to_owned();
    let own = world.client.key().to_owned();
    world
        .client
        .with_key(&issued_key)
        .get("/v1/sessions")
        .await
        .ok();
    let vault = vault(&world).await;
    let mut secrets = vec![
        ("the model's key", MODEL_KEY),
        ("the configured key", own.as_str()),
        ("an issued key", &issued_key),
        ("the snapshots' key", &kept.snapshot),
        ("the vaults' key", &kept.vault),
        ("the key of TLS", &kept.tls),
        ("a variable of the operator", OPERATORS),
        ("a mistyped key", MISTYPED),
    ];
    secrets.extend(CREDENTIALS.map(|value| ("a credential", value)));
    let canaries = Canaries::new(&secrets);
    let decoy = Canaries::new(&[("the decoy", DECOY)]);
    let (mut secret, mut planted) = (Found::default(), Found::default());

    let sampled = Sampled::of(world.server());
    let more = json!({"vault_ids": [vault]});
    let session = world.session_with(&Agent::free(), &more).await;
    hunt(&session).await;
    let credential = format!("/v1/vaults/{vault}/credentials");
    search_sandboxes(&world, &canaries, &mut secret);
    search_sandboxes(&world, &decoy, &mut planted);
    let started = sampled.end();
    go_wrong(&mut world, &session).await;
    saved(&world).await;
    let texts = [
        (
            "answers to wrong requests",
            wrong_requests(&world, &session).await.join("\n"),
        ),
        ("answers", answers(&world, &session).await.join("\n")),
        ("answers", world.client.get(&credential).await.text),
        ("the stream", format!("{:?}", session.watch.frames())),
        (
            "requests to the model",
            world
                .asked()
                .iter()
                .map(|request| request.json().to_string())
                .collect(),
        ),
        ("arguments and environments", started),
        ("the log", world.log()),
    ];
    assert!(
        world.log().contains("TRACE"),
        "the log is as talkative as it can be"
    );
    for (place, text) in &texts {
        secret.add(place, canaries.of_text(text));
        planted.add(place, decoy.of_text(text));
    }
    world.stop().await;

    let home = world.data.parent().unwrap().to_owned();
    let tree = restored(&world.data, &kept.snapshot).await;
    for (place, path) in [
        ("the data directory", data_without_cli(&home)),
        ("snapshots, opened", vec![tree.path().to_owned()]),
    ] {
        for path in path {
            secret.add(place, canaries.of_files(&path));
            planted.add(place, decoy.of_files(&path));
        }
    }
    let sealed = decoy.of_files(&world.data.join("snapshots"));
    assert!(sealed.is_empty(), "snapshots are sealed: {sealed:?}");
    let nothing: Vec<_> = secret
        .0
        .iter()
        .filter(|(_, names)| !names.is_empty())
        .collect();
    assert!(nothing.is_empty(), "{nothing:#?}");
    // What the guest carries passes through its memory, and need not stay there.
    let blind = planted
        .0
        .iter()
        .filter(|(place, names)| names.is_empty() && **place != "the guest");
    let blind: Vec<_> = blind.map(|(place, _)| place).collect();
    assert!(blind.is_empty(), "nothing would be found in {blind:?}");
    world.restart().await;
    world.end().await;
}

/// A session that is saved as soon as nobody talks to it.
async fn saved(world: &World) {
    let environment = world.environment(&json!({"idle_timeout": 0.2})).await;
    let agent = world.agent(&Agent::free()).await;
    let session = world.hosted(&agent, &environment).await;
    bash(
        &session,
        &format!("echo {DECOY} > /workspace/saved; env > /workspace/env"),
    )
    .await;
    let line = world.data.join("snapshots").join(&session.id);
    until("a snapshot", || line.is_dir().then_some(())).await;
}

/// What lies in a server's home but the claude CLI, which is the same for all tests.
fn data_without_cli(home: &Path) -> Vec<PathBuf> {
    let below = |dir: &Path| {
        std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect::<Vec<_>>()
    };
    let data = home.join("data");
    let mut all = below(&data);
    all.retain(|path| !path.ends_with("cli"));
    all.extend(below(home).into_iter().filter(|path| *path != data));
    all
}
