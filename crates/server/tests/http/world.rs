//! The world of one test: server, store, clock, client.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use egress::{CredentialError, Credentials, Egress, Slot, SystemResolver, Windows};
use reqwest::{Method, RequestBuilder, StatusCode};
use sandbox::{
    Abilities, Isolation, Levels, LimitHits, Observed, Provider, ProviderError, Resources, Rootfs,
    Sandbox, SandboxId, Spec,
};
use serde_json::{Value, json};
use server::audit::Auditor;
use server::blobs::Blobs;
use server::clock::Clock;
use server::config::{Config, Secret};
use server::ids::Ids;
use server::session::keep::Keeper;
use server::session::{self, Sessions};
use server::usage::Ledger;
use server::vaults::key::Key;
use server::vaults::{self, Keyring, Vaults};
use server::{Parts, Server, StartError};
use snapshot::Snapshots;
use store::{NewEvent, Store, Write};
use tempfile::TempDir;

/// The key that the client sends.
pub const KEY: &str = "hostel_test";

/// Short enough that a test sees a ping, long enough that none comes in between.
pub const PING: Duration = Duration::from_millis(300);

/// Everything that a test needs. The server ends with it.
pub struct World {
    pub store: Arc<Store>,
    pub blobs: Blobs,
    pub snapshots: Snapshots,
    pub sessions: Sessions,
    pub vaults: Arc<Vaults>,
    pub clock: Clock,
    pub server: Server,
    client: reqwest::Client,
    data: TempDir,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Answer {
    /// The message of an error answer.
    pub fn message(&self) -> &str {
        self.body["error"]["message"].as_str().unwrap_or_default()
    }

    /// Checks status and type of an error answer, and that its request id is that of the header.
    #[track_caller]
    pub fn refuses(&self, status: u16, kind: &str, message: &str) {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.body["type"], "error", "{self:?}");
        assert_eq!(self.body["error"]["type"], kind, "{self:?}");
        assert!(
            self.message().contains(message),
            "{:?} does not contain {message:?}",
            self.message()
        );
        assert_eq!(
            self.body["request_id"].as_str(),
            self.headers["request-id"].to_str().ok(),
            "{self:?}"
        );
    }

    /// The body of a success.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{self:?}");
        assert_eq!(self.headers["content-type"], "application/json");
        self.body
    }
}

impl World {
    /// A fresh server on a free port.
    pub async fn new() -> World {
        World::with(|_| {}).await
    }

    /// A fresh server with changed settings.
    pub async fn with(change: impl FnOnce(&mut Config)) -> World {
        World::start(change).await.unwrap()
    }

    /// The same, when it starts.
    pub async fn start(change: impl FnOnce(&mut Config)) -> Result<World, StartError> {
        let data = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(data.path()).unwrap());
        let clock = Clock::manual(
            DateTime::parse_from_rfc3339("2026-11-22T12:00:00Z")
                .unwrap()
                .with_timezone(&Utc),
        );
        let ids = Ids::random();
        let mut config = Config {
            listen: ([127, 0, 0, 1], 0).into(),
            api_key: Some(Secret::new(KEY)),
            ..Config::default()
        };
        config.shutdown_timeout_ms = 5_000;
        change(&mut config);
        let blobs = Blobs::new(&data.path().join("files"));
        let snapshots = Snapshots::open(data.path().join("snapshots"), None).unwrap();
        let keeper = Keeper::new(
            snapshots.clone(),
            store.clone(),
            blobs.clone(),
            clock.clone(),
            ids.clone(),
        );
        let hosts = config.egress.private_hosts.iter();
        let hosts = hosts.map(|host| host.parse().unwrap()).collect();
        let keys = Keyring::of(Key::new([7; 32]), Vec::new());
        let vaults = vaults(&store, keys, &clock, hosts);
        let sessions = sessions(&store, keeper, &vaults, &clock, &ids, &data);
        let parts = Parts {
            store: store.clone(),
            blobs: blobs.clone(),
            sessions: sessions.clone(),
            vaults: vaults.clone(),
            clock: clock.clone(),
            ids,
            ping: PING,
        };
        let server = Server::with(config, parts).await?;
        // An error means that another test of this process was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Ok(World {
            store,
            blobs,
            snapshots,
            sessions,
            vaults,
            clock,
            server,
            client,
            data,
        })
    }

    /// A request with the key.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.bare(method, path).bearer_auth(KEY)
    }

    /// A request without a key.
    pub fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("http://{}{path}", self.server.address()))
            .timeout(Duration::from_secs(20))
    }

    /// Sends a request and reads the answer.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.bytes().await.unwrap();
        assert!(
            headers["request-id"]
                .to_str()
                .unwrap()
                .starts_with("req_01")
        );
        Answer {
            status,
            headers,
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path).json(&body))
            .await
    }

    pub async fn post_nothing(&self, path: &str) -> Answer {
        self.send(self.request(Method::POST, path)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// A fresh agent's id.
    pub async fn agent(&self) -> String {
        let agent = self
            .post(
                "/v1/agents",
                json!({"model": "claude-opus-5-5", "name": "a"}),
            )
            .await
            .ok();
        agent["id"].as_str().unwrap().to_owned()
    }

    /// A fresh environment's id.
    pub async fn environment(&self) -> String {
        let environment = self
            .post("/v1/environments", json!({"name": "e"}))
            .await
            .ok();
        environment["id"].as_str().unwrap().to_owned()
    }

    /// A fresh session's id.
    pub async fn session(&self) -> String {
        let request =
            json!({"agent": self.agent().await, "environment_id": self.environment().await});
        self.post("/v1/sessions", request).await.ok()["id"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// A fresh workspace's id.
    pub async fn workspace(&self) -> String {
        let made = self.post("/v1/workspaces", json!({"name": "theirs"})).await;
        made.ok()["id"].as_str().unwrap().to_owned()
    }

    /// A fresh key, with the key itself.
    pub async fn key(&self, mut body: Value) -> Value {
        body["name"] = json!("k");
        self.post("/v1/api_keys", body).await.ok()
    }

    /// A fresh vault's id.
    pub async fn vault(&self) -> String {
        let vault = self.post("/v1/vaults", json!({"display_name": "v"})).await;
        vault.ok()["id"].as_str().unwrap().to_owned()
    }

    /// A fresh credential's id.
    pub async fn credential(&self, vault: &str, auth: Value) -> String {
        let path = format!("/v1/vaults/{vault}/credentials");
        let made = self.post(&path, json!({"auth": auth})).await.ok();
        made["id"].as_str().unwrap().to_owned()
    }

    /// Where the server keeps everything.
    pub fn data(&self) -> &std::path::Path {
        self.data.path()
    }

    /// Saves an empty tree of files for a session; the snapshot's id.
    pub async fn save(&self, session: &str) -> String {
        // The end of a tree that has nothing in it, as a guest sends it.
        let tree = b"\x57\0\0\0\x02{}".as_slice();
        let saved = self
            .snapshots
            .save(session, None, u64::MAX, tree)
            .await
            .unwrap();
        saved.id.to_string()
    }

    /// Appends events to a session's log, past its owner.
    pub async fn append(&self, session: &str, bodies: &[Value]) {
        let fence = self.store.sessions().claim(session, "test").await.unwrap();
        let write = |body: &Value| {
            Write::Append(NewEvent {
                id: body["id"].as_str().unwrap().to_owned(),
                kind: body["type"].as_str().unwrap().to_owned(),
                processed_at: self.clock.now(),
                body: body.to_string(),
            })
        };
        self.store
            .events()
            .commit(session, fence, bodies.iter().map(write).collect())
            .await
            .unwrap();
    }
}

/// Vaults over a store, which reach these private hosts.
pub fn vaults(
    store: &Arc<Store>,
    keys: Keyring,
    clock: &Clock,
    private_hosts: Vec<egress::HostPort>,
) -> Arc<Vaults> {
    let mut config = nowhere();
    config.operator.private_hosts = private_hosts;
    let ids = Ids::random();
    Arc::new(Vaults::new(vaults::Parts {
        store: store.clone(),
        keys,
        errands: egress::Errands::new(&config, Arc::new(SystemResolver)).unwrap(),
        ledger: ledger(store, clock, &ids),
        clock: clock.clone(),
        ids,
    }))
}

fn nowhere() -> egress::Config {
    egress::Config::new("http://127.0.0.1:9".parse().unwrap(), Slot("model".into()))
}

fn ledger(store: &Arc<Store>, clock: &Clock, ids: &Ids) -> Arc<Ledger> {
    Arc::new(Ledger::new(
        store.clone(),
        ids.clone(),
        clock.clone(),
        tokio::runtime::Handle::current(),
        server::usage::Daily::default(),
    ))
}

fn sessions(
    store: &Arc<Store>,
    keeper: Keeper,
    vaults: &Arc<Vaults>,
    clock: &Clock,
    ids: &Ids,
    data: &TempDir,
) -> Sessions {
    let ledger = ledger(store, clock, ids);
    let auditor = Arc::new(Auditor::start(store.clone(), clock.clone(), None));
    let windows = Windows {
        policies: ledger.clone(),
        credentials: Arc::new(Keyless),
        usage: ledger.clone(),
        audit: auditor.clone(),
        resolver: Arc::new(SystemResolver),
        clock: SystemTime::now,
    };
    Sessions::new(session::Parts {
        store: store.clone(),
        provider: Arc::new(NoSandboxes),
        egress: Egress::new(nowhere(), windows).unwrap(),
        ledger,
        vaults: vaults.clone(),
        auditor,
        keeper,
        versions: claude::versions::Versions::open(data.path().join("cli")).unwrap(),
        settings: session::Settings {
            resources: Resources::default(),
            rootfs: Rootfs::Host,
            cli: None,
            launch: session::start::Limits {
                max_turns: None,
                max_retries: 0,
                own_work: false,
            },
            max_sandboxes: 1,
            start_timeout: std::time::Duration::from_secs(60),
            stall: Duration::from_secs(60),
            freeze_after: Duration::from_secs(60),
            soft_memory_percent: 80,
            keep_audit: Duration::from_secs(60),
        },
        clock: clock.clone(),
        ids: ids.clone(),
    })
}

struct Keyless;

#[async_trait]
impl Credentials for Keyless {
    async fn resolve(&self, _: &Slot) -> Result<egress::Secret, CredentialError> {
        Err(CredentialError::Missing)
    }
}

/// A machine on which no sandbox can be made.
struct NoSandboxes;

#[async_trait]
impl Provider for NoSandboxes {
    fn abilities(&self) -> Abilities {
        Abilities {
            provider: "none".into(),
            runtime: "none".into(),
            levels: Levels {
                usual: Isolation::Container,
                absent: [(Isolation::Gvisor, "runsc: it is not installed".to_owned())].into(),
            },
            lost: Vec::new(),
            limits: false,
            freezes: false,
            groups: false,
        }
    }

    async fn create(&self, _: &Spec) -> Result<Sandbox, ProviderError> {
        Err(ProviderError::Full { limit: 0 })
    }

    async fn list(&self) -> Result<Vec<Observed>, ProviderError> {
        Ok(Vec::new())
    }

    async fn limits(&self, id: &SandboxId) -> Result<LimitHits, ProviderError> {
        Err(ProviderError::Absent { id: id.clone() })
    }

    async fn destroy(&self, _: &SandboxId) -> Result<(), ProviderError> {
        Ok(())
    }
}
