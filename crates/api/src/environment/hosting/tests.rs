use serde_json::json;

use super::*;

fn merge(stored: &Hosting, value: Value) -> Result<Hosting, Invalid> {
    let at = At::root();
    HostingParams::read(value, at)?.merge(stored, at)
}

fn create(value: Value) -> Result<Hosting, Invalid> {
    merge(&Hosting::default(), value)
}

fn shown(hosting: &Hosting) -> Value {
    serde_json::to_value(hosting).unwrap()
}

#[test]
fn every_key_is_shown_and_reads_back() {
    let default = json!({
        "pattern": "hybrid", "provider": "oci", "isolation": {"at_least": null},
        "resources": {"cpu": null, "memory": null, "disk": null, "pids": null},
        "idle_timeout": 600, "max_lifetime": null, "max_sessions": 1, "pool": {"min": 0, "max": 0}, "cli": null,
        "limits": {"max_turns": null, "max_cost": null, "max_turn_seconds": null, "max_tool_calls": null},
        "when_done": "terminate", "retention": {"sessions": null, "snapshots": null, "files": null},
    });
    for given in [json!({}), default.clone()] {
        assert_eq!(
            serde_json::from_value::<Hosting>(given.clone()).unwrap(),
            Hosting::default()
        );
        assert_eq!(shown(&create(given).unwrap()), default);
    }
}

#[test]
fn what_is_given_is_resolved() {
    let cost = json!({"amount": "500", "currency": "USD"});
    let hosting = create(json!({
        "pattern": "long_running", "resources": {"cpu": 0.5, "memory": "512MiB", "disk": 2147483648u64, "pids": 64},
        "idle_timeout": "15m", "max_lifetime": "7d", "cli": "^2.1", "pool": {"min": 1, "max": 2},
        "isolation": {"at_least": "gvisor"},
        "limits": {"max_turns": 5, "max_cost": cost, "max_turn_seconds": 1.5, "max_tool_calls": 9},
        "retention": {"sessions": "30d", "files": 60},
    }))
    .unwrap();
    let value = shown(&hosting);
    assert_eq!(
        value["resources"],
        json!({"cpu": 0.5, "memory": 536_870_912, "disk": 2_147_483_648u64, "pids": 64})
    );
    assert_eq!(value["isolation"], json!({"at_least": "gvisor"}));
    assert_eq!(value["idle_timeout"], 900);
    assert_eq!(value["max_lifetime"], 604_800);
    assert_eq!(value["cli"], "^2.1");
    assert_eq!(
        value["limits"],
        json!({"max_turns": 5, "max_cost": cost, "max_turn_seconds": 1.5, "max_tool_calls": 9})
    );
    assert_eq!(
        value["retention"],
        json!({"sessions": 2_592_000, "snapshots": null, "files": 60})
    );
    assert_eq!(serde_json::from_value::<Hosting>(value).unwrap(), hosting);
}

#[test]
fn defaults_follow_the_pattern() {
    for (pattern, idle, sessions) in [
        ("ephemeral", None, 1),
        ("long_running", None, 1),
        ("hybrid", Some(Duration::from_secs(600)), 1),
        ("shared", None, 8),
    ] {
        let hosting = create(json!({"pattern": pattern})).unwrap();
        assert_eq!(
            (hosting.idle_timeout, hosting.max_sessions),
            (idle, sessions)
        );
        // Null means the default of the pattern, whatever was there.
        let set =
            json!({"pattern": pattern, "idle_timeout": null, "max_sessions": null, "cli": null});
        let before = create(
            json!({"pattern": "long_running", "idle_timeout": 5, "max_sessions": 3, "cli": "*"}),
        )
        .unwrap();
        assert_eq!(merge(&before, set).unwrap(), hosting);
    }
}

#[test]
fn an_update_keeps_resets_and_replaces() {
    let stored = create(json!({
        "pattern": "shared", "idle_timeout": 30, "max_sessions": 4,
        "resources": {"cpu": 2, "pids": 64}, "retention": {"files": "1d", "sessions": "2d"},
    }))
    .unwrap();
    assert_eq!(merge(&stored, json!({})).unwrap(), stored);
    let changed = merge(
        &stored,
        json!({"resources": {"cpu": null, "memory": "1GiB"}, "retention": null, "max_sessions": 5}),
    )
    .unwrap();
    let resources = Resources {
        memory: Some(1 << 30),
        pids: Some(64),
        ..Resources::default()
    };
    assert_eq!(changed.resources, resources);
    assert_eq!(changed.retention, Retention::default());
    assert_eq!(changed.max_sessions, 5);
    assert_eq!(changed.idle_timeout, stored.idle_timeout);
    // What was set stays when the pattern changes, and must fit it.
    let error = merge(&stored, json!({"pattern": "hybrid"})).unwrap_err();
    assert!(error.message.starts_with("max_sessions: must be 1"));
    let moved = merge(&stored, json!({"pattern": "hybrid", "max_sessions": null})).unwrap();
    assert_eq!(moved.idle_timeout, Some(Duration::from_secs(30)));
    assert_eq!(moved.max_sessions, 1);
}

#[test]
fn refusals_name_the_place() {
    for (given, message) in [
        (
            json!({"patern": "hybrid"}),
            "patern: unknown field; known here: `pattern`, `provider`",
        ),
        (
            json!({"pattern": "forever"}),
            "pattern: known here: `ephemeral`, `long_running`, `hybrid`, `shared`; got \"forever\"",
        ),
        (
            json!({"provider": "docker"}),
            "provider: known here: `oci`; got \"docker\"",
        ),
        (
            json!({"isolation": {"at_least": "vm"}}),
            "isolation.at_least: known here: `process`, `container`, `gvisor`; got \"vm\"",
        ),
        (
            json!({"isolation": {"at_most": "container"}}),
            "isolation.at_most: unknown field; known here: `at_least`",
        ),
        (
            json!({"isolation": "gvisor"}),
            "isolation: must be an object",
        ),
        (json!({"when_done": 1}), "when_done: must be a string"),
        (
            json!({"idle_timeout": "soon"}),
            "idle_timeout: must be a number of seconds",
        ),
        (json!({"max_lifetime": 0}), "max_lifetime: must be at least"),
        (
            json!({"max_sessions": 0}),
            "max_sessions: must be an integer from 1 to 64",
        ),
        (
            json!({"max_sessions": 65}),
            "max_sessions: must be an integer from 1 to 64",
        ),
        (
            json!({"pattern": "ephemeral", "max_sessions": 2}),
            "max_sessions: must be 1 unless",
        ),
        (
            json!({"pool": {"min": 2, "max": 1}}),
            "pool.min: must not be above `max`, got 2 and 1",
        ),
        (
            json!({"pool": {"max": 65}}),
            "pool.max: must be an integer from 0 to 64",
        ),
        (
            json!({"pattern": "shared", "pool": {"max": 1}}),
            "pool: needs a sandbox for each session: `max_sessions` 1, which is 8",
        ),
        (
            json!({"pattern": "shared", "max_sessions": 1, "pool": {"max": 1}}),
            "pool: needs a sandbox for each session: `max_sessions` 1, which is 1, and a `pattern`",
        ),
        (
            json!({"cli": "newest"}),
            "cli: must be a semver requirement such as \"^2.1\", got \"newest\"",
        ),
        (
            json!({"resources": {"cpu": 0.01}}),
            "resources.cpu: must be a number of processors from 0.05 to 256",
        ),
        (
            json!({"resources": {"memory": "512MB"}}),
            "resources.memory: must be an integer of bytes",
        ),
        (
            json!({"resources": {"disk": 1}}),
            "resources.disk: must be at least 64MiB",
        ),
        (
            json!({"resources": {"disk": "99999999999TiB"}}),
            "resources.disk: must be an integer of bytes",
        ),
        (
            json!({"resources": {"pids": 15}}),
            "resources.pids: must be an integer from 16 to",
        ),
        (
            json!({"limits": {"max_turns": 0}}),
            "limits.max_turns: must be an integer from 1 to",
        ),
        (
            json!({"limits": {"max_cost": 5}}),
            "limits.max_cost: must be an object",
        ),
        (
            json!({"limits": {"max_turn_seconds": "5m"}}),
            "limits.max_turn_seconds: must be a number of seconds",
        ),
        (
            json!({"retention": {"logs": 1}}),
            "retention.logs: unknown field",
        ),
        (json!("hybrid"), "request body: must be an object"),
    ] {
        let error = create(given.clone()).unwrap_err();
        assert!(
            error.message.starts_with(message),
            "{given}: {}",
            error.message
        );
    }
}
