use serde_json::json;

use super::*;
use crate::error::Invalid;
use crate::patch::Patch;
use crate::read::{At, Read};

fn create(value: Value) -> Result<CreateSession, Invalid> {
    CreateSession::read(value, At::root())
}

fn with(key: &str, value: Value) -> Value {
    let mut request = json!({"agent": "agent_1", "environment_id": "env_1"});
    request[key] = value;
    request
}

fn profile() -> Profile {
    let request = json!({"model": {"id": "m", "effort": "low"}, "name": "n", "system": "s", "tools": [{"type": "agent_toolset_20260401"}]});
    crate::agent::CreateAgent::read(request, At::root())
        .unwrap()
        .definition
        .profile
}

#[test]
fn refusals_name_the_place() {
    let message = json!({"type": "user.message", "content": [{"type": "text", "text": "x"}]});
    let rows = [
        (json!({"environment_id": "e"}), "agent: field required"),
        (json!({"agent": "a"}), "environment_id: field required"),
        (
            with("agent", json!(1)),
            "agent: must be an agent id or an object, got the number 1",
        ),
        (
            with("agent", json!({"type": "agent", "id": "a", "system": "x"})),
            "agent.system: unknown field",
        ),
        (
            with("agent", json!({"type": "agent", "id": "a", "version": 0})),
            "agent.version: must be an integer from 1",
        ),
        (
            with("agent", json!({"type": "robot", "id": "a"})),
            "agent.type: must be",
        ),
        (
            with(
                "agent",
                json!({"type": "agent_with_overrides", "id": "a", "model": null}),
            ),
            "agent_model_required: agent.model:",
        ),
        (
            with(
                "agent",
                json!({"type": "agent_with_overrides", "id": "a", "skills": [{}]}),
            ),
            "agent.skills: not served",
        ),
        (
            with("environment_id", json!("x".repeat(129))),
            "environment_id: at most 128 characters, got 129",
        ),
        (
            with("title", json!("x".repeat(501))),
            "title: at most 500 characters, got 501",
        ),
        (
            with("resources", json!([{"type": "file"}])),
            "resources: not served",
        ),
        (
            with("vault_ids", json!(["vlt_1", "vlt_1"])),
            "vault_ids: names must be unique",
        ),
        (
            with("vault_ids", json!([""])),
            "vault_ids.0: cannot be empty",
        ),
        (
            with("vault_ids", json!(vec!["v"; 51])),
            "vault_ids: at most 50",
        ),
        (
            with("budget", json!({"type": "limit"})),
            "budget.max_list_cost: field required",
        ),
        (
            with("initial_events", json!([{"type": "user.interrupt"}])),
            "initial_events.0.type: only `user.message`",
        ),
        (
            with("initial_events", Value::Array(vec![message; 51])),
            "initial_events: at most 50 items, got 51",
        ),
        (with("colour", json!(1)), "colour: unknown field"),
    ];
    for (value, message) in rows {
        let error = create(value).unwrap_err();
        assert!(
            error.message.starts_with(message),
            "{} does not start with {message}",
            error.message
        );
    }
    assert!(create(json!({"agent": "a", "environment_id": "e", "resources": [], "vault_ids": null, "title": null})).is_ok());
}

#[test]
fn overrides_replace_in_the_snapshot_only() {
    let agent = json!({"type": "agent_with_overrides", "id": "agent_1", "version": 3, "model": "other", "system": null, "tools": []});
    let agent = create(with("agent", agent)).unwrap().agent;
    assert_eq!((agent.version, agent.id.as_str()), (Some(3), "agent_1"));
    let shown = serde_json::to_value(agent.snapshot(3, profile()).unwrap()).unwrap();
    assert_eq!(
        shown,
        json!({
            "type": "agent", "id": "agent_1", "version": 3, "name": "n", "description": null, "system": null,
            "model": {"id": "other", "effort": null, "inference_geo": null, "speed": null}, "tools": [],
            "mcp_servers": [], "skills": [], "multiagent": null, "execution_identity": {"type": "service_account"}, "cli": null,
        })
    );
}

#[test]
fn a_bare_id_takes_the_agent_as_it_is() {
    let agent = create(with("agent", json!("agent_1"))).unwrap().agent;
    assert_eq!(agent.snapshot(1, profile()).unwrap().profile, profile());
}

#[test]
fn an_update_has_three_states() {
    let read = |value| UpdateSession::read(value, At::root());
    assert_eq!(read(json!({})).unwrap().title, Patch::Absent);
    assert_eq!(read(json!({"title": null})).unwrap().title, Patch::Null);
    assert_eq!(
        read(json!({"title": "t"})).unwrap().title,
        Patch::Value("t".into())
    );
    assert_eq!(read(json!({"budget": null})).unwrap().budget, Patch::Null);
    for (value, message) in [
        (json!({"title": ""}), "title: cannot be empty"),
        (json!({"vault_ids": ["vlt_1"]}), "vault_ids: not served"),
        (
            json!({"agent": {"model": "m"}}),
            "agent.model: unknown field; known here: `tools`, `mcp_servers`",
        ),
        (json!({"status": "idle"}), "status: unknown field"),
    ] {
        let error = read(value).unwrap_err();
        assert!(
            error.message.starts_with(message),
            "{} does not start with {message}",
            error.message
        );
    }
}
