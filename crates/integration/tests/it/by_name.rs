//! Programs that know no proxy, or are told to use none, reach what the environment allows: by name,
//! through the same decisions, with the same records. Everything else is refused and recorded.

use std::path::Path;
use std::sync::Arc;

use integration::{Agent, Session, Setup, World, skip};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// The host's name, which its server knows from a list of hosts of its own.
const NAME: &str = "out.example";

/// A host that speaks HTTP on 80, HTTP over TLS on 443, and like SSH on 22.
struct Host {
    directory: tempfile::TempDir,
    _tasks: JoinSet<()>,
}

impl Host {
    async fn start() -> Host {
        // An address of loopback that no test beside this one has.
        let process = std::process::id();
        let ip = format!("127.77.{}.{}", process / 250 % 250 + 1, process % 250 + 1);
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("authorities.pem"), certificate.pem()).unwrap();
        let hosts = format!("127.0.0.1 localhost\n{ip} {NAME}\n");
        std::fs::write(directory.path().join("hosts"), hosts).unwrap();
        let chain = vec![CertificateDer::from(certificate)];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let mut tasks = JoinSet::new();
        for port in [80, 443, 22] {
            let listener = TcpListener::bind((ip.as_str(), port)).await.unwrap();
            let acceptor = acceptor.clone();
            tasks.spawn(async move {
                let mut open = JoinSet::new();
                while let Ok((mut stream, _)) = listener.accept().await {
                    let acceptor = acceptor.clone();
                    open.spawn(async move {
                        match port {
                            80 => answer(stream).await,
                            443 => {
                                if let Ok(stream) = acceptor.accept(stream).await {
                                    answer(stream).await;
                                }
                            }
                            _ => {
                                let _ = stream.write_all(b"SSH-2.0-the_host_speaks\r\n").await;
                                let _ = stream.read(&mut [0; 64]).await;
                            }
                        }
                    });
                }
            });
        }
        Host {
            directory,
            _tasks: tasks,
        }
    }

    /// A server that knows the host by name and believes it, and a session in an environment with
    /// this part of its configuration.
    async fn world(&self, config: Value) -> Option<(World, Arc<Session>)> {
        let directory = self.directory.path();
        let hosts = directory.join("hosts");
        let script = format!("mount --bind {} /etc/hosts && exec \"$@\"", hosts.display());
        let places = [80, 443, 22].map(|port| format!("{NAME}:{port}"));
        let world = Setup::default()
            .set("egress.private_hosts", places.join(","))
            .set(
                "egress.authorities_file",
                directory.join("authorities.pem").display(),
            )
            .wrapped(&["unshare", "-m", "sh", "-c", &script, "sh"])
            .start()
            .await?;
        let body = json!({"name": "out", "config": config});
        let environment = world.client.post("/v1/environments", &body).await.ok();
        let more = json!({"environment_id": environment["id"]});
        let session = world.session_with(&Agent::free(), &more).await;
        Some((world, session))
    }
}

/// Answers one request with its first line.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let line = String::from_utf8(head).unwrap();
    let said = format!("the host heard {}", line.lines().next().unwrap());
    let answer = format!(
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{said}",
        said.len()
    );
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

async fn run(session: &Session, command: &str) -> String {
    // Nothing may lead to the proxy.
    let bare = "unset HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy";
    let call = json!({"command": format!("{bare}; {command}")});
    let turn = session.turn(&format!("@tool Bash {call}\n@say done")).await;
    turn.only("agent.tool_result").to_string()
}

/// The session's records, once there is one like this.
async fn records_with(world: &World, session: &Session, is: impl Fn(&Value) -> bool) -> Vec<Value> {
    let path = format!("/v1/audit?session_id={}&order=asc&limit=100", session.id);
    let mut all = Vec::new();
    for _ in 0..1000 {
        let page = world.client.get(&path).await.ok();
        all = page["data"].as_array().unwrap().clone();
        if all.iter().any(&is) {
            return all;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("no such record among {all:#?}");
}

fn has(program: &str) -> bool {
    let found = Path::new("/usr/bin").join(program).exists();
    if !found {
        skip(&format!("/usr/bin/{program} is not there"));
    }
    found
}

/// Asks the host and prints what it says; also with an authority of the sandbox's own.
const JAVA: &str = "cat > /tmp/Ask.java <<'END'\n\
    public class Ask { public static void main(String[] a) throws Exception {\n\
    System.out.println(new String(new java.net.URL(a[0]).openStream().readAllBytes())); } }\n\
    END\n\
    java -Xmx64m /tmp/Ask.java";

#[tokio::test]
async fn programs_that_know_no_proxy_reach_what_is_allowed_and_nothing_else() {
    let host = Host::start().await;
    let rules = json!([
        {"action": "allow", "host": NAME, "ports": [22]},
        {"action": "allow", "host": NAME, "ports": [80, 443], "methods": ["GET"], "path": "/ok*"},
    ]);
    let config = json!({
        "type": "cloud", "networking": {"type": "limited"}, "egress": {"rules": rules}
    });
    let Some((world, session)) = host.world(config).await else {
        return;
    };
    for (program, command) in [
        (
            "curl",
            format!("curl -sS http://{NAME}/ok-curl https://{NAME}/ok-curl"),
        ),
        (
            "python3",
            format!(
                "/usr/bin/python3 -c 'import urllib.request as r; print(r.urlopen(\"https://{NAME}/ok-python\").read().decode())'"
            ),
        ),
        (
            "node",
            format!(
                "node -e 'fetch(\"https://{NAME}/ok-node\").then(answer => answer.text()).then(console.log)'"
            ),
        ),
        ("javac", format!("{JAVA} https://{NAME}/ok-java")),
    ] {
        if has(program) {
            let result = run(&session, &command).await;
            assert!(
                result.contains("the host heard GET /ok"),
                "{program}: {result}"
            );
        }
    }
    if has("ssh") {
        let command =
            format!("ssh -v -o BatchMode=yes -o ConnectTimeout=20 {NAME} 2>&1 | head -50");
        let result = run(&session, &command).await;
        assert!(result.contains("the_host_speaks"), "{result}");
    }
    if !has("curl") {
        return world.end().await;
    }
    let refused = run(&session, &format!("curl -sS http://{NAME}/no")).await;
    assert!(refused.contains("rule: allowed-hosts"), "{refused}");
    let commands = [
        (
            "curl -sS -m 20 https://other.example",
            "Could not resolve host",
        ),
        ("curl -sS -m 20 https://93.184.216.34", "Failed to connect"),
        (
            "curl -sS -m 20 http://169.254.169.254/latest/meta-data/",
            "Failed to connect",
        ),
    ];
    for (command, expected) in commands {
        let result = run(&session, command).await;
        assert!(result.contains(expected), "{command}: {result}");
    }
    let is = |record: &Value, method: &str, host: &str, rule: &str| {
        record["method"] == method
            && record["host"] == host
            && record["rule"] == rule
            && record["verdict"] == "deny"
    };
    let mut wanted = vec![
        ("GET", NAME, "allowed-hosts"),
        ("DNS", "other.example", "allowed-hosts"),
    ];
    if Path::new("/dev/net/tun").exists() {
        wanted.push(("TCP", "93.184.216.34", "no-route"));
        wanted.push(("TCP", "169.254.169.254", "no-route"));
    } else {
        skip("what is refused by the kernel is not seen without /dev/net/tun");
    }
    for (method, place, rule) in wanted {
        let found = |record: &Value| is(record, method, place, rule);
        let all = records_with(&world, &session, found).await;
        let record = all.into_iter().find(found).unwrap();
        assert_eq!(record["attempts"].is_u64(), method != "GET", "{record}");
    }
    let ssh = |record: &Value| record["port"] == 22 && record["verdict"] == "allow";
    if has("ssh") {
        let all = records_with(&world, &session, ssh).await;
        assert_eq!(all.into_iter().find(ssh).unwrap()["rule"], "rules.0");
    }

    world.end().await;
}
