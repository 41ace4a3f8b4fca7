use serde_json::json;

use super::*;

fn create(value: Value) -> Result<Definition, Invalid> {
    CreateEnvironment::read(value, At::root()).map(|create| create.definition)
}

fn with_config(config: &Value) -> Result<Definition, Invalid> {
    create(json!({"name": "n", "config": config}))
}

#[test]
fn a_minimal_environment_is_resolved() {
    let resolved = json!({
        "name": "n", "description": null, "metadata": {}, "scope": "organization",
        "config": {
            "type": "cloud",
            "networking": {"type": "unrestricted"},
            "packages": {"type": "packages", "apt": [], "cargo": [], "gem": [], "go": [], "npm": [], "pip": []},
            "hosting": Hosting::default(),
            "egress": Egress::default(),
        },
    });
    for request in [
        json!({"name": "n"}),
        json!({"name": "n", "config": null}),
        json!({"name": "n", "config": {"type": "cloud", "networking": null, "packages": {"type": "packages", "pip": []}}}),
    ] {
        let definition = create(request).unwrap();
        assert_eq!(serde_json::to_value(&definition).unwrap(), resolved);
        assert_eq!(
            serde_json::from_value::<Definition>(resolved.clone()).unwrap(),
            definition
        );
    }
}

#[test]
fn refusals_name_the_place() {
    let limited = |key: &str, value: Value| json!({"type": "cloud", "networking": {"type": "limited", key: value}});
    let rows = [
        (json!({}), "config.type: field required"),
        (json!("cloud"), "config: must be an object, got a string"),
        (
            json!({"type": "self_hosted"}),
            "config.type: `self_hosted` is not served",
        ),
        (
            json!({"type": "cloud", "hosts": {}}),
            "config.hosts: unknown field; known here: `type`, `networking`, `packages`, `hosting`, `egress`",
        ),
        (
            json!({"type": "cloud", "hosting": {"pool": {"size": 1}}}),
            "config.hosting.pool.size: unknown field; known here: `min`, `max`",
        ),
        (
            json!({"type": "cloud", "hosting": {"max_sessions": 2}}),
            "config.hosting.max_sessions: must be 1 unless",
        ),
        (
            json!({"type": "cloud", "packages": {"pip": ["x"]}}),
            "config.packages.pip: not served",
        ),
        (
            json!({"type": "cloud", "packages": {"brew": []}}),
            "config.packages.brew: unknown field",
        ),
        (
            limited("allow_package_managers", json!("npm")),
            "config.networking.allow_package_managers: must be a boolean",
        ),
        (
            json!({"type": "cloud", "egress": {"rules": [{"action": "allow", "host": "a/b"}]}}),
            "config.egress.rules.0.host: must be",
        ),
        (
            limited("allowed_hosts", json!(["https://a.example"])),
            "config.networking.allowed_hosts.0: must be a host name",
        ),
        (
            limited("allowed_hosts", json!(["a.example", "*."])),
            "config.networking.allowed_hosts.1: must be a host name",
        ),
        (
            limited("allowed_hosts", json!("a.example")),
            "config.networking.allowed_hosts: must be a list",
        ),
        (
            limited("allow_mcp_servers", json!(1)),
            "config.networking.allow_mcp_servers: must be a boolean, got the number 1",
        ),
        (
            json!({"type": "cloud", "networking": {"type": "open"}}),
            "config.networking.type: must be",
        ),
    ];
    for (config, message) in rows {
        let error = with_config(&config).unwrap_err();
        assert!(
            error.message.starts_with(message),
            "{} does not start with {message}",
            error.message
        );
    }
    assert!(create(json!({"name": "n", "scope": "account"})).is_err());
}

#[test]
fn networking_is_merged_key_by_key() {
    let networking = json!({"type": "limited", "allowed_hosts": ["a.example", "*.b.example"], "allow_mcp_servers": true});
    let stored = with_config(&json!({"type": "cloud", "networking": networking})).unwrap();
    let update = |networking: Value| {
        let request = json!({"config": {"type": "cloud", "networking": networking}});
        UpdateEnvironment::read(request, At::root())
            .unwrap()
            .apply(&stored)
            .unwrap()
            .config
            .networking
    };
    assert_eq!(update(json!({"type": "limited"})), stored.config.networking);
    assert_eq!(
        update(json!({"type": "unrestricted"})),
        Networking::Unrestricted
    );
    let Networking::Limited(after) = update(json!({"type": "limited", "allowed_hosts": []})) else {
        panic!("not limited")
    };
    assert!(after.allowed_hosts.is_empty() && after.allow_mcp_servers);
    let packages = json!({"type": "limited", "allow_package_managers": true});
    let Networking::Limited(after) = update(packages) else {
        panic!("not limited")
    };
    assert!(after.allow_package_managers && after.allow_mcp_servers);
}

#[test]
fn an_update_keeps_clears_and_replaces() {
    let stored = create(json!({"name": "n", "description": "d", "metadata": {"a": "1"}})).unwrap();
    let update =
        |value| UpdateEnvironment::read(value, At::root()).and_then(|update| update.apply(&stored));
    assert_eq!(update(json!({})).unwrap(), stored);
    assert_eq!(
        update(json!({"description": null})).unwrap().description,
        None
    );
    assert_eq!(
        update(json!({"description": ""}))
            .unwrap()
            .description
            .as_deref(),
        Some("")
    );
    assert!(
        update(json!({"metadata": {"a": ""}}))
            .unwrap()
            .metadata
            .is_empty()
    );
    let error = update(json!({"config": {"type": "self_hosted"}})).unwrap_err();
    assert_eq!(error.code, Some("invalid_config_type_change"));
}

#[test]
fn hosting_is_merged_reset_and_has_a_default_where_it_was_not_stored() {
    let before = with_config(&json!({"type": "cloud", "hosting": {"pattern": "shared"}})).unwrap();
    let update = |hosting| {
        let value = json!({"config": {"type": "cloud", "hosting": hosting}});
        let update = UpdateEnvironment::read(value, At::root()).unwrap();
        update.apply(&before).map(|after| after.config.hosting)
    };
    let after = update(json!({"max_sessions": 2})).unwrap();
    assert_eq!(after.pattern, hosting::Pattern::Shared);
    assert_eq!(after.max_sessions, 2);
    assert_eq!(update(Value::Null).unwrap(), Hosting::default());
    let error = update(json!({"pool": {"max": 1}})).unwrap_err();
    assert!(error.message.starts_with("config.hosting.pool: needs"));
    let mut stored = serde_json::to_value(&before).unwrap();
    stored["config"].as_object_mut().unwrap().remove("hosting");
    let old: Definition = serde_json::from_value(stored).unwrap();
    assert_eq!(old.config.hosting, Hosting::default());
}
