//! The whole environment of the CLI.

use super::{Launch, Session};

/// The transcript's directory below `projects`. A fixed name keeps a conversation findable when
/// its working directory moves.
pub(crate) const PROJECT: &str = "session";

/// Milliseconds the CLI waits for an MCP tool: the longest a timer there can hold, 24.8 days. A
/// person may take that long to answer for a custom tool, and the host owns the real limits.
const MCP_TOOL_TIMEOUT_MS: &str = "2147483647";

const FIXED: [(&str, &str); 11] = [
    ("LANG", "C.UTF-8"),
    (
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ),
    // No lookups, no other host than the model's, no extra call for a title.
    ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
    // The memory directory would carry one session's words into another.
    ("CLAUDE_CODE_DISABLE_AUTO_MEMORY", "1"),
    // Instructions and skills come from the agent's definition, not from files that lie in the
    // workspace or come with the CLI.
    ("CLAUDE_CODE_DISABLE_CLAUDE_MDS", "1"),
    ("CLAUDE_CODE_DISABLE_BUNDLED_SKILLS", "1"),
    ("CLAUDE_CODE_SDK_READS_SESSION_STATE", "1"),
    ("CLAUDE_CODE_STARTUP_FAILURE_RESULTS", "1"),
    ("CLAUDE_CODE_PROJECT_DIR_NAME", PROJECT),
    ("MCP_TOOL_TIMEOUT", MCP_TOOL_TIMEOUT_MS),
    // The proxy must not take the model's loopback address.
    ("NO_PROXY", "127.0.0.1,localhost"),
];

pub(super) fn environment(launch: &Launch) -> Vec<(String, String)> {
    let mut env: Vec<(String, String)> = Vec::new();
    let mut set = |name: &str, value: &str| {
        env.retain(|(known, _)| known != name);
        env.push((name.to_owned(), value.to_owned()));
    };
    for (name, value) in FIXED {
        set(name, value);
    }
    if !launch.own_work {
        // A shell in the background would start turns that nobody asked for, after the session is
        // idle; and without them the CLI does not refuse long sleeps.
        set("CLAUDE_CODE_DISABLE_BACKGROUND_TASKS", "1");
    }
    let paths = &launch.paths;
    set("HOME", &paths.home.to_string_lossy());
    set("PWD", &paths.cwd.to_string_lossy());
    set("CLAUDE_CONFIG_DIR", &paths.config_dir.to_string_lossy());
    set("CLAUDE_CODE_TMPDIR", &paths.tmp_dir.to_string_lossy());
    // Its tools, too: where several sessions share a sandbox, /tmp itself is closed to all.
    set("TMPDIR", &paths.tmp_dir.to_string_lossy());
    set("ANTHROPIC_BASE_URL", &launch.model_url);
    set("ANTHROPIC_API_KEY", &launch.placeholder_key);
    set("CLAUDE_CODE_MAX_RETRIES", &launch.max_retries.to_string());
    if let Some(proxy) = &launch.proxy_url {
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
            set(name, proxy);
        }
        set("no_proxy", "127.0.0.1,localhost");
    }
    if let Session::Resume {
        interrupted: true, ..
    } = launch.session
    {
        set("CLAUDE_CODE_RESUME_INTERRUPTED_TURN", "1");
    }
    for (name, value) in &launch.extra_env {
        set(name, value);
    }
    env
}
