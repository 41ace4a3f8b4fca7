//! Measures the log on this disk: commits one after another, commits of many sessions at once (as
//! fast as they go, and at a steady thousand events a second), and how long a tail takes.
//!
//! `cargo run --release -p store --example append [DIR]`; without a directory it uses a temporary one.
#![allow(clippy::unwrap_used, reason = "a measurement may fail by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use store::*;
use tokio::task::JoinSet;

const SESSIONS: usize = 100;

fn main() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = std::env::args_os()
        .nth(1)
        .map_or(temporary.path().to_owned(), Into::into);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(measure(&dir));
}

async fn measure(dir: &Path) {
    println!("idle before opening       {}", memory());
    let store = Arc::new(Store::open(dir).unwrap());
    let fences = furnish(&store).await;
    println!("idle after opening        {}", memory());

    let times = burst(&store, 0, fences[0], 2000).await;
    println!(
        "one session, in turn      {}",
        Summary::of(times.0, times.1)
    );

    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for (session, fence) in fences.iter().copied().enumerate() {
        let store = Arc::clone(&store);
        tasks.spawn(async move { burst(&store, session, fence, 100).await.0 });
    }
    let times: Vec<Duration> = tasks.join_all().await.into_iter().flatten().collect();
    println!(
        "{SESSIONS} sessions, flat out    {}",
        Summary::of(times, begun.elapsed())
    );

    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for (session, fence) in fences.iter().copied().enumerate() {
        let store = Arc::clone(&store);
        tasks.spawn(async move { steady(&store, session, fence, 50).await });
    }
    let times: Vec<Duration> = tasks.join_all().await.into_iter().flatten().collect();
    println!(
        "{SESSIONS} sessions, 1,000/s     {}",
        Summary::of(times, begun.elapsed())
    );

    let mut times = Vec::new();
    let begun = Instant::now();
    for _ in 0..20_000 {
        let begun = Instant::now();
        assert_eq!(store.events().tail("s0", 100, 3).await.unwrap().len(), 3);
        times.push(begun.elapsed());
    }
    println!(
        "tail of 3, with the hop   {}",
        Summary::of(times, begun.elapsed())
    );

    let mut times = Vec::new();
    let begun = Instant::now();
    for _ in 0..20_000 {
        let begun = Instant::now();
        store.events().tail("absent", 0, 1).await.unwrap();
        times.push(begun.elapsed());
    }
    println!(
        "tail of 0 (the hop)       {}",
        Summary::of(times, begun.elapsed())
    );
    println!("after the work            {}", memory());
}

/// Commits of one event, each after the one before; their times and the whole.
async fn burst(
    store: &Store,
    session: usize,
    fence: Fence,
    count: usize,
) -> (Vec<Duration>, Duration) {
    let name = format!("s{session}");
    let whole = Instant::now();
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begun = Instant::now();
        store
            .events()
            .commit(&name, fence, vec![append()])
            .await
            .unwrap();
        times.push(begun.elapsed());
    }
    (times, whole.elapsed())
}

/// Ten commits a second, each at its own moment of the second; counted from when it was due.
async fn steady(store: &Store, session: usize, fence: Fence, count: usize) -> Vec<Duration> {
    let name = format!("s{session}");
    let first = tokio::time::Instant::now() + Duration::from_millis(session as u64);
    let mut ticks = tokio::time::interval_at(first, Duration::from_millis(SESSIONS as u64));
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        ticks.tick().await;
        let begun = Instant::now();
        store
            .events()
            .commit(&name, fence, vec![append()])
            .await
            .unwrap();
        times.push(begun.elapsed());
    }
    times
}

fn append() -> Write {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes).unwrap();
    let id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let body = format!(
        r#"{{"id":"sevt_{id}","type":"agent.message","text":"{}"}}"#,
        "x".repeat(400)
    );
    let kind = "agent.message".to_owned();
    Write::Append(NewEvent {
        id,
        kind,
        processed_at: DateTime::UNIX_EPOCH,
        body,
    })
}

async fn furnish(store: &Store) -> Vec<Fence> {
    let created_at = DateTime::<Utc>::UNIX_EPOCH;
    let (id, workspace_id) = ("agent".to_owned(), DEFAULT_WORKSPACE.to_owned());
    let agent = NewAgent {
        id,
        workspace_id: workspace_id.clone(),
        body: "{}".to_owned(),
        created_at,
    };
    store.agents().create(agent).await.unwrap();
    let id = "env".to_owned();
    let environment = NewEnvironment {
        id,
        workspace_id,
        body: "{}".to_owned(),
        keep: store::Keep::default(),
        created_at,
    };
    store.environments().create(environment).await.unwrap();
    let mut fences = Vec::new();
    for number in 0..SESSIONS {
        let id = format!("s{number}");
        store
            .sessions()
            .create(session(&id), Vec::new())
            .await
            .unwrap();
        fences.push(store.sessions().claim(&id, "bench").await.unwrap());
    }
    fences
}

fn session(id: &str) -> SessionRow {
    SessionRow {
        id: id.to_owned(),
        workspace_id: DEFAULT_WORKSPACE.to_owned(),
        agent_id: "agent".to_owned(),
        agent_version: 1,
        agent: "{}".to_owned(),
        environment_id: "env".to_owned(),
        environment: "{}".to_owned(),
        vault_ids: "[]".to_owned(),
        title: None,
        metadata: "{}".to_owned(),
        budget: None,
        status: Status::Idle,
        attention: false,
        claude_session: String::new(),
        usage: "{}".to_owned(),
        stats: "{}".to_owned(),
        created_at: DateTime::UNIX_EPOCH,
        updated_at: DateTime::UNIX_EPOCH,
        archived_at: None,
    }
}

/// The memory that is this process's own, from the kernel's account.
fn memory() -> String {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = text
        .lines()
        .find(|line| line.starts_with("Pss:"))
        .unwrap_or("Pss: unknown");
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

struct Summary {
    per_second: f64,
    median: Duration,
    p99: Duration,
    most: Duration,
}

impl Summary {
    fn of(mut times: Vec<Duration>, whole: Duration) -> Summary {
        times.sort();
        let rank = |percent: usize| times[(times.len() - 1) * percent / 100];
        let per_second = times.len() as f64 / whole.as_secs_f64();
        Summary {
            per_second,
            median: rank(50),
            p99: rank(99),
            most: rank(100),
        }
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Summary {
            per_second,
            median,
            p99,
            most,
        } = self;
        write!(
            out,
            "{per_second:>8.0}/s  median {median:>9.1?}  p99 {p99:>9.1?}  max {most:>9.1?}"
        )
    }
}
