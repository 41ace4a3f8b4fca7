//! Vaults and credentials: the contract, what is kept of them and what is not, keys that change, tokens
//! that are renewed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::TimeDelta;
use egress::{ClientId, CredentialError, Credentials as _, HostPort, Slot};
use serde_json::{Value, json};
use server::vaults::key::Key;
use server::vaults::{Keyring, Resealed, Vaults};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::world::{World, vaults};

const VALUE: &str = "value-0123456789";

/// What makes a credential of a variable.
pub fn variable() -> Value {
    json!({"type": "environment_variable", "secret_name": "API_TOKEN", "secret_value": VALUE,
        "networking": {"type": "limited", "allowed_hosts": ["api.example"]}})
}

fn bearer(url: &str) -> Value {
    json!({"type": "static_bearer", "mcp_server_url": url, "token": "token-0123456789"})
}

fn oauth(token_endpoint: &str) -> Value {
    json!({"type": "mcp_oauth", "mcp_server_url": "https://mcp.example/a", "access_token": "access-0123456789",
        "expires_at": "2026-11-22T13:00:00Z",
        "refresh": {"client_id": "c", "refresh_token": "refresh-0123456789", "token_endpoint": token_endpoint,
            "token_endpoint_auth": {"type": "client_secret_basic", "client_secret": "client-0123456789"}}})
}

const SECRETS: [&str; 5] = [
    VALUE,
    "token-0123456789",
    "access-0123456789",
    "refresh-0123456789",
    "client-0123456789",
];

/// All bytes of a directory's files.
fn bytes(directory: &Path, all: &mut Vec<u8>) {
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => bytes(&entry.path(), all),
            false => all.extend(std::fs::read(entry.path()).unwrap()),
        }
    }
}

#[tokio::test]
async fn a_vault_is_made_changed_listed_archived_and_deleted() {
    let world = World::new().await;
    let made = world
        .post(
            "/v1/vaults",
            json!({"display_name": "a", "metadata": {"k": "v"}}),
        )
        .await
        .ok();
    let id = made["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("vlt_01"), "{id}");
    let now = "2026-11-22T12:00:00.000000Z";
    assert_eq!(
        made,
        json!({"id": id, "type": "vault", "display_name": "a", "metadata": {"k": "v"}, "created_at": now, "updated_at": now, "archived_at": null})
    );
    world.clock.advance(TimeDelta::seconds(1));
    let path = format!("/v1/vaults/{id}");
    let change = json!({"display_name": "b", "metadata": {"k": null, "n": "1"}});
    let changed = world.post(&path, change.clone()).await.ok();
    assert_eq!(
        (&changed["display_name"], &changed["metadata"]),
        (&json!("b"), &json!({"n": "1"}))
    );
    assert_ne!(changed["updated_at"], made["updated_at"]);
    world.clock.advance(TimeDelta::seconds(1));
    assert_eq!(
        world.post(&path, change).await.ok(),
        changed,
        "nothing changed"
    );
    let other = world.vault().await;
    let page = world.get("/v1/vaults?limit=1").await.ok();
    assert_eq!(page["data"][0]["id"], other);
    let next = format!(
        "/v1/vaults?limit=1&page={}",
        page["next_page"].as_str().unwrap()
    );
    assert_eq!(world.get(&next).await.ok()["data"][0], changed);

    world.credential(&id, variable()).await;
    let archived = world.post_nothing(&format!("{path}/archive")).await.ok();
    assert!(archived["archived_at"].is_string());
    assert_eq!(
        world.post_nothing(&format!("{path}/archive")).await.ok(),
        archived
    );
    let listed = world.get("/v1/vaults").await.ok();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    let listed = world.get("/v1/vaults?include_archived=true").await.ok();
    assert_eq!(listed["data"].as_array().unwrap().len(), 2);
    let all = format!("{path}/credentials?include_archived=true");
    assert!(world.get(&all).await.ok()["data"][0]["archived_at"].is_string());
    let more = world
        .post(&format!("{path}/credentials"), json!({"auth": variable()}))
        .await;
    more.refuses(400, "invalid_request_error", "archived");
    let renamed = world.post(&path, json!({"display_name": "c"})).await;
    renamed.refuses(400, "invalid_request_error", "archived");

    let deleted = world.delete(&path).await.ok();
    assert_eq!(deleted, json!({"id": id, "type": "vault_deleted"}));
    world.get(&path).await.refuses(404, "not_found_error", &id);
    world
        .delete(&path)
        .await
        .refuses(404, "not_found_error", &id);
    world
        .get(&format!("{path}/credentials"))
        .await
        .refuses(404, "not_found_error", &id);
}

#[tokio::test]
async fn credentials_come_in_with_secrets_and_go_out_without() {
    let world = World::new().await;
    let vault = world.vault().await;
    let path = format!("/v1/vaults/{vault}/credentials");
    let mut said = String::new();
    for auth in [
        variable(),
        bearer("https://mcp.example/b"),
        oauth("https://id.example/token"),
    ] {
        let made = world
            .post(
                &path,
                json!({"auth": auth, "display_name": "n", "metadata": {"k": "v"}}),
            )
            .await
            .ok();
        let id = made["id"].as_str().unwrap();
        assert!(id.starts_with("vcrd_01"), "{id}");
        assert_eq!(
            (&made["type"], &made["vault_id"]),
            (&json!("vault_credential"), &json!(vault))
        );
        assert_eq!(
            (&made["auth"]["type"], &made["display_name"]),
            (&auth["type"], &json!("n"))
        );
        let one = format!("{path}/{id}");
        assert_eq!(world.get(&one).await.ok(), made);
        let wrong = world
            .post(&one, json!({"auth": {"type": "basic", "token": VALUE}}))
            .await;
        wrong.refuses(400, "invalid_request_error", "auth.type");
        let kind = auth["type"].as_str().unwrap();
        let key = [
            ("environment_variable", "secret_value"),
            ("static_bearer", "token"),
            ("mcp_oauth", "access_token"),
        ];
        let (_, key) = key.iter().find(|(it, _)| *it == kind).unwrap();
        let wrong = world
            .post(
                &one,
                json!({"auth": {"type": kind, *key: format!("{VALUE}\n")}}),
            )
            .await;
        wrong.refuses(400, "invalid_request_error", "printable ASCII");
        let named = world
            .post(&one, json!({"display_name": null, "metadata": {"k": "w"}}))
            .await
            .ok();
        assert_eq!(
            (&named["display_name"], &named["metadata"]),
            (&Value::Null, &json!({"k": "w"}))
        );
        assert_eq!(named["auth"], made["auth"]);
        said += &format!("{made} {named} {:?} ", wrong.body);
    }
    let page = world.get(&path).await.ok();
    assert_eq!(page["data"].as_array().unwrap().len(), 3);
    said += &page.to_string();
    let mut kept = Vec::new();
    bytes(world.data(), &mut kept);
    for secret in SECRETS {
        assert!(!said.contains(secret), "{secret} in {said}");
        assert!(
            !kept.windows(secret.len()).any(|it| it == secret.as_bytes()),
            "{secret} is on the disk"
        );
    }
    let id = page["data"][0]["id"].as_str().unwrap();
    let archived = world
        .post_nothing(&format!("{path}/{id}/archive"))
        .await
        .ok();
    assert!(archived["archived_at"].is_string());
    let late = world
        .post(&format!("{path}/{id}"), json!({"display_name": "x"}))
        .await;
    late.refuses(400, "invalid_request_error", "archived");
    let deleted = world.delete(&format!("{path}/{id}")).await.ok();
    assert_eq!(
        deleted,
        json!({"id": id, "type": "vault_credential_deleted"})
    );
    world
        .get(&format!("{path}/{id}"))
        .await
        .refuses(404, "not_found_error", id);
    let elsewhere = world.vault().await;
    let id = page["data"][1]["id"].as_str().unwrap();
    world
        .get(&format!("/v1/vaults/{elsewhere}/credentials/{id}"))
        .await
        .refuses(404, "not_found_error", id);
}

#[tokio::test]
async fn a_vault_has_one_credential_for_each_thing_and_twenty_in_all() {
    let world = World::new().await;
    let vault = world.vault().await;
    let path = format!("/v1/vaults/{vault}/credentials");
    let first = world
        .credential(&vault, bearer("https://Mcp.example:443/a/"))
        .await;
    let same = world
        .post(&path, json!({"auth": bearer("https://mcp.example/a")}))
        .await;
    same.refuses(409, "conflict_error", "https://mcp.example/a");
    assert_eq!(same.headers["x-should-retry"], "false");
    world
        .post_nothing(&format!("{path}/{first}/archive"))
        .await
        .ok();
    for number in 0..20 {
        world
            .credential(&vault, bearer(&format!("https://mcp.example/{number}")))
            .await;
    }
    let more = world.post(&path, json!({"auth": variable()})).await;
    more.refuses(400, "invalid_request_error", "at most 20 credentials");
}

#[tokio::test]
async fn a_session_has_vaults_of_its_workspace_whose_credentials_are_of_use() {
    let world = World::new().await;
    let (vault, agent, environment) = (
        world.vault().await,
        world.agent().await,
        world.environment().await,
    );
    let session =
        |vaults: Value| json!({"agent": agent, "environment_id": environment, "vault_ids": vaults});
    let made = world
        .post("/v1/sessions", session(json!([vault])))
        .await
        .ok();
    assert_eq!(made["vault_ids"], json!([vault]));
    let path = format!("/v1/sessions/{}", made["id"].as_str().unwrap());
    assert_eq!(world.get(&path).await.ok()["vault_ids"], json!([vault]));
    let fork = world
        .post(&format!("{path}/fork"), json!({"workspace": "empty"}))
        .await
        .ok();
    assert_eq!(fork["vault_ids"], json!([vault]));
    let update = world.post(&path, json!({"vault_ids": [vault]})).await;
    update.refuses(400, "invalid_request_error", "vault_ids");
    let absent = world
        .post("/v1/sessions", session(json!(["vlt_absent"])))
        .await;
    absent.refuses(404, "not_found_error", "vlt_absent");

    // One for every host, where every host may be reached, would be for anybody.
    let mut everywhere = variable();
    everywhere["networking"] = json!({"type": "unrestricted"});
    let credential = world.credential(&vault, everywhere).await;
    let refused = world.post("/v1/sessions", session(json!([vault]))).await;
    refused.refuses(400, "invalid_request_error", &credential);
    let limited = json!({"name": "l", "config": {"type": "cloud", "networking": {"type": "limited", "allowed_hosts": ["api.example"]}}});
    let limited = world.post("/v1/environments", limited).await.ok();
    let fits = json!({"agent": agent, "environment_id": limited["id"], "vault_ids": [vault]});
    world.post("/v1/sessions", fits).await.ok();

    world
        .post_nothing(&format!("/v1/vaults/{vault}/archive"))
        .await
        .ok();
    let late = world.post("/v1/sessions", session(json!([vault]))).await;
    late.refuses(
        400,
        "invalid_request_error",
        "vault_ids.0: the vault is archived",
    );
    // A key of one environment has no vaults to give.
    let key = world
        .key(json!({"scope": "sessions", "environment_id": environment}))
        .await;
    let vault = world.vault().await;
    let request = world
        .bare(reqwest::Method::POST, "/v1/sessions")
        .bearer_auth(key["key"].as_str().unwrap());
    world
        .send(request.json(&session(json!([vault]))))
        .await
        .refuses(404, "not_found_error", &vault);
}

async fn opens(vaults: &Vaults, id: &str) -> Result<bool, CredentialError> {
    vaults
        .resolve(&Slot(id.to_owned()))
        .await
        .map(|value| value.is(VALUE))
}

#[tokio::test]
async fn a_value_is_there_until_it_is_changed_archived_or_deleted() {
    let world = World::new().await;
    let vault = world.vault().await;
    let id = world.credential(&vault, variable()).await;
    assert!(opens(&world.vaults, &id).await.unwrap());
    let path = format!("/v1/vaults/{vault}/credentials/{id}");
    let change =
        json!({"auth": {"type": "environment_variable", "secret_value": "another-012345"}});
    world.post(&path, change).await.ok();
    assert!(!opens(&world.vaults, &id).await.unwrap());
    world.post_nothing(&format!("{path}/archive")).await.ok();
    let gone = opens(&world.vaults, &id).await;
    assert!(matches!(gone, Err(CredentialError::Missing)), "{gone:?}");
    let other = world.credential(&vault, variable()).await;
    world.delete(&format!("/v1/vaults/{vault}")).await.ok();
    assert!(matches!(
        opens(&world.vaults, &other).await,
        Err(CredentialError::Missing)
    ));
}

#[tokio::test]
async fn credentials_are_sealed_under_a_new_key_also_when_that_was_cut_half_way() {
    let world = World::new().await;
    let vault = world.vault().await;
    let mut ids = Vec::new();
    for number in 0..5 {
        let mut auth = variable();
        auth["secret_name"] = json!(format!("V{number}"));
        ids.push(world.credential(&vault, auth).await);
    }
    let ring = |present: u8, former: &[u8]| {
        Keyring::of(
            Key::new([present; 32]),
            former.iter().map(|key| Key::new([*key; 32])).collect(),
        )
    };
    let over = |keys| vaults(&world.store, keys, &world.clock, Vec::new());

    // Without the key that sealed them nothing is lost, and nothing opens.
    let strange = over(ring(9, &[]));
    assert_eq!(
        strange.reseal().await.unwrap(),
        Resealed { done: 0, closed: 5 }
    );
    assert!(matches!(
        opens(&strange, &ids[0]).await,
        Err(CredentialError::Unavailable)
    ));

    // As a server leaves them that is killed in the middle: some under the new key, the others under the old.
    let both = over(ring(8, &[7]));
    both.reseal().await.unwrap();
    let (credentials, old) = (world.store.credentials(), over(ring(7, &[8])));
    let sealed = |id: &String| {
        let id = id.clone();
        async move {
            credentials
                .active(&id)
                .await
                .unwrap()
                .unwrap()
                .sealed
                .unwrap()
        }
    };
    let new: Vec<_> = futures::future::join_all(ids.iter().map(sealed)).await;
    old.reseal().await.unwrap();
    for (id, sealed) in ids.iter().zip(&new).take(2) {
        let row = credentials.active(id).await.unwrap().unwrap();
        assert!(
            credentials
                .reseal(id, row.revision, sealed.clone())
                .await
                .unwrap()
        );
    }
    for id in &ids {
        assert!(opens(&both, id).await.unwrap() && opens(&old, id).await.unwrap());
    }
    // The next start goes on, once.
    assert_eq!(
        both.reseal().await.unwrap(),
        Resealed { done: 3, closed: 0 }
    );
    assert_eq!(both.reseal().await.unwrap(), Resealed::default());
    let alone = over(ring(8, &[]));
    for id in &ids {
        assert!(opens(&alone, id).await.unwrap());
    }
}

#[tokio::test]
async fn what_is_sealed_does_not_open_in_another_row_or_for_other_hosts() {
    let world = World::new().await;
    let vault = world.vault().await;
    let id = world.credential(&vault, variable()).await;
    let mut other = variable();
    other["secret_name"] = json!("OTHER");
    let thief = world.credential(&vault, other).await;
    let credentials = world.store.credentials();
    let row = credentials.active(&id).await.unwrap().unwrap();
    let there = credentials.active(&thief).await.unwrap().unwrap();
    assert!(
        credentials
            .reseal(&thief, there.revision, row.sealed.clone().unwrap())
            .await
            .unwrap()
    );
    assert!(matches!(
        opens(&world.vaults, &thief).await,
        Err(CredentialError::Unavailable)
    ));
    let led = store::CredentialRow {
        auth: row.auth.replace("api.example", "bad.example"),
        ..row
    };
    credentials.update(led, world.clock.now()).await.unwrap();
    assert!(matches!(
        opens(&world.vaults, &id).await,
        Err(CredentialError::Unavailable)
    ));
}

/// A token endpoint and MCP server that counts what it is asked for and answers as it is told.
struct Endpoint {
    host: HostPort,
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
    answer: Arc<Mutex<(u16, String)>>,
    count: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Endpoint {
    async fn start() -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let count: Arc<AtomicUsize> = Arc::default();
        let answer = Arc::new(Mutex::new((200, String::new())));
        let (heard, said, counted) = (asked.clone(), answer.clone(), count.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut read = Vec::new();
                while !complete(&read) {
                    if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
                        break;
                    }
                }
                counted.fetch_add(1, Ordering::SeqCst);
                heard.lock().await.push(String::from_utf8(read).unwrap());
                let (status, body) = said.lock().await.clone();
                let head = format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
                let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
            }
        });
        Endpoint {
            host: format!("127.0.0.1:{port}").parse().unwrap(),
            url: format!("http://127.0.0.1:{port}/token"),
            asked,
            answer,
            count,
            _tasks: tasks,
        }
    }

    async fn says(&self, status: u16, body: &Value) {
        *self.answer.lock().await = (status, body.to_string());
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    async fn world(&self) -> World {
        let host = self.host.to_string();
        World::with(|config| config.egress.private_hosts = vec![host]).await
    }
}

fn complete(read: &[u8]) -> bool {
    let text = String::from_utf8_lossy(read);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    length.is_none_or(|length| body.len() >= length.parse().unwrap())
}

fn client() -> ClientId {
    ClientId("sesn_1".to_owned())
}

#[tokio::test]
async fn a_token_that_ends_is_renewed_once_whoever_asks_and_however_many() {
    let endpoint = Endpoint::start().await;
    let world = endpoint.world().await;
    let vault = world.vault().await;
    let id = world.credential(&vault, oauth(&endpoint.url)).await;
    let slot = Slot(id.clone());
    let fresh = async || world.vaults.fresh(&client(), &slot).await;
    assert!(
        fresh().await.unwrap().is("access-0123456789"),
        "it is good for an hour"
    );
    world
        .clock
        .advance(TimeDelta::minutes(59) + TimeDelta::seconds(30));
    endpoint.says(200, &json!({"access_token": "new-access-1", "expires_in": 3600, "refresh_token": "new-refresh-1"})).await;
    let all = futures::future::join_all((0..20).map(|_| fresh())).await;
    assert!(
        all.into_iter()
            .all(|token| token.unwrap().is("new-access-1"))
    );
    assert_eq!(endpoint.count(), 1);
    let asked = endpoint.asked.lock().await[0].clone();
    assert!(
        asked.contains("grant_type=refresh_token&refresh_token=refresh-0123456789"),
        "{asked}"
    );
    assert!(
        asked.contains("authorization: Basic YzpjbGllbnQtMDEyMzQ1Njc4OQ=="),
        "{asked}"
    );
    let shown = world
        .get(&format!("/v1/vaults/{vault}/credentials/{id}"))
        .await
        .ok();
    assert_eq!(shown["auth"]["expires_at"], "2026-11-22T13:59:30.000000Z");

    // It was refused before its end: by many at once, and it is renewed with what came along.
    endpoint
        .says(200, &json!({"access_token": "new-access-2"}))
        .await;
    let refused = egress::Secret::new("new-access-1");
    let renewed = async || world.vaults.renewed(&client(), &slot, &refused).await;
    let all = futures::future::join_all((0..20).map(|_| renewed())).await;
    assert!(
        all.into_iter()
            .all(|token| token.unwrap().unwrap().is("new-access-2"))
    );
    assert_eq!(endpoint.count(), 2);
    assert!(endpoint.asked.lock().await[1].contains("refresh_token=new-refresh-1"));
    let mut kept = Vec::new();
    bytes(world.data(), &mut kept);
    for secret in ["new-access-1", "new-refresh-1", "new-access-2"] {
        assert!(
            !kept.windows(secret.len()).any(|it| it == secret.as_bytes()),
            "{secret} is on the disk"
        );
    }
}

#[tokio::test]
async fn an_endpoint_that_fails_is_left_alone_until_the_credential_changes() {
    let endpoint = Endpoint::start().await;
    let world = endpoint.world().await;
    let vault = world.vault().await;
    let id = world.credential(&vault, oauth(&endpoint.url)).await;
    let slot = Slot(id.clone());
    endpoint.says(400, &json!({"error": "invalid_grant"})).await;
    world
        .clock
        .advance(TimeDelta::minutes(59) + TimeDelta::seconds(30));
    let fresh = async || world.vaults.fresh(&client(), &slot).await;
    assert!(
        fresh().await.unwrap().is("access-0123456789"),
        "it is good for another moment"
    );
    world.clock.advance(TimeDelta::minutes(1));
    for _ in 0..3 {
        assert!(matches!(fresh().await, Err(CredentialError::NotRenewed)));
    }
    assert_eq!(endpoint.count(), 1);
    let path = format!("/v1/vaults/{vault}/credentials/{id}");
    let change =
        json!({"auth": {"type": "mcp_oauth", "refresh": {"refresh_token": "another-refresh"}}});
    world.post(&path, change).await.ok();
    endpoint
        .says(
            200,
            &json!({"access_token": "new-access-1", "expires_in": 60}),
        )
        .await;
    assert!(fresh().await.unwrap().is("new-access-1"));
    assert_eq!(endpoint.count(), 2);
}

#[tokio::test]
async fn a_token_endpoint_in_a_private_network_is_not_asked() {
    let endpoint = Endpoint::start().await;
    let world = World::new().await;
    let vault = world.vault().await;
    let id = world.credential(&vault, oauth(&endpoint.url)).await;
    world.clock.advance(TimeDelta::hours(2));
    let fresh = world.vaults.fresh(&client(), &Slot(id)).await;
    assert!(matches!(fresh, Err(CredentialError::NotRenewed)));
    assert_eq!(endpoint.count(), 0);
}

#[tokio::test]
async fn a_trial_says_whether_a_credential_works_and_shows_nothing_of_it() {
    let endpoint = Endpoint::start().await;
    let world = endpoint.world().await;
    let vault = world.vault().await;
    let mut auth = oauth(&endpoint.url);
    auth["mcp_server_url"] = json!(endpoint.url);
    let id = world.credential(&vault, auth).await;
    let path = format!("/v1/vaults/{vault}/credentials/{id}/mcp_oauth_validate");
    endpoint
        .says(200, &json!({"you": "access-0123456789"}))
        .await;
    let valid = world.post_nothing(&path).await.ok();
    assert_eq!(valid["type"], "vault_credential_validation");
    assert_eq!(
        (&valid["status"], &valid["has_refresh_token"]),
        (&json!("valid"), &json!(true))
    );
    assert_eq!(valid["mcp_probe"]["method"], "initialize");
    assert_eq!(
        valid["mcp_probe"]["http_response"]["body"],
        "{\"you\":\"[hidden]\"}"
    );
    // Server and token endpoint are one here, so both refuse.
    endpoint
        .says(
            401,
            &json!({"said": "refresh-0123456789 client-0123456789"}),
        )
        .await;
    let invalid = world.post_nothing(&path).await.ok();
    assert_eq!(
        (&invalid["status"], &invalid["refresh"]["status"]),
        (&json!("invalid"), &json!("failed"))
    );
    for secret in SECRETS {
        assert!(!invalid.to_string().contains(secret), "{invalid}");
    }
    let other = world.credential(&vault, variable()).await;
    let wrong = world
        .post_nothing(&format!(
            "/v1/vaults/{vault}/credentials/{other}/mcp_oauth_validate"
        ))
        .await;
    wrong.refuses(400, "invalid_request_error", "mcp_oauth");
}
