use serde_json::json;

use super::*;

fn read(value: Value) -> Result<EgressParams, Invalid> {
    EgressParams::read(value, At::root())
}

#[test]
fn what_is_left_out_of_a_rule_is_not_asked_about() {
    let rules = json!([
        {"action": "allow", "host": "api.example", "ports": [443, 8443], "methods": ["GET"], "path": "/a/*"},
        {"action": "deny", "host": "*"},
    ]);
    let egress = read(json!({"rules": rules}))
        .unwrap()
        .merge(&Egress::default());
    assert_eq!(egress.rules[0].ports, [443, 8443]);
    let shown = serde_json::to_value(&egress).unwrap();
    assert_eq!(
        shown["rules"][1],
        json!({"action": "deny", "host": "*", "ports": [], "methods": [], "path": null})
    );
    assert_eq!(serde_json::from_value::<Egress>(shown).unwrap(), egress);
}

#[test]
fn an_update_keeps_resets_and_replaces() {
    let stored = read(json!({
        "rules": [{"action": "deny", "host": "*"}],
        "limits": {"connections": 4, "bytes_out": 1000},
        "private_addresses": "allow",
    }));
    let stored = stored.unwrap().merge(&Egress::default());
    let after = |value| read(value).unwrap().merge(&stored);
    assert_eq!(after(json!({})), stored);
    assert!(after(json!({"rules": []})).rules.is_empty());
    let limits = after(json!({"limits": {"bytes_out": null}})).limits;
    assert_eq!((limits.connections, limits.bytes_out), (Some(4), None));
    let reset = after(json!({"private_addresses": null, "limits": null}));
    assert_eq!(reset.private_addresses, PrivateAddresses::Deny);
    assert_eq!(reset.limits, Limits::default());
}

#[test]
fn refusals_name_the_place() {
    let rule = |key: &str, value: Value| {
        let mut rule = json!({"action": "allow", "host": "a.example"});
        rule[key] = value;
        json!({"rules": [rule]})
    };
    for (value, message) in [
        (json!({"rule": []}), "rule: unknown field"),
        (rule("action", json!("log")), "rules.0.action: known here"),
        (
            rule("host", json!("https://a.example")),
            "rules.0.host: must be",
        ),
        (rule("host", json!("a.*.example")), "rules.0.host: must be"),
        (
            rule("host", json!("a.example:443")),
            "rules.0.host: must be",
        ),
        (rule("ports", json!([0])), "rules.0.ports.0: must be a port"),
        (
            rule("methods", json!(["get"])),
            "rules.0.methods.0: must be",
        ),
        (rule("path", json!("a")), "rules.0.path: must begin"),
        (rule("path", json!("/a?b")), "rules.0.path: must begin"),
        (rule("path", json!("/%41")), "rules.0.path: must begin"),
        (rule("paths", json!("/a")), "rules.0.paths: unknown field"),
        (
            json!({"limits": {"requests_per_second": 0}}),
            "limits.requests_per_second: must be an integer from 1",
        ),
        (
            json!({"limits": {"connections": 129}}),
            "limits.connections: must be an integer from 1 to 128",
        ),
        (
            json!({"private_addresses": "maybe"}),
            "private_addresses: known here",
        ),
    ] {
        let error = read(value).unwrap_err();
        assert!(
            error.message.starts_with(message),
            "{} does not start with {message}",
            error.message
        );
    }
    let many = vec![json!({"action": "deny", "host": "*"}); bounds::EGRESS_RULES + 1];
    assert!(read(json!({"rules": many})).is_err());
}
