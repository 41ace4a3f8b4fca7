use std::time::SystemTime;

use egress::ClientId;
use store::{AuditQuery, Realm};

use super::*;
struct World {
    store: Arc<Store>,
    directory: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&directory.path().join("data")).unwrap());
        World { store, directory }
    }

    fn auditor(&self, lines: Option<Lines>) -> Auditor {
        Auditor::start(self.store.clone(), Clock::system(), lines)
    }

    async fn rows(&self) -> Vec<AuditRow> {
        let query = AuditQuery {
            session_id: Some("sesn_1".into()),
            order: store::Order::Asc,
            page: store::PageQuery {
                limit: store::PAGE_LIMIT,
                cursor: None,
            },
            ..AuditQuery::default()
        };
        let audit = self.store.audit();
        audit.list(&realm(), query).await.unwrap().rows
    }
}

fn realm() -> Realm {
    Realm::of(store::DEFAULT_WORKSPACE)
}

fn owner() -> Owner {
    Owner {
        workspace: store::DEFAULT_WORKSPACE.to_owned(),
        environment: "env_1".to_owned(),
    }
}

fn record(path: &str) -> Record {
    Record {
        client: ClientId("sesn_1".into()),
        owner: Some(Arc::new(owner())),
        at: SystemTime::now(),
        latency: Duration::from_millis(3),
        host: Some("a.example".into()),
        port: Some(443),
        method: Some("GET".into()),
        path: Some(path.into()),
        allowed: true,
        rule: "unrestricted".into(),
        status: Some(200),
        bytes_in: 10,
        bytes_out: 20,
        credential: None,
        cut: None,
        attempts: None,
    }
}

#[tokio::test]
async fn records_are_kept_in_order_and_written_as_lines() {
    let world = World::new();
    let path = world.directory.path().join("audit.jsonl");
    let lines = Lines::open(&path).await.unwrap();
    let auditor = world.auditor(Some(lines));
    for number in 0..3 {
        auditor.record(record(&format!("/{number}")));
    }
    auditor.flush().await;
    let rows = world.rows().await;
    let paths: Vec<_> = rows.iter().filter_map(|row| row.path.as_deref()).collect();
    assert_eq!(paths, ["/0", "/1", "/2"]);
    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<AuditRecord> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0].id, format!("audit_{}", rows[0].number));
    assert_eq!((lines[0].verdict, lines[0].bytes_out), (Verdict::Allow, 20));
    let other = realm().within(Some("env_2".to_owned()));
    let audit = world.store.audit();
    let seen = audit.list(&other, AuditQuery::default()).await.unwrap();
    assert!(seen.rows.is_empty(), "another environment's");
    let used = world.store.audit().bytes("sesn_1").await.unwrap();
    assert_eq!(used, (30, 60));
}

#[tokio::test]
async fn what_does_not_fit_is_counted_and_the_count_is_kept() {
    let world = World::new();
    let auditor = world.auditor(None);
    // The task cannot run between these, so the queue fills.
    for _ in 0..QUEUE + 5 {
        auditor.record(record("/"));
    }
    auditor.flush().await;
    let query = AuditQuery {
        verdict: Some("lost".into()),
        ..AuditQuery::default()
    };
    let audit = world.store.audit();
    let lost = audit.list(&realm(), query).await.unwrap().rows;
    assert_eq!(lost.len(), 1);
    assert_eq!(
        (lost[0].count, lost[0].rule.as_str()),
        (Some(5), "audit-queue-full")
    );
}

#[tokio::test]
async fn old_records_go_and_young_ones_stay() {
    let world = World::new();
    let mut old = row(record("/old"), &owner(), Utc::now());
    old.created_at = Utc::now() - chrono::TimeDelta::days(40);
    let young = row(record("/young"), &owner(), Utc::now());
    let audit = world.store.audit();
    audit.insert(vec![old, young]).await.unwrap();
    let before = Utc::now() - chrono::TimeDelta::days(30);
    assert_eq!(audit.expire(before, 100).await.unwrap(), 1);
    assert_eq!(audit.expire(before, 100).await.unwrap(), 0);
    assert_eq!(world.rows().await[0].path.as_deref(), Some("/young"));
}
