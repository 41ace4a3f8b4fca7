//! The settings: a TOML file, overridden by variables, overridden by flags. One section per file.
//!
//! Nothing here reads the process environment: variables come in as a function, so that tests pass
//! their own. Secrets come from variables or from files that a setting names, never from the
//! configuration file itself, and cannot be printed.
//!
//! To add a setting: a documented field with a default in its section, and a line in [`SETTINGS`]
//! when a variable or flag should override it. `docs/config.schema.json` is generated from here.

mod audit;
pub mod budgets;
mod cli;
mod cors;
mod egress;
mod limits;
mod load;
mod log;
mod model;
mod prices;
mod sandbox;
mod secret;
mod server;
mod tls;
mod vaults;

use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use audit::Audit;
pub use budgets::Budgets;
pub use cli::Cli;
pub use cors::Cors;
pub use egress::Egress;
pub use limits::Limits;
pub use load::{ConfigError, Sources, load};
pub use log::{Log, LogFormat};
pub use model::{Credential, Model};
pub use prices::{Prices, Unknown};
pub use sandbox::{Runtime, Sandbox};
pub use secret::Secret;
pub use server::Server;
pub use tls::Tls;
pub use vaults::{KeySource, Vaults};

/// The settings of one server.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The directory that holds everything durable. Made when absent, readable by its owner alone.
    pub data: PathBuf,
    /// The address to serve on. Port 0 takes any free one.
    pub listen: SocketAddr,
    /// How long a stopping server waits for requests and streams to end, in milliseconds.
    pub shutdown_timeout_ms: u64,
    /// A file that holds the key with which callers come in. The variable `HOSTEL_API_KEY` goes
    /// before it. With neither, a key is made at the first start and shown once.
    pub api_key_file: Option<PathBuf>,
    /// A file that holds the key with which snapshots are sealed: 64 hexadecimal digits. Without it they
    /// are not sealed. What was sealed needs the key for ever.
    pub snapshot_key_file: Option<PathBuf>,
    /// Who the server is on its machine.
    pub server: Server,
    /// TLS for the API.
    pub tls: Tls,
    /// Web pages that may call the API.
    pub cors: Cors,
    /// The model API.
    pub model: Model,
    /// What tokens cost.
    pub prices: Prices,
    /// What a day may cost.
    pub budgets: Budgets,
    /// The sandboxes.
    pub sandbox: Sandbox,
    /// The claude CLI.
    pub cli: Cli,
    /// The way out.
    pub egress: Egress,
    /// Vaults.
    pub vaults: Vaults,
    /// The record of what sandboxes reached and did not.
    pub audit: Audit,
    /// How much of everything.
    pub limits: Limits,
    /// The server's log.
    pub log: Log,
    /// The key with which callers come in, from its variable or file.
    #[serde(skip)]
    pub api_key: Option<Secret>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            data: PathBuf::from("hostel-data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 8700)),
            shutdown_timeout_ms: 10_000,
            api_key_file: None,
            snapshot_key_file: None,
            server: Server::default(),
            tls: Tls::default(),
            cors: Cors::default(),
            model: Model::default(),
            prices: Prices::default(),
            budgets: Budgets::default(),
            sandbox: Sandbox::default(),
            cli: Cli::default(),
            egress: Egress::default(),
            vaults: Vaults::default(),
            audit: Audit::default(),
            limits: Limits::default(),
            log: Log::default(),
            api_key: None,
        }
    }
}

/// How a setting is written in a variable or flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    Text,
    /// A whole number.
    Number,
    /// Texts with commas between them.
    List,
}

/// A setting that a variable or flag overrides.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its key in the file, with dots between sections.
    pub key: &'static str,
    /// Its variable.
    pub variable: &'static str,
    /// How it is written there.
    pub form: Form,
}

const fn setting(key: &'static str, variable: &'static str, form: Form) -> Setting {
    Setting {
        key,
        variable,
        form,
    }
}

/// Every setting that a variable or flag overrides.
pub const SETTINGS: &[Setting] = &[
    setting("data", "HOSTEL_DATA", Form::Text),
    setting("listen", "HOSTEL_LISTEN", Form::Text),
    setting(
        "shutdown_timeout_ms",
        "HOSTEL_SHUTDOWN_TIMEOUT_MS",
        Form::Number,
    ),
    setting("api_key_file", "HOSTEL_API_KEY_FILE", Form::Text),
    setting("snapshot_key_file", "HOSTEL_SNAPSHOT_KEY_FILE", Form::Text),
    setting("server.user", "HOSTEL_SERVER_USER", Form::Text),
    setting("tls.cert_file", "HOSTEL_TLS_CERT_FILE", Form::Text),
    setting("tls.key_file", "HOSTEL_TLS_KEY_FILE", Form::Text),
    setting("cors.origins", "HOSTEL_CORS_ORIGINS", Form::List),
    setting("model.base_url", "ANTHROPIC_BASE_URL", Form::Text),
    setting(
        "model.api_key_file",
        "HOSTEL_MODEL_API_KEY_FILE",
        Form::Text,
    ),
    setting(
        "model.connect_timeout_ms",
        "HOSTEL_MODEL_CONNECT_TIMEOUT_MS",
        Form::Number,
    ),
    setting(
        "model.idle_timeout_ms",
        "HOSTEL_MODEL_IDLE_TIMEOUT_MS",
        Form::Number,
    ),
    setting(
        "model.max_retries",
        "HOSTEL_MODEL_MAX_RETRIES",
        Form::Number,
    ),
    setting("prices.file", "HOSTEL_PRICES_FILE", Form::Text),
    setting(
        "budgets.workspace_per_day",
        "HOSTEL_BUDGETS_WORKSPACE_PER_DAY",
        Form::Text,
    ),
    setting(
        "budgets.agent_per_day",
        "HOSTEL_BUDGETS_AGENT_PER_DAY",
        Form::Text,
    ),
    setting("sandbox.runtime", "HOSTEL_SANDBOX_RUNTIME", Form::Text),
    setting("sandbox.rootfs", "HOSTEL_SANDBOX_ROOTFS", Form::Text),
    setting(
        "sandbox.memory_mib",
        "HOSTEL_SANDBOX_MEMORY_MIB",
        Form::Number,
    ),
    setting(
        "sandbox.cpu_millis",
        "HOSTEL_SANDBOX_CPU_MILLIS",
        Form::Number,
    ),
    setting("sandbox.pids", "HOSTEL_SANDBOX_PIDS", Form::Number),
    setting("sandbox.disk_mib", "HOSTEL_SANDBOX_DISK_MIB", Form::Number),
    setting(
        "sandbox.freeze_after_ms",
        "HOSTEL_SANDBOX_FREEZE_AFTER_MS",
        Form::Number,
    ),
    setting(
        "sandbox.soft_memory_percent",
        "HOSTEL_SANDBOX_SOFT_MEMORY_PERCENT",
        Form::Number,
    ),
    setting("cli.version", "HOSTEL_CLI_VERSION", Form::Text),
    setting(
        "cli.start_timeout_ms",
        "HOSTEL_CLI_START_TIMEOUT_MS",
        Form::Number,
    ),
    setting(
        "cli.stall_timeout_ms",
        "HOSTEL_CLI_STALL_TIMEOUT_MS",
        Form::Number,
    ),
    setting(
        "egress.private_hosts",
        "HOSTEL_EGRESS_PRIVATE_HOSTS",
        Form::List,
    ),
    setting(
        "egress.package_hosts",
        "HOSTEL_EGRESS_PACKAGE_HOSTS",
        Form::List,
    ),
    setting(
        "egress.authorities_file",
        "HOSTEL_EGRESS_AUTHORITIES_FILE",
        Form::Text,
    ),
    setting("vaults.key", "HOSTEL_VAULTS_KEY", Form::Text),
    setting(
        "vaults.former_keys",
        "HOSTEL_VAULTS_FORMER_KEYS",
        Form::List,
    ),
    setting("audit.keep_days", "HOSTEL_AUDIT_KEEP_DAYS", Form::Number),
    setting("audit.file", "HOSTEL_AUDIT_FILE", Form::Text),
    setting(
        "limits.max_sandboxes",
        "HOSTEL_LIMITS_MAX_SANDBOXES",
        Form::Number,
    ),
    setting("limits.max_turns", "HOSTEL_LIMITS_MAX_TURNS", Form::Number),
    setting(
        "limits.request_bytes",
        "HOSTEL_LIMITS_REQUEST_BYTES",
        Form::Number,
    ),
    setting(
        "limits.connections",
        "HOSTEL_LIMITS_CONNECTIONS",
        Form::Number,
    ),
    setting(
        "limits.connections_per_peer",
        "HOSTEL_LIMITS_CONNECTIONS_PER_PEER",
        Form::Number,
    ),
    setting(
        "limits.head_timeout_ms",
        "HOSTEL_LIMITS_HEAD_TIMEOUT_MS",
        Form::Number,
    ),
    setting(
        "limits.body_timeout_ms",
        "HOSTEL_LIMITS_BODY_TIMEOUT_MS",
        Form::Number,
    ),
    setting(
        "limits.requests_per_second",
        "HOSTEL_LIMITS_REQUESTS_PER_SECOND",
        Form::Number,
    ),
    setting(
        "limits.session_store_bytes",
        "HOSTEL_LIMITS_SESSION_STORE_BYTES",
        Form::Number,
    ),
    setting("log.format", "HOSTEL_LOG_FORMAT", Form::Text),
    setting("log.level", "HOSTEL_LOG_LEVEL", Form::Text),
];

/// The JSON schema of the configuration file.
#[must_use]
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Config).to_value()
}

#[cfg(test)]
mod tests;
