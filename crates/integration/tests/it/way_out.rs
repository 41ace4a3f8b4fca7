//! The way out from inside a real sandbox: programs that speak TLS to a real server, by the rules of
//! the environment, with what is recorded of them.

use std::net::SocketAddr;
use std::sync::Arc;

use integration::{Agent, Session, Setup, World, skip};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// Of the server's own loopback, and not among the addresses that programs reach without a proxy.
const HOST: &str = "127.0.0.2";

/// A host with TLS that answers every request with what it was asked.
struct Host {
    addr: SocketAddr,
    certificate: String,
    _tasks: JoinSet<()>,
}

impl Host {
    async fn start() -> Host {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![HOST.to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let pem = certificate.pem();
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
        let listener = TcpListener::bind((HOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                open.spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else {
                        return;
                    };
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
                });
            }
        });
        Host {
            addr,
            certificate: pem,
            _tasks: tasks,
        }
    }
}

/// A world that trusts the host, and a session in an environment with this part of its configuration.
async fn world(host: &Host, config: Value) -> Option<(World, Arc<Session>, String)> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &host.certificate).unwrap();
    let world = Setup::default()
        .set("egress.private_hosts", host.addr)
        .set("egress.authorities_file", file.path().display())
        .start()
        .await?;
    let environment = world
        .client
        .post(
            "/v1/environments",
            &json!({"name": "out", "config": config}),
        )
        .await
        .ok();
    let id = environment["id"].as_str().unwrap().to_owned();
    let more = json!({"environment_id": id});
    let session = world.session_with(&Agent::free(), &more).await;
    Some((world, session, id))
}

async fn run(session: &Session, command: &str) -> String {
    let call = json!({"command": command});
    let turn = session.turn(&format!("@tool Bash {call}\n@say done")).await;
    turn.only("agent.tool_result").to_string()
}

/// What is recorded of the session, once there are so many.
async fn records(world: &World, session: &Session, count: usize) -> Vec<Value> {
    let path = format!("/v1/audit?session_id={}&order=asc", session.id);
    let mut all = Vec::new();
    for _ in 0..200 {
        let page = world.client.get(&path).await.ok();
        all = page["data"].as_array().unwrap().clone();
        if all.len() >= count {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(all.len(), count, "{all:#?}");
    all
}

fn has(program: &str) -> bool {
    let found = std::path::Path::new("/usr/bin").join(program).exists();
    if !found {
        skip(&format!("/usr/bin/{program} is not there"));
    }
    found
}

#[tokio::test]
async fn programs_trust_the_sandboxes_authority_and_are_held_to_paths_and_methods() {
    let host = Host::start().await;
    let rules = json!([{
        "action": "allow", "host": HOST, "ports": [host.addr.port()], "methods": ["GET"], "path": "/ok*"
    }]);
    let config = json!({
        "type": "cloud", "networking": {"type": "limited"}, "egress": {"rules": rules}
    });
    let Some((world, session, environment)) = world(&host, config).await else {
        return;
    };
    let url = format!("https://{}", host.addr);
    let mut programs = Vec::new();
    if has("curl") {
        programs.push(format!("curl -sS {url}/ok-curl"));
    }
    if has("python3") {
        programs.push(format!(
            "/usr/bin/python3 -c 'import urllib.request as r; print(r.urlopen(\"{url}/ok-python\").read().decode())'"
        ));
    }
    if has("node") {
        // It knows no proxies, so it is told; the authority it finds by itself.
        let port = host.addr.port();
        programs.push(format!(
            "node -e 'const proxy = new URL(process.env.HTTPS_PROXY); \
             require(\"http\").request({{host: proxy.hostname, port: proxy.port, method: \"CONNECT\", path: \"{HOST}:{port}\", headers: {{host: \"{HOST}:{port}\"}}}}) \
             .on(\"connect\", (_, socket) => require(\"https\").get({{host: \"{HOST}\", port: {port}, path: \"/ok-node\", socket, agent: false}}, \
             answer => answer.on(\"data\", said => console.log(String(said))))).end()'"
        ));
    }
    if has("openssl") {
        // What trusts the machine's own list finds the authority there.
        programs.push(
            "openssl verify -CAfile /etc/ssl/certs/ca-certificates.crt /opt/hostel/trusted.pem > /dev/null; \
             grep -c BEGIN /etc/ssl/certs/ca-certificates.crt | grep -qx $(grep -c BEGIN /opt/hostel/trusted.pem) \
             && echo the host heard GET by the list"
                .to_owned(),
        );
    }
    let mut count = 0;
    for program in programs {
        let result = run(&session, &program).await;
        assert!(result.contains("the host heard GET"), "{program}: {result}");
        count += usize::from(program.contains("/ok-"));
    }
    if has("curl") {
        for (arguments, rule) in [("-X DELETE", "/ok"), ("", "/no")] {
            let result = run(&session, &format!("curl -sS {arguments} {url}{rule}")).await;
            assert!(result.contains("rule: allowed-hosts"), "{result}");
        }
        let all = records(&world, &session, count + 2).await;
        let (first, last) = (&all[0], &all[count + 1]);
        assert_eq!(
            (&first["verdict"], &first["rule"]),
            (&json!("allow"), &json!("rules.0"))
        );
        assert_eq!(
            (&first["path"], &first["status"]),
            (&json!("/ok-curl"), &json!(200))
        );
        assert_eq!(
            (&last["verdict"], &last["path"]),
            (&json!("deny"), &json!("/no"))
        );
        let denied = world
            .client
            .get("/v1/audit?verdict=deny&limit=1")
            .await
            .ok();
        assert!(denied["next_page"].is_string() && denied["data"][0] == *last);

        // A change holds at once, without a new sandbox.
        let change = json!({"config": {"type": "cloud", "egress": {"rules": []}}});
        let path = format!("/v1/environments/{environment}");
        world.client.post(&path, &change).await.ok();
        let result = run(&session, &format!("curl -sS {url}/ok")).await;
        assert!(
            result.contains("CONNECT tunnel failed, response 403"),
            "{result}"
        );
    }
    world.end().await;
}

#[tokio::test]
async fn a_host_without_such_rules_shows_its_own_certificate() {
    let host = Host::start().await;
    let config = json!({"type": "cloud", "networking": {"type": "unrestricted"}});
    let Some((world, session, _)) = world(&host, config).await else {
        return;
    };
    if has("curl") {
        let url = format!("https://{}/x", host.addr);
        let command = format!("curl -sS -v {url} 2>&1 | grep -E 'issuer|the host'");
        let result = run(&session, &command).await;
        assert!(result.contains("the host heard GET /x"), "{result}");
        assert!(!result.contains("Hostel"), "{result}");
        let all = records(&world, &session, 1).await;
        assert_eq!(
            (&all[0]["method"], &all[0]["path"]),
            (&json!("CONNECT"), &Value::Null)
        );
        assert!(all[0]["bytes_in"].as_u64() > Some(100));
    }
    world.end().await;
}
