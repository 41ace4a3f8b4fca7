use serde_json::{Value, json};

use super::*;
use crate::read::{At, Read};

fn create(auth: Value) -> Result<CreateCredential, String> {
    let value = json!({"auth": auth});
    CreateCredential::read(value, At::root()).map_err(|error| error.message)
}

fn bearer() -> Value {
    json!({"type": "static_bearer", "mcp_server_url": "https://mcp.example/a", "token": "tok-12345"})
}

fn variable() -> Value {
    json!({"type": "environment_variable", "secret_name": "API_KEY", "secret_value": "sk-12345678",
        "networking": {"type": "limited", "allowed_hosts": ["api.example", "*.b.example", "10.0.0.1:8443"]}})
}

fn oauth() -> Value {
    json!({"type": "mcp_oauth", "mcp_server_url": "https://mcp.example/a", "access_token": "at-12345678",
        "expires_at": "2027-01-01T00:00:00Z",
        "refresh": {"client_id": "c", "refresh_token": "rt", "token_endpoint": "https://id.example/token",
            "token_endpoint_auth": {"type": "client_secret_post", "client_secret": "cs-secret"}}})
}

fn with(mut auth: Value, place: &str, value: Value) -> Value {
    *auth.pointer_mut(place).expect("the place exists") = value;
    auth
}

fn and(mut auth: Value, key: &str, value: Value) -> Value {
    auth[key] = value;
    auth
}

#[test]
fn what_is_shown_has_nothing_secret_and_debug_neither() {
    for (auth, secrets) in [
        (bearer(), &["tok-12345"][..]),
        (variable(), &["sk-12345678"]),
        (oauth(), &["at-12345678", "cs-secret", "\"rt\""]),
    ] {
        let made = create(auth).unwrap();
        let shown = serde_json::to_string(&made.auth).unwrap();
        let debug = format!("{made:?}");
        for secret in secrets {
            assert!(
                !shown.contains(secret) && !debug.contains(secret),
                "{debug}"
            );
        }
        let again: Auth = serde_json::from_str(&shown).unwrap();
        assert_eq!(again, made.auth, "the store keeps it as it is shown");
    }
    let shown = serde_json::to_value(create(variable()).unwrap().auth).unwrap();
    assert_eq!(
        shown["injection_location"],
        json!({"header": true, "body": true})
    );
    let shown = serde_json::to_value(create(oauth()).unwrap().auth).unwrap();
    assert_eq!(
        shown["refresh"],
        json!({"client_id": "c", "token_endpoint": "https://id.example/token",
            "token_endpoint_auth": {"type": "client_secret_post"}, "resource": null, "scope": null})
    );
}

#[test]
fn refusals_name_the_place_and_show_no_secret() {
    let places = |places: Value| and(variable(), "injection_location", places);
    let host = |host: &str| with(variable(), "/networking/allowed_hosts", json!([host]));
    for (auth, message) in [
        (
            with(bearer(), "/type", json!("basic")),
            "auth.type: must be",
        ),
        (
            with(bearer(), "/token", json!("s3cret")),
            "auth.token: at least 8",
        ),
        (
            with(bearer(), "/token", json!(5)),
            "auth.token: must be a string",
        ),
        (
            with(bearer(), "/token", json!("s3cret s3cret\n")),
            "auth.token: must be printable",
        ),
        (
            with(bearer(), "/token", json!("s3cret".repeat(2000))),
            "auth.token: at most 8192",
        ),
        (
            and(bearer(), "extra", json!("s3cret")),
            "auth.extra: unknown field",
        ),
        (
            with(bearer(), "/mcp_server_url", json!("http://mcp.example")),
            "auth.mcp_server_url: must be an https",
        ),
        (
            with(bearer(), "/mcp_server_url", json!("https://u:s3cret@h")),
            "auth.mcp_server_url: must be an https",
        ),
        (
            with(bearer(), "/mcp_server_url", json!("ftp://h")),
            "auth.mcp_server_url: must be an https",
        ),
        (
            with(variable(), "/secret_name", json!("1A")),
            "auth.secret_name: must be letters",
        ),
        (
            with(variable(), "/secret_name", json!("A-B")),
            "auth.secret_name: must be letters",
        ),
        (
            with(variable(), "/secret_name", json!("https_proxy")),
            "auth.secret_name: \"https_proxy\" is a variable",
        ),
        (
            with(variable(), "/secret_name", json!("ANTHROPIC_API_KEY")),
            "auth.secret_name: \"ANTHROPIC",
        ),
        (
            with(variable(), "/networking", json!({"type": "limited"})),
            "auth.networking.allowed_hosts: field required",
        ),
        (
            with(variable(), "/networking/allowed_hosts", json!([])),
            "auth.networking.allowed_hosts: cannot be empty",
        ),
        (
            with(
                variable(),
                "/networking/allowed_hosts",
                json!(vec!["a.b"; 17]),
            ),
            "auth.networking.allowed_hosts: at most 16",
        ),
        (
            host("https://a.b"),
            "auth.networking.allowed_hosts.0: must be a host",
        ),
        (host("*"), "auth.networking.allowed_hosts.0: must be a host"),
        (
            host("a.b:0"),
            "auth.networking.allowed_hosts.0: must be a host",
        ),
        (
            places(Value::Null),
            "auth.injection_location: cannot be null",
        ),
        (
            places(json!({})),
            "auth.injection_location: `header` or `body`",
        ),
        (
            places(json!({"header": false, "body": false})),
            "auth.injection_location: `header` or `body`",
        ),
        (
            with(
                oauth(),
                "/refresh/token_endpoint",
                json!("http://id.example"),
            ),
            "auth.refresh.token_endpoint: must be an https",
        ),
        (
            with(
                oauth(),
                "/refresh/token_endpoint_auth",
                json!({"type": "client_secret_basic"}),
            ),
            "auth.refresh.token_endpoint_auth.client_secret: field required",
        ),
        (
            with(oauth(), "/refresh/token_endpoint_auth", json!({})),
            "auth.refresh.token_endpoint_auth.type: field required",
        ),
        (
            with(oauth(), "/expires_at", json!("soon")),
            "auth.expires_at: must be an RFC 3339",
        ),
    ] {
        let refused = create(auth.clone()).expect_err(&auth.to_string());
        assert!(refused.starts_with(message), "{refused}");
        assert!(
            !refused.contains("s3cret") || refused.contains("u:s3cret@h"),
            "{refused}"
        );
    }
    for good in [
        places(json!({"body": true})),
        with(variable(), "/networking", json!({"type": "unrestricted"})),
        with(
            bearer(),
            "/mcp_server_url",
            json!("http://127.0.0.2:81/mcp"),
        ),
        with(oauth(), "/refresh", Value::Null),
    ] {
        create(good).unwrap();
    }
}

#[test]
fn an_address_has_one_spelling() {
    for (url, expected) in [
        ("HTTPS://Mcp.Example:443/A/", Some("https://mcp.example/A")),
        ("https://mcp.example", Some("https://mcp.example")),
        ("http://h:80/?q", Some("http://h/?q")),
        ("https://h:8443/a", Some("https://h:8443/a")),
        ("https://u@h/", None),
        ("https://h/#f", None),
        ("https:///a", None),
        ("h", None),
    ] {
        assert_eq!(normal(url).as_deref(), expected, "{url}");
    }
}

fn change(auth: Value, change: Value) -> Result<(Auth, Secrets), String> {
    let made = create(auth)?;
    let (mut auth, mut secrets) = (made.auth, made.secrets);
    let update = UpdateCredential::read(json!({"auth": change}), At::root());
    let update = update.map_err(|error| error.message)?;
    let applied = update.auth.unwrap().apply(&mut auth, &mut secrets);
    applied.map_err(|error| error.message)?;
    Ok((auth, secrets))
}

#[test]
fn a_change_keeps_what_it_does_not_name() {
    let (auth, secrets) = change(
        variable(),
        json!({"type": "environment_variable", "injection_location": {"header": false}}),
    )
    .unwrap();
    assert_eq!(secrets.value.expose(), "sk-12345678");
    let Auth::EnvironmentVariable {
        injection_location, ..
    } = auth
    else {
        panic!()
    };
    assert!(!injection_location.header && injection_location.body);

    let (auth, secrets) = change(
        oauth(),
        json!({"type": "mcp_oauth", "access_token": "new-token-1",
            "refresh": {"scope": "a b", "token_endpoint_auth": {"type": "client_secret_post", "client_secret": "cs2"}}}),
    )
    .unwrap();
    assert_eq!(secrets.value.expose(), "new-token-1");
    assert_eq!(secrets.refresh_token.unwrap().expose(), "rt");
    assert_eq!(secrets.client_secret.unwrap().expose(), "cs2");
    let Auth::McpOauth {
        expires_at,
        refresh,
        ..
    } = auth
    else {
        panic!()
    };
    assert_eq!(
        expires_at, None,
        "the end of the old token is not that of the new one"
    );
    assert_eq!(refresh.unwrap().scope.as_deref(), Some("a b"));
}

#[test]
fn a_change_leaves_what_it_is_for() {
    for (auth, given, message) in [
        (
            bearer(),
            json!({"type": "mcp_oauth"}),
            "auth.type: the type of a credential stays `static_bearer`",
        ),
        (
            bearer(),
            json!({"type": "static_bearer", "mcp_server_url": "https://x"}),
            "auth.mcp_server_url: unknown field",
        ),
        (
            bearer(),
            json!({"type": "static_bearer", "token": null}),
            "auth.token: cannot be null",
        ),
        (
            variable(),
            json!({"type": "environment_variable", "secret_value": "a"}),
            "auth.secret_value: at least 8",
        ),
        (
            with(oauth(), "/refresh", Value::Null),
            json!({"type": "mcp_oauth", "refresh": {"refresh_token": "r"}}),
            "auth.refresh: the credential has none",
        ),
        (
            oauth(),
            json!({"type": "mcp_oauth", "refresh": {"token_endpoint_auth": {"type": "none"}}}),
            "auth.refresh.token_endpoint_auth.type: it cannot be changed",
        ),
    ] {
        let refused = change(auth, given).unwrap_err();
        assert!(refused.starts_with(message), "{refused}");
    }
}
