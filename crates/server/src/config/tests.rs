use std::collections::HashMap;
use std::path::Path;

use super::*;

fn read(
    file: Option<&str>,
    variables: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Result<Config, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hostel.toml");
    if let Some(text) = file {
        std::fs::write(&path, text).unwrap();
    }
    let variables: HashMap<&str, &str> = variables.iter().copied().collect();
    let flags: Vec<(String, String)> = flags
        .iter()
        .map(|(key, value)| ((*key).into(), (*value).into()))
        .collect();
    load(Sources {
        file: file.map(|_| path.as_path()),
        variable: &|name| variables.get(name).map(|value| (*value).to_owned()),
        flags: &flags,
    })
}

#[test]
fn flags_go_before_variables_before_the_file_before_defaults() {
    let file = Some("listen = \"127.0.0.1:1\"\n[sandbox]\npids = 100\nmemory_mib = 100\n");
    let variables = [
        ("HOSTEL_LISTEN", "127.0.0.1:2"),
        ("HOSTEL_SANDBOX_PIDS", "200"),
    ];
    let config = read(file, &variables, &[("listen", "127.0.0.1:3")]).unwrap();
    assert_eq!(config.listen.port(), 3);
    assert_eq!(config.sandbox.pids, 200);
    assert_eq!(config.sandbox.memory_mib, 100);
    assert_eq!(config.sandbox.disk_mib, 5120);
}

#[test]
fn an_unknown_key_is_named_with_its_file() {
    for (text, key) in [
        ("lissen = 1", "lissen"),
        ("[sandbox]\nmemory = 5", "memory"),
        ("[model]\napi_key = \"x\"", "api_key"),
    ] {
        let message = read(Some(text), &[], &[]).unwrap_err().to_string();
        assert!(
            message.contains(&format!("unknown field `{key}`")) && message.contains("hostel.toml"),
            "{message}"
        );
    }
}

#[test]
fn a_wrong_value_names_its_origin_and_setting() {
    let rows = [
        (
            read(None, &[("HOSTEL_SANDBOX_PIDS", "many")], &[]),
            "variable HOSTEL_SANDBOX_PIDS (setting sandbox.pids): must be a whole number",
        ),
        (
            read(None, &[], &[("sandbox.runtime", "docker")]),
            "flag for sandbox.runtime (setting sandbox.runtime): unknown variant `docker`",
        ),
        (
            read(None, &[("HOSTEL_LISTEN", "everywhere")], &[]),
            "variable HOSTEL_LISTEN (setting listen): ",
        ),
        (
            read(None, &[], &[("colour", "red")]),
            "there is no setting colour",
        ),
        (
            read(None, &[("HOSTEL_SANDBOX_PIDS", "1")], &[]),
            "setting sandbox.pids must be at least 32",
        ),
        (
            read(None, &[("HOSTEL_TLS_CERT_FILE", "server.crt")], &[]),
            "setting tls.cert_file must be given together with tls.key_file",
        ),
        (
            read(None, &[("HOSTEL_CORS_ORIGINS", "https://a.example,*")], &[]),
            "setting cors.origins must be origins as browsers send them",
        ),
        (
            read(None, &[("HOSTEL_CORS_ORIGINS", "https://a.example/")], &[]),
            "setting cors.origins must be origins as browsers send them",
        ),
        (
            read(None, &[("HOSTEL_LIMITS_REQUESTS_PER_SECOND", "0")], &[]),
            "setting limits.requests_per_second must be at least 1",
        ),
        (
            read(None, &[("ANTHROPIC_BASE_URL", "nowhere")], &[]),
            "setting model.base_url must be an http or https address",
        ),
    ];
    for (result, message) in rows {
        let error = result.unwrap_err().to_string();
        assert!(
            error.starts_with(message),
            "{error} does not start with {message}"
        );
    }
    let missing = load(Sources {
        file: Some(Path::new("/nowhere/hostel.toml")),
        variable: &|_| None,
        flags: &[],
    });
    assert_eq!(
        missing.unwrap_err().to_string(),
        "cannot read /nowhere/hostel.toml"
    );
}

#[test]
fn secrets_come_from_variables_and_are_not_printed() {
    let config = read(
        None,
        &[
            ("HOSTEL_API_KEY", "k-1234"),
            ("ANTHROPIC_AUTH_TOKEN", "t-1234"),
        ],
        &[],
    )
    .unwrap();
    assert_eq!(config.api_key.as_ref().map(Secret::expose), Some("k-1234"));
    assert!(
        matches!(&config.model.credential, Some(Credential::AuthToken(token)) if token.expose() == "t-1234")
    );
    assert!(!format!("{config:?}").contains("-1234"));
    assert!(!serde_json::to_string(&config).unwrap().contains("-1234"));
}

#[test]
fn every_setting_is_in_the_schema_with_a_description() {
    let schema = schema();
    for setting in SETTINGS {
        let mut node = &schema;
        for part in setting.key.split('.') {
            let target = node["$ref"]
                .as_str()
                .and_then(|path| schema.pointer(path.trim_start_matches('#')));
            node = &target.unwrap_or(node)["properties"][part];
        }
        assert!(
            node["description"].is_string(),
            "{} has no description: {node}",
            setting.key
        );
    }
}
