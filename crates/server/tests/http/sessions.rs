//! Sessions.

use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::world::World;

#[tokio::test]
async fn a_session_is_shown_with_every_key() {
    let world = World::new().await;
    let (agent, environment) = (world.agent().await, world.environment().await);
    let request = json!({
        "agent": agent, "environment_id": environment, "title": "t", "metadata": {"k": "v"},
        "budget": {"type": "limit", "max_list_cost": {"amount": "2500", "currency": "USD"}},
    });
    let created = world.post("/v1/sessions", request).await.ok();
    assert_eq!(
        created,
        json!({
            "id": created["id"], "type": "session", "status": "idle",
            "agent": {
                "type": "agent", "id": agent, "version": 1, "name": "a", "description": null, "system": null,
                "model": {"id": "claude-opus-5-5", "effort": null, "inference_geo": null, "speed": null},
                "tools": [], "mcp_servers": [], "skills": [], "multiagent": null,
                "execution_identity": {"type": "service_account"}, "cli": null,
            },
            "environment_id": environment, "isolation": "container", "title": "t", "metadata": {"k": "v"}, "resources": [], "vault_ids": [],
            "deployment_id": null,
            "budget": {"type": "limit", "max_list_cost": {"amount": "2500", "currency": "USD"}},
            "outcome_evaluations": [], "stats": {"active_seconds": 0.0, "duration_seconds": 0.0},
            "usage": {
                "input_tokens": 0, "output_tokens": 0, "cache_read_input_tokens": 0,
                "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
                "active_seconds": 0.0,
            },
            "created_at": "2026-11-22T12:00:00.000000Z", "updated_at": "2026-11-22T12:00:00.000000Z",
            "archived_at": null,
        })
    );
    let path = format!("/v1/sessions/{}", created["id"].as_str().unwrap());
    assert_eq!(world.get(&path).await.ok(), created);
}

#[tokio::test]
async fn a_session_that_cannot_be_isolated_as_asked_is_refused() {
    let world = World::new().await;
    let agent = world.agent().await;
    let environment = async |level: &str| {
        let hosting = json!({"isolation": {"at_least": level}});
        let config = json!({"type": "cloud", "hosting": hosting});
        let made = world.post("/v1/environments", json!({"name": "e", "config": config}));
        made.await.ok()["id"].clone()
    };
    // The world's machine has containers and no gVisor.
    let weaker = environment("process").await;
    let request = json!({"agent": agent, "environment_id": weaker});
    let created = world.post("/v1/sessions", request).await.ok();
    assert_eq!(created["isolation"], "container");
    let stronger = environment("gvisor").await;
    let request = json!({"agent": agent, "environment_id": stronger});
    let refused = world.post("/v1/sessions", request).await;
    refused.refuses(
        400,
        "invalid_request_error",
        "environment_id: config.hosting.isolation.at_least: isolation of at least `gvisor` cannot be had \
         on this host: runsc: it is not installed",
    );
}

#[tokio::test]
async fn a_session_pins_the_version_and_overrides_only_itself() {
    let world = World::new().await;
    let (agent, environment) = (world.agent().await, world.environment().await);
    world
        .post(&format!("/v1/agents/{agent}"), json!({"system": "second"}))
        .await
        .ok();
    let create = |agent: Value| {
        world.post(
            "/v1/sessions",
            json!({"agent": agent, "environment_id": environment}),
        )
    };
    assert_eq!(create(json!(agent)).await.ok()["agent"]["version"], 2);
    let first = create(json!({"type": "agent", "id": agent, "version": 1}))
        .await
        .ok();
    assert_eq!(
        (&first["agent"]["version"], &first["agent"]["system"]),
        (&json!(1), &Value::Null)
    );
    let own = create(
        json!({"type": "agent_with_overrides", "id": agent, "model": "other", "system": null}),
    )
    .await
    .ok();
    assert_eq!(
        (&own["agent"]["model"]["id"], &own["agent"]["system"]),
        (&json!("other"), &Value::Null)
    );
    assert_eq!(
        world.get(&format!("/v1/agents/{agent}")).await.ok()["system"],
        "second"
    );
    let refused = create(json!({"type": "agent_with_overrides", "id": agent, "model": null})).await;
    refused.refuses(400, "invalid_request_error", "agent_model_required");
    assert_eq!(
        refused.body["error"]["details"]["error_code"],
        "agent_model_required"
    );
}

#[tokio::test]
async fn agent_and_environment_must_be_there() {
    let world = World::new().await;
    let (agent, environment) = (world.agent().await, world.environment().await);
    let create = |agent: Value, environment: &str| {
        world.post(
            "/v1/sessions",
            json!({"agent": agent, "environment_id": environment}),
        )
    };
    create(json!("agent_x"), &environment)
        .await
        .refuses(404, "not_found_error", "agent_x");
    create(
        json!({"type": "agent", "id": agent, "version": 9}),
        &environment,
    )
    .await
    .refuses(404, "not_found_error", &agent);
    create(json!(agent), "env_x")
        .await
        .refuses(404, "not_found_error", "env_x");
    world
        .post_nothing(&format!("/v1/agents/{agent}/archive"))
        .await
        .ok();
    create(json!(agent), &environment)
        .await
        .refuses(400, "invalid_request_error", "archived");
}

#[tokio::test]
async fn an_update_keeps_clears_and_replaces() {
    let world = World::new().await;
    let path = format!("/v1/sessions/{}", world.session().await);
    let changed = world
        .post(&path, json!({"title": "t", "metadata": {"a": "1"}}))
        .await
        .ok();
    assert_eq!(
        (&changed["title"], &changed["metadata"]),
        (&json!("t"), &json!({"a": "1"}))
    );
    let toolset = json!({"tools": [{"type": "agent_toolset_20260401"}]});
    let changed = world
        .post(&path, json!({"title": null, "agent": toolset}))
        .await
        .ok();
    assert_eq!(
        (&changed["title"], &changed["metadata"]),
        (&Value::Null, &json!({"a": "1"}))
    );
    assert_eq!(
        changed["agent"]["tools"][0]["type"],
        "agent_toolset_20260401"
    );
    let events = world
        .get(&format!("{path}/events?types[]=session.updated"))
        .await
        .ok();
    let shown: Vec<(bool, bool, bool)> = events["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| {
            (
                event.get("title").is_some(),
                event.get("metadata").is_some(),
                event.get("agent").is_some(),
            )
        })
        .collect();
    assert_eq!(shown, [(true, true, false), (true, false, true)]);
    // Nothing changes, so nothing is said.
    world
        .post(&path, json!({"metadata": {"a": "1"}}))
        .await
        .ok();
    assert_eq!(
        world
            .get(&format!("{path}/events?types[]=session.updated"))
            .await
            .ok(),
        events
    );
}

#[tokio::test]
async fn a_budget_is_set_at_creation_only_and_removed_for_good() {
    let world = World::new().await;
    let budget = |amount: &str| json!({"budget": {"type": "limit", "max_list_cost": {"amount": amount, "currency": "USD"}}});
    let path = format!("/v1/sessions/{}", world.session().await);
    let refused = world.post(&path, budget("5")).await;
    refused.refuses(400, "invalid_request_error", "budget_create_only");
    assert_eq!(
        refused.body["error"]["details"]["error_code"],
        "budget_create_only"
    );
    let mut request = budget("5");
    request["agent"] = json!(world.agent().await);
    request["environment_id"] = json!(world.environment().await);
    let session = world.post("/v1/sessions", request).await.ok();
    let path = format!("/v1/sessions/{}", session["id"].as_str().unwrap());
    assert_eq!(
        world.post(&path, budget("9")).await.ok()["budget"]["max_list_cost"]["amount"],
        "9"
    );
    assert_eq!(
        world.post(&path, json!({"budget": null})).await.ok()["budget"],
        Value::Null
    );
    world.post(&path, budget("9")).await.refuses(
        400,
        "invalid_request_error",
        "budget_create_only",
    );
}

#[tokio::test]
async fn an_archived_session_is_over() {
    let world = World::new().await;
    let id = world.session().await;
    let path = format!("/v1/sessions/{id}");
    let archived = world.post_nothing(&format!("{path}/archive")).await.ok();
    assert_eq!(archived["status"], "terminated");
    assert!(archived["archived_at"].is_string());
    assert_eq!(
        world.post_nothing(&format!("{path}/archive")).await.ok(),
        archived
    );
    world.post(&path, json!({"title": "t"})).await.refuses(
        400,
        "invalid_request_error",
        "terminated",
    );
    let send = json!({"events": [{"type": "user.interrupt"}]});
    world
        .post(&format!("{path}/events"), send.clone())
        .await
        .refuses(400, "invalid_request_error", "terminated");
    assert_eq!(world.get("/v1/sessions").await.ok()["data"], json!([]));
    assert_eq!(
        world.delete(&path).await.ok(),
        json!({"id": id, "type": "session_deleted"})
    );
    world
        .post(&format!("{path}/events"), send)
        .await
        .refuses(404, "not_found_error", &id);
    world
        .delete(&path)
        .await
        .refuses(404, "not_found_error", &id);
}

#[tokio::test]
async fn pages_go_both_ways_and_a_cursor_keeps_its_order() {
    let world = World::new().await;
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(world.session().await);
        world.clock.advance(TimeDelta::seconds(1));
    }
    let ids = |page: &Value| -> Vec<String> {
        page["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|session| session["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let first = world.get("/v1/sessions?order=asc&limit=2").await.ok();
    assert_eq!(
        (ids(&first), &first["prev_page"]),
        (made[..2].to_vec(), &Value::Null)
    );
    let next = first["next_page"].as_str().unwrap();
    let second = world
        .get(&format!("/v1/sessions?order=asc&limit=2&page={next}"))
        .await
        .ok();
    assert_eq!(ids(&second), made[2..]);
    let back = second["prev_page"].as_str().unwrap();
    assert_eq!(
        ids(&world
            .get(&format!("/v1/sessions?order=asc&limit=2&page={back}"))
            .await
            .ok()),
        made[..2]
    );
    let other = world
        .get(&format!("/v1/sessions?order=desc&page={next}"))
        .await;
    other.refuses(
        400,
        "invalid_request_error",
        "page: the page cursor was made for another order",
    );
    assert_eq!(
        world.get("/v1/sessions?statuses%5B%5D=running").await.ok()["data"],
        json!([])
    );
    assert_eq!(
        ids(&world
            .get("/v1/sessions?statuses[]=idle&statuses[]=running")
            .await
            .ok())
        .len(),
        3
    );
    for (query, message) in [
        ("statuses[]=busy", "statuses[]: must be one of"),
        ("agent_version=1", "agent_version: only goes with agent_id"),
        ("order=up", "order: must be `asc` or `desc`"),
        ("deployment_id=depl_1", "deployment_id: not served"),
    ] {
        world.get(&format!("/v1/sessions?{query}")).await.refuses(
            400,
            "invalid_request_error",
            message,
        );
    }
}
