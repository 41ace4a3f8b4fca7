//! The contract's limits, and the checks that say which one was hit.
//!
//! Text is counted in characters, not bytes, as the contract does.

use crate::error::Invalid;
use crate::read::{At, quoted};

/// Bytes of memory or disk of a sandbox: far above any host, and exact in every client's numbers.
pub const MOST_BYTES: u64 = 1 << 50;
/// Processor time of a sandbox, in thousandths of one processor.
pub const MOST_CPU_MILLIS: u32 = 256_000;
/// Processes and threads of a sandbox: the kernel's own limit.
pub const MOST_PIDS: u32 = 1 << 22;
/// Characters in an agent's or environment's name.
pub const NAME: usize = 256;
/// Characters in an agent's description.
pub const AGENT_DESCRIPTION: usize = 2_048;
/// Characters in an environment's description.
pub const ENVIRONMENT_DESCRIPTION: usize = 1_024;
/// Characters in a system prompt.
pub const SYSTEM: usize = 100_000;
/// Tools of an agent over all its toolsets.
pub const TOOLS: usize = 256;
/// Remote MCP servers of an agent.
pub const MCP_SERVERS: usize = 20;
/// Characters in an MCP server's name.
pub const MCP_NAME: usize = 255;
/// Characters in an MCP server's address.
pub const MCP_URL: usize = 2_048;
/// Characters in a tool's name.
pub const TOOL_NAME: usize = 128;
/// Characters in a custom tool's description.
pub const TOOL_DESCRIPTION: usize = 1_024;
/// Characters in a session's title.
pub const TITLE: usize = 500;
/// Events that a session may be created with.
pub const INITIAL_EVENTS: usize = 50;
/// Events in one send; the contract names no number, so that of creation is reused.
pub const SEND_EVENTS: usize = 50;
/// Characters in the reason of a denied tool call.
pub const DENY_MESSAGE: usize = 10_000;
/// Characters in an id or model name.
pub const ID: usize = 128;
/// Pairs in a metadata map.
pub const METADATA_PAIRS: usize = 16;
/// Characters in a metadata key.
pub const METADATA_KEY: usize = 64;
/// Characters in a metadata value.
pub const METADATA_VALUE: usize = 512;
/// Hosts in an environment's allow list; the contract names no number, so this bounds the work per request.
pub const ALLOWED_HOSTS: usize = 256;
/// Rules of an environment's `egress`; one decision among them takes microseconds.
pub const EGRESS_RULES: usize = 1_000;
/// Ports, and methods, of one rule.
pub const RULE_ITEMS: usize = 32;
/// Characters in the path of a rule.
pub const RULE_PATH: usize = 1_024;
/// Vaults that a session is given; the contract's number for deployments.
pub const VAULTS: usize = 50;
/// Active credentials of a vault.
pub const CREDENTIALS: usize = 20;
/// Characters in the name of a vault or credential.
pub const DISPLAY_NAME: usize = 255;
/// Characters in an address that a credential is for.
pub const CREDENTIAL_URL: usize = 2_047;
/// Characters in a token or value, and in a scope.
pub const TOKEN: usize = 8_192;
/// Characters in a refresh token.
pub const REFRESH_TOKEN: usize = 4_096;
/// Characters in an OAuth client's id.
pub const CLIENT_ID: usize = 1_024;
/// Characters in an OAuth client's secret.
pub const CLIENT_SECRET: usize = 512;
/// Hosts that a credential names.
pub const CREDENTIAL_HOSTS: usize = 16;
/// Characters in the name of a variable; the contract names no number.
pub const SECRET_NAME: usize = 255;

/// Checks the length of a text, in characters.
///
/// # Errors
/// When it is shorter than `min` or longer than `max`.
pub fn text(value: &str, min: usize, max: usize, at: At<'_>) -> Result<(), Invalid> {
    let length = value.chars().count();
    if length < min {
        return Err(at.invalid("cannot be empty"));
    }
    if length > max {
        return Err(at.invalid(format!("at most {max} characters, got {length}")));
    }
    Ok(())
}

/// Checks the length of a list.
///
/// # Errors
/// When it holds more than `max` items.
pub fn items(length: usize, max: usize, at: At<'_>) -> Result<(), Invalid> {
    if length > max {
        return Err(at.invalid(format!("at most {max} items, got {length}")));
    }
    Ok(())
}

/// Checks that no name occurs twice.
///
/// # Errors
/// When one does; the message names it.
pub fn unique<'n>(names: impl IntoIterator<Item = &'n str>, at: At<'_>) -> Result<(), Invalid> {
    let mut seen = std::collections::HashSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(at.invalid(format!(
                "names must be unique; {} occurs twice",
                quoted(name)
            )));
        }
    }
    Ok(())
}
