//! From file, variables and flags to settings.

use std::io;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::budgets::is_amount;
use super::cors::is_origin;
use super::{Config, Credential, Form, KeySource, SETTINGS, Secret, Setting};

/// Where settings come from; each goes before the ones above it.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// The configuration file.
    pub file: Option<&'a Path>,
    /// The variables of the process.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// The flags, as pairs of key (`sandbox.pids`) and value.
    pub flags: &'a [(String, String)],
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The configuration file has an unknown key or a wrong value.
    #[error("in the configuration file {}: {message}", .path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Key, line and rule.
        message: String,
    },
    /// A variable or flag has a wrong value.
    #[error("{origin} (setting {key}): {message}")]
    Override {
        /// Which variable or flag.
        origin: String,
        /// The setting.
        key: String,
        /// The rule.
        message: String,
    },
    /// A flag names a setting that does not exist.
    #[error("there is no setting {key}")]
    UnknownKey {
        /// The name.
        key: String,
    },
    /// A setting is out of its range.
    #[error("setting {key} must be {rule}")]
    Range {
        /// The setting.
        key: &'static str,
        /// The rule.
        rule: &'static str,
    },
}

/// Puts the settings together.
///
/// # Errors
/// When a source cannot be read or holds what no setting takes.
pub fn load(sources: Sources<'_>) -> Result<Config, ConfigError> {
    let mut table = match sources.file {
        Some(path) => read_file(path)?,
        None => Table::new(),
    };
    for setting in SETTINGS {
        if let Some(value) = (sources.variable)(setting.variable).filter(|value| !value.is_empty())
        {
            replace(
                &mut table,
                *setting,
                &value,
                format!("variable {}", setting.variable),
            )?;
        }
    }
    for (key, value) in sources.flags {
        let setting = SETTINGS.iter().find(|setting| setting.key == key);
        let setting = setting.ok_or_else(|| ConfigError::UnknownKey { key: key.clone() })?;
        replace(&mut table, *setting, value, format!("flag for {key}"))?;
    }
    // Every value was judged when it was put in, so that this cannot meet a new error.
    let mut config: Config = Value::Table(table)
        .try_into()
        .map_err(|error: toml::de::Error| ConfigError::Override {
            origin: "configuration".to_owned(),
            key: "?".to_owned(),
            message: error.message().to_owned(),
        })?;
    check(&config)?;
    read_secrets(&mut config, sources.variable)?;
    Ok(config)
}

fn read_file(path: &Path) -> Result<Table, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    // Read as settings at first, for an error that shows the line; then as a table to write into.
    let refuse = |error: toml::de::Error| ConfigError::File {
        path: path.to_owned(),
        message: error.to_string(),
    };
    toml::from_str::<Config>(&text).map_err(refuse)?;
    toml::from_str::<Table>(&text).map_err(refuse)
}

/// Writes one setting into the table, and judges the result so that the error names its origin.
fn replace(
    table: &mut Table,
    setting: Setting,
    text: &str,
    origin: String,
) -> Result<(), ConfigError> {
    let refuse = |message: String| ConfigError::Override {
        origin: origin.clone(),
        key: setting.key.to_owned(),
        message,
    };
    let value = match setting.form {
        Form::Text => Value::String(text.to_owned()),
        Form::Number => Value::Integer(
            text.trim()
                .parse()
                .map_err(|_| refuse("must be a whole number".to_owned()))?,
        ),
        Form::List => {
            let items = text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty());
            Value::Array(items.map(|item| Value::String(item.to_owned())).collect())
        }
    };
    let (section, key) = match setting.key.split_once('.') {
        Some((section, key)) => (Some(section), key),
        None => (None, setting.key),
    };
    let target = match section {
        None => &mut *table,
        Some(section) => {
            let entry = table
                .entry(section)
                .or_insert_with(|| Value::Table(Table::new()));
            entry
                .as_table_mut()
                .expect("the file was read as settings, where a section is a table")
        }
    };
    target.insert(key.to_owned(), value);
    let judged: Result<Config, toml::de::Error> = Value::Table(table.clone()).try_into();
    judged
        .map(drop)
        .map_err(|error| refuse(error.message().to_owned()))
}

const KEY_SOURCE: &str = "(and vaults.former_keys) `file:` and a path, `env:` and a variable's name, or \
    `command:` and a command, and not the key itself";
const WHOLE_CENTS: &str = "whole US cents above zero, \"10000\" for 100 dollars";

fn check(config: &Config) -> Result<(), ConfigError> {
    let sandbox = &config.sandbox;
    let budgets = &config.budgets;
    let is_amount = |amount: &Option<String>| amount.as_deref().is_none_or(is_amount);
    let rules = [
        (
            sandbox.memory_mib >= 64,
            "sandbox.memory_mib",
            "at least 64",
        ),
        (
            sandbox.cpu_millis >= 50,
            "sandbox.cpu_millis",
            "at least 50",
        ),
        (sandbox.pids >= 32, "sandbox.pids", "at least 32"),
        (sandbox.disk_mib >= 64, "sandbox.disk_mib", "at least 64"),
        (
            sandbox.freeze_after_ms >= 10,
            "sandbox.freeze_after_ms",
            "at least 10",
        ),
        (
            (10..=100).contains(&sandbox.soft_memory_percent),
            "sandbox.soft_memory_percent",
            "from 10 to 100",
        ),
        (config.audit.keep_days >= 1, "audit.keep_days", "at least 1"),
        (
            config.limits.max_sandboxes >= 1,
            "limits.max_sandboxes",
            "at least 1",
        ),
        (
            config.limits.max_turns >= 1,
            "limits.max_turns",
            "at least 1",
        ),
        (
            config.limits.request_bytes >= 1024,
            "limits.request_bytes",
            "at least 1024",
        ),
        (
            config.limits.connections >= 1,
            "limits.connections",
            "at least 1",
        ),
        (
            config.limits.connections_per_peer >= 1,
            "limits.connections_per_peer",
            "at least 1",
        ),
        (
            config.limits.head_timeout_ms >= 100,
            "limits.head_timeout_ms",
            "at least 100",
        ),
        (
            config.limits.body_timeout_ms >= 100,
            "limits.body_timeout_ms",
            "at least 100",
        ),
        (
            config.limits.requests_per_second != Some(0),
            "limits.requests_per_second",
            "at least 1",
        ),
        (
            config.limits.session_store_bytes >= 1,
            "limits.session_store_bytes",
            "at least 1",
        ),
        (
            config.tls.cert_file.is_some() == config.tls.key_file.is_some(),
            "tls.cert_file",
            "given together with tls.key_file, or neither",
        ),
        (
            config.cors.origins.iter().all(|origin| is_origin(origin)),
            "cors.origins",
            "origins as browsers send them, as in https://app.example.com",
        ),
        (
            config
                .vaults
                .sources()
                .all(|text| KeySource::of(text).is_some()),
            "vaults.key",
            KEY_SOURCE,
        ),
        (
            config.vaults.key.is_some() || config.vaults.former_keys.is_empty(),
            "vaults.former_keys",
            "given together with vaults.key, which what they sealed is sealed with anew",
        ),
        (
            is_amount(&budgets.workspace_per_day),
            "budgets.workspace_per_day",
            WHOLE_CENTS,
        ),
        (
            is_amount(&budgets.agent_per_day),
            "budgets.agent_per_day",
            WHOLE_CENTS,
        ),
        (
            is_web_address(&config.model.base_url),
            "model.base_url",
            "an http or https address",
        ),
    ];
    match rules.into_iter().find(|(holds, ..)| !holds) {
        Some((_, key, rule)) => Err(ConfigError::Range { key, rule }),
        None => Ok(()),
    }
}

fn is_web_address(text: &str) -> bool {
    text.parse::<http::Uri>().is_ok_and(|uri| {
        uri.authority().is_some()
            && uri
                .scheme_str()
                .is_some_and(|scheme| scheme == "http" || scheme == "https")
    })
}

fn read_secrets(
    config: &mut Config,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<(), ConfigError> {
    let given = |name: &str| {
        variable(name)
            .filter(|value| !value.trim().is_empty())
            .map(|value| Secret::new(value.trim()))
    };
    config.api_key = match given("HOSTEL_API_KEY") {
        Some(key) => Some(key),
        None => read_secret(config.api_key_file.as_deref())?,
    };
    let mut variables = std::collections::BTreeMap::new();
    for source in config.vaults.sources() {
        if let Some(KeySource::Variable(name)) = KeySource::of(source)
            && let Some(key) = given(name)
        {
            variables.insert(name.to_owned(), key);
        }
    }
    config.vaults.variables = variables;
    config.model.credential = match (given("ANTHROPIC_API_KEY"), given("ANTHROPIC_AUTH_TOKEN")) {
        (Some(key), _) => Some(Credential::ApiKey(key)),
        (None, Some(token)) => Some(Credential::AuthToken(token)),
        (None, None) => read_secret(config.model.api_key_file.as_deref())?.map(Credential::ApiKey),
    };
    Ok(())
}

fn read_secret(path: Option<&Path>) -> Result<Option<Secret>, ConfigError> {
    let Some(path) = path else { return Ok(None) };
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    Ok(Some(Secret::new(text.trim())))
}
