//! What was decided on the way out.

use chrono::TimeDelta;
use serde_json::json;
use store::AuditRow;

use crate::world::World;

/// A decision of a session, put there as egress does it.
async fn put(world: &World, session: &str, host: &str, verdict: &str) {
    let row = AuditRow {
        number: 0,
        workspace_id: store::DEFAULT_WORKSPACE.to_owned(),
        environment_id: "env_1".to_owned(),
        session_id: session.to_owned(),
        created_at: world.clock.now(),
        latency_ms: 12,
        host: Some(host.to_owned()),
        port: Some(443),
        method: Some("GET".to_owned()),
        path: Some("/a".to_owned()),
        verdict: verdict.to_owned(),
        rule: "rules.0".to_owned(),
        status: Some(200),
        bytes_in: 1,
        bytes_out: 2,
        credential_id: None,
        cut: None,
        count: None,
    };
    world.store.audit().insert(vec![row]).await.unwrap();
    world.clock.advance(TimeDelta::seconds(1));
}

#[tokio::test]
async fn decisions_are_shown_with_every_key_also_of_sessions_that_are_gone() {
    let world = World::new().await;
    put(&world, "sesn_gone", "a.example", "allow").await;
    let page = world.get("/v1/audit").await.ok();
    let shown = json!({
        "id": "audit_1", "type": "audit_record", "session_id": "sesn_gone",
        "created_at": "2026-11-22T12:00:00.000000Z", "latency_ms": 12, "host": "a.example", "port": 443,
        "method": "GET", "path": "/a", "verdict": "allow", "rule": "rules.0", "status": 200,
        "bytes_in": 1, "bytes_out": 2, "credential_id": null, "ended_early": null, "attempts": null, "lost": null,
    });
    assert_eq!(page["data"], json!([shown]));
}

#[tokio::test]
async fn decisions_are_found_by_session_verdict_host_and_time_page_by_page() {
    let world = World::new().await;
    for (session, host, verdict) in [
        ("sesn_1", "a.example", "allow"),
        ("sesn_1", "b.example", "deny"),
        ("sesn_2", "a.example", "deny"),
        ("sesn_1", "a.example", "allow"),
    ] {
        put(&world, session, host, verdict).await;
    }
    for (query, expected) in [
        ("", vec![4, 3, 2, 1]),
        ("order=asc", vec![1, 2, 3, 4]),
        ("session_id=sesn_1", vec![4, 2, 1]),
        ("verdict=deny", vec![3, 2]),
        ("host=a.example&session_id=sesn_1", vec![4, 1]),
        ("created_at[gte]=2026-11-22T12:00:02Z", vec![4, 3]),
        ("session_id=sesn_3", vec![]),
    ] {
        let page = world.get(&format!("/v1/audit?{query}")).await.ok();
        let found = page["data"].as_array().unwrap().iter();
        let ids: Vec<_> = found.map(|record| record["id"].clone()).collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|id| json!(format!("audit_{id}")))
            .collect();
        assert_eq!(ids, expected, "{query}");
    }
    let first = world.get("/v1/audit?limit=3").await.ok();
    let next = first["next_page"].as_str().unwrap();
    let second = world
        .get(&format!("/v1/audit?limit=3&page={next}"))
        .await
        .ok();
    assert_eq!(second["data"][0]["id"], "audit_1");
    assert!(second["next_page"].is_null() && second["prev_page"].is_string());
    let refused = world.get("/v1/audit?verdict=maybe").await;
    refused.refuses(
        400,
        "invalid_request_error",
        "verdict: must be one of `allow`",
    );
    let refused = world.get("/v1/audit?sesion_id=x").await;
    refused.refuses(400, "invalid_request_error", "sesion_id");
}
