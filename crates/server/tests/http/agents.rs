//! Agents and their versions.

use chrono::TimeDelta;
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::World;

#[tokio::test]
async fn an_agent_is_shown_with_every_key() {
    let world = World::new().await;
    let request = json!({
        "model": "claude-opus-5-5", "name": "n", "tools": [{"type": "agent_toolset_20260401"}], "metadata": {"k": "v"},
    });
    let created = world.post("/v1/agents", request).await.ok();
    let id = created["id"].as_str().unwrap();
    assert_eq!(id.len(), "agent_01".len() + 22);
    assert_eq!(
        created,
        json!({
            "id": id, "type": "agent", "version": 1, "name": "n", "description": null, "system": null,
            "model": {"id": "claude-opus-5-5", "effort": null, "inference_geo": null, "speed": null},
            "tools": [{
                "type": "agent_toolset_20260401",
                "default_config": {"enabled": true, "permission_policy": {"type": "always_allow"}}, "configs": [],
            }],
            "mcp_servers": [], "skills": [], "multiagent": null, "execution_identity": {"type": "service_account"},
            "cli": null,
            "metadata": {"k": "v"}, "limits": null, "created_at": "2026-11-22T12:00:00.000000Z",
            "updated_at": "2026-11-22T12:00:00.000000Z", "archived_at": null,
        })
    );
    assert_eq!(world.get(&format!("/v1/agents/{id}")).await.ok(), created);
    world
        .get("/v1/agents/agent_other")
        .await
        .refuses(404, "not_found_error", "agent_other");
}

#[tokio::test]
async fn an_update_makes_a_version_unless_nothing_changes() {
    let world = World::new().await;
    let id = world.agent().await;
    let path = format!("/v1/agents/{id}");
    world.clock.advance(TimeDelta::seconds(5));
    let changed = world
        .post(&path, json!({"system": "s", "version": 1}))
        .await
        .ok();
    assert_eq!(
        (&changed["version"], &changed["system"]),
        (&json!(2), &json!("s"))
    );
    assert_eq!(changed["updated_at"], "2026-11-22T12:00:05.000000Z");
    assert_eq!(changed["created_at"], "2026-11-22T12:00:00.000000Z");
    assert_eq!(
        world.post(&path, json!({"system": "s"})).await.ok(),
        changed
    );
    assert_eq!(
        world.get(&format!("{path}?version=1")).await.ok()["system"],
        Value::Null
    );
    world
        .get(&format!("{path}?version=3"))
        .await
        .refuses(404, "not_found_error", "version 3");
    world.get(&format!("{path}?version=0")).await.refuses(
        400,
        "invalid_request_error",
        "version: ",
    );
    let versions = world.get(&format!("{path}/versions?limit=1")).await.ok();
    assert_eq!(versions["data"][0], changed);
    let cursor = versions["next_page"].as_str().unwrap();
    let rest = world
        .get(&format!("{path}/versions?page={cursor}"))
        .await
        .ok();
    assert_eq!(
        (&rest["data"][0]["version"], &rest["next_page"]),
        (&json!(1), &Value::Null)
    );
}

#[tokio::test]
async fn a_stale_version_is_a_conflict_that_is_not_retried() {
    let world = World::new().await;
    let id = world.agent().await;
    let path = format!("/v1/agents/{id}");
    // The change would be none, and is a conflict all the same.
    let answer = world.post(&path, json!({"version": 7, "name": "a"})).await;
    answer.refuses(
        409,
        "conflict_error",
        "version: the agent is at version 1, not 7",
    );
    assert_eq!(answer.headers["x-should-retry"], "false");
}

#[tokio::test]
async fn concurrent_updates_without_a_version_are_all_kept() {
    let world = World::new().await;
    let path = format!("/v1/agents/{}", world.agent().await);
    let update = |key: &'static str| world.post(&path, json!({"metadata": {key: "1"}}));
    let (a, b, c) = tokio::join!(update("a"), update("b"), update("c"));
    for answer in [a, b, c] {
        answer.ok();
    }
    let agent = world.get(&path).await.ok();
    assert_eq!(agent["metadata"], json!({"a": "1", "b": "1", "c": "1"}));
    assert_eq!(agent["version"], 4);
}

#[tokio::test]
async fn an_archived_agent_stays_as_it_is() {
    let world = World::new().await;
    let path = format!("/v1/agents/{}", world.agent().await);
    let archived = world.post_nothing(&format!("{path}/archive")).await.ok();
    assert_eq!(archived["archived_at"], "2026-11-22T12:00:00.000000Z");
    world.clock.advance(TimeDelta::seconds(5));
    assert_eq!(
        world.post_nothing(&format!("{path}/archive")).await.ok(),
        archived
    );
    world
        .post(&path, json!({"name": "b"}))
        .await
        .refuses(400, "invalid_request_error", "archived");
    assert_eq!(world.get("/v1/agents").await.ok()["data"], json!([]));
    assert_eq!(
        world.get("/v1/agents?include_archived=true").await.ok()["data"],
        json!([archived])
    );
}

#[tokio::test]
async fn unknown_fields_and_wrong_types_are_named() {
    let world = World::new().await;
    let create = |key: &str, value: Value| {
        let mut request = json!({"model": "m", "name": "n"});
        request[key] = value;
        world.request(Method::POST, "/v1/agents").json(&request)
    };
    let rows = [
        (
            create("temperature", json!(1)),
            "temperature: unknown field",
        ),
        (
            create("name", json!(7)),
            "name: must be a string, got the number 7",
        ),
        (
            create(
                "tools",
                json!([{"type": "custom", "name": "x", "description": "d", "input_schema": {"type": "array"}}]),
            ),
            "tools.0.input_schema.type",
        ),
    ];
    for (request, message) in rows {
        world
            .send(request)
            .await
            .refuses(400, "invalid_request_error", message);
    }
    let metadata: Value = (0..17)
        .map(|n| (format!("k{n}"), json!("v")))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let answer = world.send(create("metadata", metadata)).await;
    answer.refuses(
        400,
        "invalid_request_error",
        "metadata: at most 16 items, got 17",
    );
    assert_eq!(
        answer.body["error"]["details"]["error_code"],
        "invalid_metadata"
    );
}

#[tokio::test]
async fn pages_hold_every_agent_once_newest_first() {
    let world = World::new().await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(world.agent().await);
        world.clock.advance(TimeDelta::seconds(1));
    }
    made.reverse();
    let (mut seen, mut page) = (Vec::new(), String::new());
    loop {
        let answer = world.get(&format!("/v1/agents?limit=2{page}")).await.ok();
        seen.extend(
            answer["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|agent| agent["id"].as_str().unwrap().to_owned()),
        );
        match answer["next_page"].as_str() {
            Some(cursor) => page = format!("&page={cursor}"),
            None => break,
        }
    }
    assert_eq!(seen, made);
    for (query, message) in [
        ("limit=0", "limit: must be an integer from 1 to 100"),
        ("limit=101", "limit: must be an integer from 1 to 100"),
        ("limit=ten", "limit: must be an integer"),
        ("page=nonsense", "page: the page cursor is malformed"),
        (
            "include_archived=maybe",
            "include_archived: must be `true` or `false`",
        ),
        (
            "created_at[gte]=yesterday",
            "created_at[gte]: must be an RFC 3339 timestamp",
        ),
        (
            "created_at[gt]=2026-01-01T00:00:00Z",
            "unknown query parameter \"created_at[gt]\"",
        ),
    ] {
        world.get(&format!("/v1/agents?{query}")).await.refuses(
            400,
            "invalid_request_error",
            message,
        );
    }
    let bounds =
        "created_at%5Bgte%5D=2026-11-22T12:00:01Z&created_at[lte]=2026-11-22T14:00:02%2B02:00";
    assert_eq!(
        world.get(&format!("/v1/agents?{bounds}")).await.ok()["data"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test]
async fn a_limit_is_part_of_a_version() {
    let world = World::new().await;
    let limit = json!({"max_cost_per_day": {"amount": "500", "currency": "USD"}});
    let request = json!({"model": "m", "name": "n", "limits": limit});
    let created = world.post("/v1/agents", request).await.ok();
    assert_eq!(created["limits"], limit);
    let path = format!("/v1/agents/{}", created["id"].as_str().unwrap());
    let same = world.post(&path, json!({"limits": {}})).await.ok();
    assert_eq!(same["version"], 1);
    let none = world.post(&path, json!({"limits": null})).await.ok();
    assert_eq!(
        (&none["version"], &none["limits"]),
        (&json!(2), &json!(null))
    );
    let answer = world.post(&path, json!({"limits": {"max_turns": 1}})).await;
    answer.refuses(400, "invalid_request_error", "limits.max_turns");
}
