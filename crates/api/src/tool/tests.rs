use serde_json::json;

use super::*;

fn read(value: Value) -> Result<Vec<Tool>, Invalid> {
    let tools = Vec::read(value, At::root().key("tools"))?;
    check(&tools)?;
    Ok(tools)
}

fn custom(name: &str) -> Value {
    json!({"type": "custom", "name": name, "description": "d", "input_schema": {"type": "object"}})
}

#[test]
fn the_builtin_toolset_is_resolved() {
    let tools = read(json!([{
        "type": "agent_toolset_20260401",
        "default_config": {"permission_policy": {"type": "always_ask"}},
        "configs": [{"name": "bash", "enabled": false}],
    }]))
    .unwrap();
    assert_eq!(
        serde_json::to_value(&tools).unwrap(),
        json!([{
            "type": "agent_toolset_20260401",
            "default_config": {"enabled": true, "permission_policy": {"type": "always_ask"}},
            "configs": [{
                "type": "bash", "name": "bash", "enabled": false, "permission_policy": {"type": "always_ask"},
            }],
        }])
    );
    let back: Vec<Tool> = serde_json::from_value(serde_json::to_value(&tools).unwrap()).unwrap();
    assert_eq!(back, tools);
}

#[test]
fn remote_tools_ask_by_default_and_have_no_type() {
    let tools =
        read(json!([{"type": "mcp_toolset", "mcp_server_name": "s", "configs": [{"name": "t"}]}]))
            .unwrap();
    let shown = serde_json::to_value(&tools[0]).unwrap();
    assert_eq!(
        shown["default_config"]["permission_policy"]["type"],
        "always_ask"
    );
    assert_eq!(
        shown["configs"][0],
        json!({"name": "t", "enabled": true, "permission_policy": {"type": "always_ask"}})
    );
}

#[test]
fn the_order_of_a_schema_s_keys_is_kept() {
    let schema = r#"{"type":"object","properties":{"z":{},"a":{}},"additionalProperties":false}"#;
    let mut tool = custom("t");
    tool["input_schema"] = serde_json::from_str(schema).unwrap();
    let Tool::Custom(tool) = read(json!([tool])).unwrap().remove(0) else {
        panic!("not a custom tool")
    };
    assert_eq!(serde_json::to_string(&tool.input_schema).unwrap(), schema);
}

#[test]
fn refusals_name_the_place() {
    let toolset = |config: Value| json!([{"type": "agent_toolset_20260401", "configs": [config]}]);
    let rows = [
        (json!({}), "tools: must be a list, got an object"),
        (json!([{"name": "x"}]), "tools.0.type: field required"),
        (json!([{"type": "bash"}]), "tools.0.type: must be one of"),
        (
            json!([{"type": "custom", "name": "x"}]),
            "tools.0.description: field required",
        ),
        (json!([custom("a b")]), "tools.0.name: only letters"),
        (json!([custom("mcp__x")]), "tools.0.name: cannot start"),
        (
            json!([custom("x"), custom("x")]),
            "tools: names must be unique; \"x\" occurs twice",
        ),
        (
            toolset(json!({"name": "rm"})),
            "tools.0.configs.0.name: must be one of",
        ),
        (
            toolset(json!({"name": "bash", "enabled": "no"})),
            "tools.0.configs.0.enabled: must be a boolean, got a string",
        ),
        (
            toolset(json!({"name": "bash", "type": "read"})),
            "tools.0.configs.0.type: must be the same",
        ),
        (
            toolset(json!({"name": "bash", "allowed_domains": []})),
            "tools.0.configs.0.allowed_domains: unknown field",
        ),
        (
            toolset(json!({"name": "web_search", "allowed_domains": ["a.b"]})),
            "tools.0.configs.0.allowed_domains: not served",
        ),
        (
            toolset(json!({"name": "web_fetch", "max_content_tokens": 5})),
            "tools.0.configs.0.max_content_tokens: not served",
        ),
        (
            toolset(json!({"name": "web_fetch", "url_sources": {"user_input": "none"}})),
            "tools.0.configs.0.url_sources.user_input: anything but `all`",
        ),
        (
            toolset(json!({"name": "bash", "permission_policy": {"type": "auto"}})),
            "tools.0.configs.0.permission_policy.type: `auto` is not served",
        ),
        (
            json!([{"type": "agent_toolset_20260401"}, {"type": "agent_toolset_20260401"}]),
            "tools: at most one agent_toolset_20260401",
        ),
        (
            Value::Array((0..257).map(|n| custom(&format!("t{n}"))).collect()),
            "tools: at most 256 tools over all toolsets, got 257",
        ),
    ];
    for (value, message) in rows {
        let error = read(value).unwrap_err();
        assert!(
            error.message.starts_with(message),
            "{} does not start with {message}",
            error.message
        );
    }
}

#[test]
fn empty_settings_of_unserved_fields_pass() {
    let config = json!({
        "name": "web_fetch", "allowed_domains": [], "blocked_domains": null, "max_content_tokens": null,
        "url_sources": {"user_input": "all", "client_tool_results": {"type": "all"}, "server_tool_results": null},
    });
    assert!(read(json!([{"type": "agent_toolset_20260401", "configs": [config]}])).is_ok());
}
