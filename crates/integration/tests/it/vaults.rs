//! Credentials of vaults, used by real programs from inside a real sandbox against real private servers:
//! git over HTTPS, an npm registry, a PyPI index, MCP servers. What they are worth is nowhere inside, and
//! nowhere in what is kept.

use std::io::{BufRead as _, BufReader};
use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use integration::{Agent, Session, Setup, World, skip, until};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::secrets::holding;

/// Of the server's own loopback, and not among the addresses that programs reach without a proxy.
const ADDRESS: &str = "127.0.0.2";

/// This machine's own name where it stands for loopback, and its address; npm knows no addresses behind a
/// proxy.
fn name() -> (String, String) {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim().to_ascii_lowercase();
    let found = (name.as_str(), 0).to_socket_addrs().into_iter().flatten();
    let mut loopback = found.filter(|address| address.is_ipv4() && address.ip().is_loopback());
    match loopback.next() {
        Some(address) if name != "localhost" => (name, address.ip().to_string()),
        _ => (ADDRESS.to_owned(), ADDRESS.to_owned()),
    }
}

/// Tokens as they are in the world: nothing else looks like them.
const TOKEN: &str = "tok-Zq8vB3nX1mKw7RtY5uLp";
const RENEWED: &str = "tok-Hd2sF6gJ9kLq4WeR8tYu";

/// The private hosts. They end with this.
struct Hosts {
    process: Child,
    directory: TempDir,
    certificate: PathBuf,
    name: String,
    port: u16,
}

impl Hosts {
    /// None, with a printed reason, where a program is missing.
    fn start() -> Option<Hosts> {
        for program in ["python3", "git", "npm", "curl"] {
            if !Path::new("/usr/bin").join(program).exists() {
                skip(&format!("/usr/bin/{program} is not there"));
                return None;
            }
        }
        let (name, address) = name();
        let directory = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.clone()]).unwrap();
        let certificate = directory.path().join("host.pem");
        std::fs::write(&certificate, params.self_signed(&key).unwrap().pem()).unwrap();
        let key_file = directory.path().join("host.key");
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        let script = directory.path().join("hosts.py");
        std::fs::write(&script, include_str!("vaults/hosts.py")).unwrap();
        repository(directory.path());
        let mut process = Command::new("/usr/bin/python3")
            .arg(&script)
            .arg(directory.path())
            .arg(address)
            .args([&certificate, &key_file])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut port = String::new();
        let output = process.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut port).unwrap();
        let hosts = Hosts {
            process,
            certificate,
            name,
            port: port.trim().parse().unwrap(),
            directory,
        };
        hosts.tell("token", TOKEN);
        Some(hosts)
    }

    fn tell(&self, name: &str, text: &str) {
        std::fs::write(self.directory.path().join(name), text).unwrap();
    }

    fn heard(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("heard")).unwrap_or_default()
    }

    fn authority(&self) -> String {
        format!("{}:{}", self.name, self.port)
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.authority())
    }

    /// A world that reaches the hosts.
    async fn world(&self) -> Option<World> {
        Setup::default()
            .set("sandbox.disk_mib", 256)
            .set("egress.private_hosts", self.authority())
            .set("egress.authorities_file", self.certificate.display())
            .log("debug")
            .start()
            .await
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A repository with one commit, as its host keeps it.
fn repository(directory: &Path) {
    let script = "git init -q -b main work && cd work && echo first > file && git add file \
        && git -c user.name=a -c user.email=a@b.c commit -q -m first && cd .. \
        && mkdir git && git clone -q --bare work git/repo.git \
        && git -C git/repo.git config http.receivepack true";
    let done = Command::new("/bin/sh")
        .arg("-c")
        .arg(script)
        .current_dir(directory)
        .status();
    assert!(done.unwrap().success());
}

/// A vault with these credentials; its id and theirs.
async fn vault(world: &World, credentials: &[Value]) -> (String, Vec<String>) {
    let client = &world.client;
    let vault = client
        .post("/v1/vaults", &json!({"display_name": "private"}))
        .await
        .ok();
    let vault = vault["id"].as_str().unwrap().to_owned();
    let mut ids = Vec::new();
    for auth in credentials {
        let path = format!("/v1/vaults/{vault}/credentials");
        let made = client.post(&path, &json!({"auth": auth})).await.ok();
        ids.push(made["id"].as_str().unwrap().to_owned());
    }
    (vault, ids)
}

/// A session with a vault in an environment that reaches the hosts.
async fn session(world: &World, hosts: &Hosts, vault: &str, agent: Option<Value>) -> Arc<Session> {
    let rules = json!([{"action": "allow", "host": hosts.name, "ports": [hosts.port]}]);
    let config =
        json!({"type": "cloud", "networking": {"type": "limited"}, "egress": {"rules": rules}});
    let environment = json!({"name": "private", "config": config});
    let environment = world
        .client
        .post("/v1/environments", &environment)
        .await
        .ok();
    let mut more = json!({"environment_id": environment["id"], "vault_ids": [vault]});
    if let Some(agent) = agent {
        let agent = world.client.post("/v1/agents", &agent).await.ok();
        more["agent"] = agent["id"].clone();
    }
    world.session_with(&Agent::free(), &more).await
}

async fn run(session: &Session, command: &str) -> String {
    let call = json!({"command": command});
    let turn = session.turn(&format!("@tool Bash {call}\n@say done")).await;
    turn.only("agent.tool_result").to_string()
}

/// Looks for a value everywhere that a session, a client or an operator can.
async fn hunt(mut world: World, session: &Session, values: &[&str]) {
    let look = "env; cat /proc/*/environ /proc/*/cmdline 2>/dev/null | tr '\\0' '\\n'; \
         grep -rIsh . /workspace /home /tmp --exclude-dir=.claude | head -c 60000";
    let inside = run(session, look).await;
    let mut texts = vec![
        ("the sandbox", inside),
        ("the log", world.log()),
        ("the events", session.list().await.join("\n")),
        ("the stream", format!("{:?}", session.watch.frames())),
    ];
    for path in [
        "/v1/sessions",
        "/v1/agents",
        "/v1/environments",
        "/v1/vaults",
        "/v1/audit?limit=1000",
    ] {
        texts.push(("an answer", world.client.get(path).await.text));
    }
    let asked = world.asked();
    texts.push((
        "the model",
        asked.iter().map(|asked| asked.json().to_string()).collect(),
    ));
    for (what, text) in &texts {
        for value in values {
            assert!(!text.contains(value), "{what} shows {value}: {text}");
        }
    }
    world.stop().await;
    let mut found = Vec::new();
    for value in values {
        holding(world.data.parent().unwrap(), value, &mut found);
    }
    assert_eq!(found, [] as [String; 0]);
    world.restart().await;
    world.end().await;
}

fn variable(hosts: &Hosts, name: &str) -> Value {
    let allowed = json!({"type": "limited", "allowed_hosts": [hosts.authority()]});
    json!({"type": "environment_variable", "secret_name": name, "secret_value": TOKEN, "networking": allowed})
}

#[tokio::test]
async fn private_git_npm_and_pypi_work_without_a_token_inside() {
    let Some(hosts) = Hosts::start() else { return };
    let Some(world) = hosts.world().await else {
        return;
    };
    let (vault, credentials) = vault(&world, &[variable(&hosts, "PRIVATE_TOKEN")]).await;
    let session = session(&world, &hosts, &vault, None).await;
    let shown = run(&session, "echo \"it is $PRIVATE_TOKEN\"").await;
    assert!(shown.contains("it is hostel_slot_"), "{shown}");

    let authority = hosts.authority();
    let clone = format!(
        "cd /workspace && git clone https://agent:$PRIVATE_TOKEN@{authority}/git/repo.git && cd repo && cat file \
         && head -c 3000000 /dev/urandom > big && git add big && git -c user.name=a -c user.email=a@b.c commit -qm second \
         && git push origin main && git ls-remote origin main | cut -c1-40 && git rev-parse HEAD && git fsck --full && echo all went well"
    );
    let result = run(&session, &clone).await;
    assert!(
        result.contains("first") && result.contains("all went well"),
        "{result}"
    );

    let npm = format!(
        "mkdir -p /workspace/node && cd /workspace/node && echo '//{authority}/npm/:_authToken=${{PRIVATE_TOKEN}}' > .npmrc \
         && npm install --registry https://{authority}/npm/ --no-audit --no-fund --no-update-notifier acme-tool \
         && node -e 'console.log(require(\"acme-tool\"))'"
    );
    if hosts.name == ADDRESS {
        skip("npm needs a name of this machine that stands for loopback");
    } else {
        let result = run(&session, &npm).await;
        assert!(result.contains("acme-tool is here"), "{result}");
    }

    let pip = format!(
        "cd /workspace && /usr/bin/python3 -m pip install --no-cache-dir --disable-pip-version-check --target lib \
         --index-url https://__token__:$PRIVATE_TOKEN@{authority}/pypi/simple acme-lib \
         && PYTHONPATH=lib /usr/bin/python3 -c 'import acme_lib; print(acme_lib.SAYS)'"
    );
    let result = run(&session, &pip).await;
    assert!(result.contains("acme-lib is here"), "{result}");

    // A host that says back what it was asked.
    let echo = format!(
        "curl -sSi -H \"Authorization: Bearer $PRIVATE_TOKEN\" -d \"body $PRIVATE_TOKEN\" {}",
        hosts.url("/echo")
    );
    let result = run(&session, &echo).await;
    assert!(
        result.contains("Bearer hostel_slot_") && result.contains("body hostel_slot_"),
        "{result}"
    );
    assert!(
        hosts
            .heard()
            .contains(&format!("POST /echo 200 Bearer {TOKEN}")),
        "{}",
        hosts.heard()
    );

    // The token is changed; what the sandbox has stays good, at once.
    hosts.tell("token", RENEWED);
    let list = "git -C /workspace/repo ls-remote origin main";
    let refused = run(&session, list).await;
    assert!(!refused.contains("refs/heads/main"), "{refused}");
    let path = format!("/v1/vaults/{vault}/credentials/{}", credentials[0]);
    let change = json!({"auth": {"type": "environment_variable", "secret_value": RENEWED}});
    world.client.post(&path, &change).await.ok();
    let result = run(&session, list).await;
    assert!(result.contains("refs/heads/main"), "{result}");

    let audit = world
        .client
        .get(&format!("/v1/audit?session_id={}&limit=1000", session.id))
        .await
        .ok();
    let records = audit["data"].as_array().unwrap();
    let carried = records
        .iter()
        .filter(|record| record["credential_id"] == credentials[0].as_str());
    assert!(carried.count() >= 6, "{records:#?}");

    world
        .client
        .post(&format!("{path}/archive"), &json!({}))
        .await
        .ok();
    let result = run(
        &session,
        &format!(
            "curl -sS -H \"X-Key: $PRIVATE_TOKEN\" {}",
            hosts.url("/echo")
        ),
    )
    .await;
    // Nothing is bound there any more, so the request is not looked at and carries what the sandbox has.
    assert!(result.contains("hostel_slot_"), "{result}");
    hunt(world, &session, &[TOKEN, RENEWED]).await;
}

fn with_server(hosts: &Hosts) -> Value {
    let allow = json!({"permission_policy": {"type": "always_allow"}});
    json!({"name": "private", "model": "claude-sonnet-5",
        "mcp_servers": [{"type": "url", "name": "private", "url": hosts.url("/mcp")}],
        "tools": [
            {"type": "agent_toolset_20260401", "default_config": allow},
            {"type": "mcp_toolset", "mcp_server_name": "private", "default_config": allow}]})
}

const ASK: &str = "@tool mcp__private__whoami {}\n@say done";

#[tokio::test]
async fn a_private_mcp_server_is_asked_with_a_token_that_claude_does_not_know() {
    let Some(hosts) = Hosts::start() else { return };
    let Some(world) = hosts.world().await else {
        return;
    };
    let auth =
        json!({"type": "static_bearer", "mcp_server_url": hosts.url("/mcp/"), "token": TOKEN});
    let (vault, credentials) = vault(&world, &[auth]).await;
    let session = session(&world, &hosts, &vault, Some(with_server(&hosts))).await;
    let turn = session.turn(ASK).await;
    let result = turn.only("agent.mcp_tool_result").to_string();
    // The server said back what it was shown; what came in has the credential's name in its place.
    assert!(
        result.contains(&format!("you showed Bearer {}", credentials[0])),
        "{result}"
    );
    assert!(
        hosts
            .heard()
            .contains(&format!("POST /mcp 200 Bearer {TOKEN}")),
        "{}",
        hosts.heard()
    );

    // One that is wrong is told in the session's log, which goes on.
    hosts.tell("token", RENEWED);
    session.turn(ASK).await;
    let told = until("the session says that the server refused", || {
        let frames = session.watch.frames();
        let mut all = frames.iter().map(|frame| format!("{frame:?}"));
        all.find(|frame| frame.contains("mcp_authentication_failed_error"))
    });
    let told = told.await;
    assert!(
        told.contains("mcp_server_name") && told.contains("retrying"),
        "{told}"
    );
    session.turn("@say fine").await.answered("fine");
    hunt(world, &session, &[TOKEN, RENEWED]).await;
}

#[tokio::test]
async fn tokens_of_an_mcp_server_are_renewed_before_they_end_and_when_they_are_refused() {
    let Some(hosts) = Hosts::start() else { return };
    let Some(world) = hosts.world().await else {
        return;
    };
    let (first, second) = ("tok-Pa5sW0rD1sN0tH3re-one", "tok-Pa5sW0rD1sN0tH3re-two");
    let refresh = json!({"client_id": "hostel", "refresh_token": "refresh-Mn4bV7cX0zLk2JhG",
        "token_endpoint": hosts.url("/token"), "token_endpoint_auth": {"type": "none"}});
    let auth = json!({"type": "mcp_oauth", "mcp_server_url": hosts.url("/mcp"), "access_token": TOKEN,
        "expires_at": "2026-01-01T00:00:00Z", "refresh": refresh});
    hosts.tell("token", "nobody has this one");
    hosts.tell("refresh", "refresh-Mn4bV7cX0zLk2JhG");
    hosts.tell("next", first);
    let (vault, credentials) = vault(&world, &[auth]).await;
    let session = session(&world, &hosts, &vault, Some(with_server(&hosts))).await;
    let result = session
        .turn(ASK)
        .await
        .only("agent.mcp_tool_result")
        .to_string();
    assert!(result.contains("you showed Bearer vcrd_"), "{result}");
    let heard = hosts.heard();
    assert!(
        !heard.contains(TOKEN),
        "the one that had ended was not shown: {heard}"
    );
    assert_eq!(heard.matches("POST /token 200").count(), 1, "{heard}");

    // The server forgets the token, long before its end.
    hosts.tell("token", "nobody has this one");
    hosts.tell("next", second);
    let result = session
        .turn(ASK)
        .await
        .only("agent.mcp_tool_result")
        .to_string();
    assert!(result.contains("you showed Bearer vcrd_"), "{result}");
    let heard = hosts.heard();
    assert_eq!(heard.matches("POST /token 200").count(), 2, "{heard}");
    assert!(heard.contains(&format!("200 Bearer {second}")), "{heard}");

    let path = format!(
        "/v1/vaults/{vault}/credentials/{}/mcp_oauth_validate",
        credentials[0]
    );
    let valid = world.client.post(&path, &json!({})).await.ok();
    assert_eq!(
        (&valid["status"], &valid["refresh"]),
        (&json!("valid"), &Value::Null)
    );
    let values = [
        TOKEN,
        first,
        second,
        "refresh-Mn4bV7cX0zLk2JhG",
        "two-refresh",
    ];
    hunt(world, &session, &values).await;
}
