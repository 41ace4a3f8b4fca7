//! Environments.

use serde_json::json;

use crate::world::World;

#[tokio::test]
async fn an_environment_is_shown_with_every_key() {
    let world = World::new().await;
    let created = world
        .post("/v1/environments", json!({"name": "n"}))
        .await
        .ok();
    assert_eq!(
        created,
        json!({
            "id": created["id"], "type": "environment", "name": "n", "description": null, "metadata": {},
            "scope": "organization",
            "config": {
                "type": "cloud", "networking": {"type": "unrestricted"},
                "packages": {"type": "packages", "apt": [], "cargo": [], "gem": [], "go": [], "npm": [], "pip": []},
                "hosting": {
                    "pattern": "hybrid", "provider": "oci", "isolation": {"at_least": null},
                    "resources": {"cpu": null, "memory": null, "disk": null, "pids": null},
                    "idle_timeout": 600, "max_lifetime": null, "max_sessions": 1,
                    "pool": {"min": 0, "max": 0}, "cli": null,
                    "limits": {"max_turns": null, "max_cost": null, "max_turn_seconds": null, "max_tool_calls": null},
                    "when_done": "terminate",
                    "retention": {"sessions": null, "snapshots": null, "files": null},
                },
                "egress": {
                    "rules": [], "private_addresses": "deny",
                    "limits": {"requests_per_second": null, "bytes_in": null, "bytes_out": null, "connections": null},
                },
            },
            "created_at": "2026-11-22T12:00:00.000000Z", "updated_at": "2026-11-22T12:00:00.000000Z",
            "archived_at": null,
        })
    );
    let path = format!("/v1/environments/{}", created["id"].as_str().unwrap());
    assert_eq!(world.get(&path).await.ok(), created);
    assert_eq!(
        world.get("/v1/environments?limit=1000").await.ok(),
        json!({"data": [created], "next_page": null})
    );
}

#[tokio::test]
async fn hosting_is_stored_changed_and_refused() {
    let world = World::new().await;
    let hosting =
        json!({"pattern": "shared", "idle_timeout": "15m", "resources": {"memory": "2GiB"}});
    let request = json!({"name": "n", "config": {"type": "cloud", "hosting": hosting}});
    let created = world.post("/v1/environments", request).await.ok();
    let path = format!("/v1/environments/{}", created["id"].as_str().unwrap());
    let change = |hosting| json!({"config": {"type": "cloud", "hosting": hosting}});
    world
        .post(&path, change(json!({"max_sessions": 2})))
        .await
        .ok();
    let shown = world.get(&path).await.ok()["config"]["hosting"].clone();
    assert_eq!(shown["pattern"], "shared");
    assert_eq!(shown["idle_timeout"], 900);
    assert_eq!(shown["resources"]["memory"], 2u64 << 30);
    assert_eq!(shown["max_sessions"], 2);
    let answer = world.post(&path, change(json!({"pool": {"max": 1}}))).await;
    answer.refuses(400, "invalid_request_error", "config.hosting.pool");
    let answer = world
        .post(&path, change(json!({"provider": "docker"})))
        .await;
    answer.refuses(400, "invalid_request_error", "config.hosting.provider");
}

#[tokio::test]
async fn an_update_merges() {
    let world = World::new().await;
    let path = format!("/v1/environments/{}", world.environment().await);
    let limited = json!({"type": "limited", "allowed_hosts": ["a.example"]});
    let update =
        json!({"config": {"type": "cloud", "networking": limited}, "metadata": {"k": "v"}});
    world.post(&path, update).await.ok();
    let again = json!({"config": {"type": "cloud", "networking": {"type": "limited", "allow_mcp_servers": true}}, "metadata": {"k": ""}});
    let changed = world.post(&path, again).await.ok();
    assert_eq!(
        changed["config"]["networking"],
        json!({"type": "limited", "allowed_hosts": ["a.example"], "allow_mcp_servers": true, "allow_package_managers": false})
    );
    assert_eq!(changed["metadata"], json!({}));
    let answer = world
        .post(&path, json!({"config": {"type": "self_hosted"}}))
        .await;
    answer.refuses(400, "invalid_request_error", "config.type");
    assert_eq!(
        answer.body["error"]["details"]["error_code"],
        "invalid_config_type_change"
    );
}

#[tokio::test]
async fn an_archived_environment_is_read_only_and_takes_no_sessions() {
    let world = World::new().await;
    let (agent, id) = (world.agent().await, world.environment().await);
    let path = format!("/v1/environments/{id}");
    world.post_nothing(&format!("{path}/archive")).await.ok();
    let answers = [
        world.post(&path, json!({"name": "b"})).await,
        world
            .post(
                "/v1/sessions",
                json!({"agent": agent, "environment_id": id}),
            )
            .await,
    ];
    for answer in answers {
        answer.refuses(400, "invalid_request_error", "archived");
        assert_eq!(
            answer.body["error"]["details"]["error_code"],
            "environment_archived"
        );
    }
}

#[tokio::test]
async fn an_environment_is_deleted_only_when_no_session_uses_it() {
    let world = World::new().await;
    let session = world.session().await;
    let used = world.get(&format!("/v1/sessions/{session}")).await.ok()["environment_id"].clone();
    let answer = world
        .delete(&format!("/v1/environments/{}", used.as_str().unwrap()))
        .await;
    answer.refuses(400, "invalid_request_error", "used by 1 sessions");
    let free = world.environment().await;
    let path = format!("/v1/environments/{free}");
    assert_eq!(
        world.delete(&path).await.ok(),
        json!({"id": free, "type": "environment_deleted"})
    );
    let answer = world.get(&path).await;
    answer.refuses(404, "not_found_error", &free);
    assert_eq!(
        answer.body["error"]["details"]["error_code"],
        "environment_not_found"
    );
}
