use serde_json::json;

use super::*;

fn create(value: &Value) -> Result<Definition, Invalid> {
    CreateAgent::read(value.clone(), At::root()).map(|create| create.definition)
}

fn with(key: &str, value: Value) -> Value {
    let mut request = json!({"model": "m", "name": "n"});
    request[key] = value;
    request
}

#[test]
fn a_minimal_agent_is_resolved() {
    let definition = create(&json!({"model": "m", "name": "n"})).unwrap();
    assert_eq!(
        serde_json::to_value(&definition).unwrap(),
        json!({
            "name": "n", "description": null, "system": null,
            "model": {"id": "m", "effort": null, "inference_geo": null, "speed": null},
            "tools": [], "mcp_servers": [], "skills": [], "multiagent": null,
            "execution_identity": {"type": "service_account"}, "cli": null, "metadata": {}, "limits": null,
        })
    );
    let back: Definition =
        serde_json::from_value(serde_json::to_value(&definition).unwrap()).unwrap();
    assert_eq!(back, definition);
}

#[test]
fn a_cli_requirement_is_set_kept_and_removed() {
    let stored = create(&with("cli", json!("^2.1"))).unwrap();
    assert_eq!(serde_json::to_value(&stored).unwrap()["cli"], "^2.1");
    let update = |value| {
        let update = UpdateAgent::read(value, At::root()).unwrap();
        update.apply(&stored).unwrap().profile.cli
    };
    assert_eq!(update(json!({"name": "o"})), stored.profile.cli);
    assert_eq!(update(json!({"cli": null})), None);
    let error = create(&with("cli", json!("newest"))).unwrap_err();
    assert!(
        error
            .message
            .starts_with("cli: must be a semver requirement"),
        "{}",
        error.message
    );
}

#[test]
fn refusals_name_field_limit_and_what_was_given() {
    let rows = [
        (json!([]), "request body: must be an object, got a list"),
        (json!({"name": "n"}), "model: field required"),
        (json!({"model": "m"}), "name: field required"),
        (
            with("name", json!(5)),
            "name: must be a string, got the number 5",
        ),
        (with("name", json!(null)), "name: cannot be null"),
        (with("name", json!("")), "name: cannot be empty"),
        (
            with("name", json!("x".repeat(257))),
            "name: at most 256 characters, got 257",
        ),
        (
            with("description", json!("x".repeat(2049))),
            "description: at most 2048 characters, got 2049",
        ),
        (
            with("system", json!("x".repeat(100_001))),
            "system: at most 100000 characters, got 100001",
        ),
        (
            with("temperature", json!(1)),
            "temperature: unknown field; known here: `model`, `name`",
        ),
        (
            with("skills", json!([{"type": "custom", "skill_id": "s"}])),
            "skills: not served",
        ),
        (
            with("multiagent", json!({"type": "coordinator", "agents": []})),
            "multiagent: not served",
        ),
        (
            with(
                "execution_identity",
                json!({"type": "aws_role", "role_arn": "a"}),
            ),
            "execution_identity: `aws_role` is not",
        ),
        (
            with(
                "mcp_servers",
                json!([{"type": "url", "name": "s", "url": "https://s.example"}]),
            ),
            "mcp_servers.0: no mcp_toolset",
        ),
        (
            with(
                "mcp_servers",
                json!([{"type": "url", "name": "s", "url": "ftp://s"}]),
            ),
            "mcp_servers.0.url: must be an http",
        ),
        (
            with(
                "tools",
                json!([{"type": "mcp_toolset", "mcp_server_name": "s"}]),
            ),
            "tools.0.mcp_server_name: no entry",
        ),
    ];
    for (value, message) in rows {
        let error = create(&value).unwrap_err();
        assert!(
            error.message.starts_with(message),
            "{} does not start with {message}",
            error.message
        );
    }
}

#[test]
fn defaults_of_unserved_fields_pass() {
    for (key, value) in [
        ("skills", json!([])),
        ("multiagent", json!(null)),
        ("execution_identity", json!({"type": "service_account"})),
        ("execution_identity", json!(null)),
        ("metadata", json!({})),
    ] {
        assert!(create(&with(key, value)).is_ok(), "{key} was refused");
    }
}

#[test]
fn a_server_is_named_by_exactly_one_toolset() {
    let server = json!({"type": "url", "name": "s", "url": "https://s.example/mcp"});
    let toolset = json!({"type": "mcp_toolset", "mcp_server_name": "s"});
    let mut request = with("mcp_servers", json!([server]));
    request["tools"] = json!([toolset]);
    assert!(create(&request).is_ok());
    request["tools"] = json!([toolset, toolset]);
    assert!(
        create(&request)
            .unwrap_err()
            .message
            .contains("more than one mcp_toolset")
    );
}

#[test]
fn an_update_keeps_clears_and_replaces() {
    let stored = create(&json!({
        "model": {"id": "m", "effort": "low"}, "name": "n", "system": "s", "description": "d",
        "tools": [{"type": "agent_toolset_20260401"}], "metadata": {"a": "1", "b": "2"},
    }))
    .unwrap();
    let update =
        |value| UpdateAgent::read(value, At::root()).and_then(|update| update.apply(&stored));
    assert_eq!(update(json!({})).unwrap(), stored);
    assert_eq!(
        update(json!({"model": "m", "name": "n", "metadata": {"a": "1"}})).unwrap(),
        stored
    );
    let cleared =
        update(json!({"system": null, "description": "", "tools": null, "metadata": {"a": null}}))
            .unwrap();
    assert_eq!(
        (cleared.profile.system, cleared.profile.description),
        (None, None)
    );
    assert!(cleared.profile.tools.is_empty());
    assert_eq!(
        cleared.metadata.into_iter().collect::<Vec<_>>(),
        [("b".to_owned(), "2".to_owned())]
    );
    for (value, message) in [
        (json!({"name": null}), "name: cannot be null"),
        (json!({"model": null}), "model: cannot be null"),
        (json!({"version": 0}), "version: must be an integer from 1"),
        (json!({"colour": 1}), "colour: unknown field"),
    ] {
        let error = update(value).unwrap_err();
        assert!(
            error.message.starts_with(message),
            "{} does not start with {message}",
            error.message
        );
    }
}
