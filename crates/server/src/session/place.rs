//! Where things are inside a sandbox. Claude, the guest and egress agree on these.

/// The claude binary.
pub const CLI: &str = "/opt/hostel/claude";
/// The working directory.
pub const WORKSPACE: &str = "/workspace";
/// The home directory.
pub const HOME: &str = "/home/agent";
/// Claude's configuration directory, below the home directory.
pub const CONFIG: &str = "/home/agent/.claude";
/// The name of [`CONFIG`] below [`HOME`].
pub const CONFIG_NAME: &str = ".claude";
/// Claude's directory for sockets and task output: this session's own.
pub const TMP: &str = "/tmp";
/// Where the model API is, on loopback. Above the ephemeral range, so that no program gets it by chance.
pub const MODEL_PORT: u16 = 61001;
/// Where the HTTP proxy is, on loopback.
pub const PROXY_PORT: u16 = 61002;
/// The tag of connections to [`MODEL_PORT`].
pub const MODEL: &str = "model";
/// The tag of connections to [`PROXY_PORT`].
pub const PROXY: &str = "proxy";
