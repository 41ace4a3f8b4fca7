//! A store in a directory of its own, and short ways to fill it.

use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use store::{
    DEFAULT_WORKSPACE, Fence, Keep, NewAgent, NewEnvironment, NewEvent, Queued, Realm, SessionRow,
    Status, Store, Write,
};
use tempfile::TempDir;

pub const WS: &str = DEFAULT_WORKSPACE;
pub const OTHER_WS: &str = "wrkspc_other";
/// All of one's own workspace.
pub static MINE: LazyLock<Realm> = LazyLock::new(|| Realm::of(WS));
/// All of somebody else's.
pub static THEIRS: LazyLock<Realm> = LazyLock::new(|| Realm::of(OTHER_WS));

/// A store with an agent `agent_1` and an environment `env_1`.
pub struct Bed {
    pub store: Store,
    pub dir: TempDir,
}

impl Bed {
    pub async fn new() -> Bed {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        furnish(&store).await;
        Bed { store, dir }
    }

    /// With an idle session.
    pub async fn with_session(id: &str) -> Bed {
        let bed = Bed::new().await;
        bed.store
            .sessions()
            .create(session(id), Vec::new())
            .await
            .unwrap();
        bed
    }

    pub async fn claim(&self, session: &str) -> Fence {
        self.store.sessions().claim(session, "owner").await.unwrap()
    }

    /// Numbers and ids of a session's whole log.
    pub async fn log(&self, session: &str) -> Vec<(i64, String)> {
        let events = self
            .store
            .events()
            .tail(session, 0, 1_000_000)
            .await
            .unwrap();
        events
            .into_iter()
            .map(|event| (event.seq, event.id))
            .collect()
    }
}

pub async fn furnish(store: &Store) {
    store.agents().create(agent("agent_1", 1)).await.unwrap();
    store
        .environments()
        .create(environment("env_1", 1))
        .await
        .unwrap();
}

/// A time `micros` after the epoch.
pub fn at(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap()
}

pub fn agent(id: &str, created: i64) -> NewAgent {
    NewAgent {
        id: id.to_owned(),
        workspace_id: WS.to_owned(),
        body: format!(r#"{{"name":"{id}"}}"#),
        created_at: at(created),
    }
}

pub fn environment(id: &str, created: i64) -> NewEnvironment {
    NewEnvironment {
        id: id.to_owned(),
        workspace_id: WS.to_owned(),
        body: format!(r#"{{"name":"{id}"}}"#),
        keep: Keep::default(),
        created_at: at(created),
    }
}

pub fn session(id: &str) -> SessionRow {
    SessionRow {
        id: id.to_owned(),
        workspace_id: WS.to_owned(),
        agent_id: "agent_1".to_owned(),
        agent_version: 1,
        agent: r#"{"id":"agent_1"}"#.to_owned(),
        environment_id: "env_1".to_owned(),
        environment: r#"{"type":"cloud"}"#.to_owned(),
        vault_ids: "[]".to_owned(),
        title: None,
        metadata: "{}".to_owned(),
        budget: None,
        status: Status::Idle,
        attention: false,
        claude_session: "7a0e".to_owned(),
        usage: "{}".to_owned(),
        stats: "{}".to_owned(),
        created_at: at(10),
        updated_at: at(10),
        archived_at: None,
    }
}

pub fn queued(id: &str) -> Queued {
    Queued {
        id: id.to_owned(),
        kind: "user.message".to_owned(),
        body: format!(r#"{{"id":"{id}"}}"#),
    }
}

pub fn append(id: &str) -> Write {
    Write::Append(NewEvent {
        id: id.to_owned(),
        kind: "agent.message".to_owned(),
        processed_at: at(100),
        body: format!(r#"{{"id":"{id}"}}"#),
    })
}

pub fn process(id: &str) -> Write {
    Write::Process {
        id: id.to_owned(),
        processed_at: at(100),
        body: format!(r#"{{"id":"{id}","processed":true}}"#),
    }
}

/// Numbers that look random, from a seed that a failing test prints.
pub struct Dice(pub u64);

impl Dice {
    pub fn seeded() -> Dice {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).unwrap();
        let seed =
            std::env::var("SEED").map_or(u64::from_le_bytes(bytes), |text| text.parse().unwrap());
        println!("SEED={seed}");
        Dice(seed)
    }

    /// From 0 to below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (value ^ (value >> 31)) % end
    }
}
