//! The names tools go by: the toolset's names, the CLI's names, and how each call is permitted.
//!
//! The CLI calls a tool of an MCP server `mcp__<server>__<tool>`. Custom tools are served by one
//! in-process server named [`CUSTOM_SERVER`], so the same rule covers them.

use std::fmt;

/// The in-process MCP server that stands for the agent's custom tools. A remote server of the same
/// name is renamed on the way in by whoever builds the launch; the agent API forbids neither.
pub const CUSTOM_SERVER: &str = "custom";

/// A tool of the built-in toolset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BuiltIn {
    /// Runs a shell command.
    Bash,
    /// Reads a file.
    Read,
    /// Writes a file.
    Write,
    /// Replaces text in a file.
    Edit,
    /// Finds files by name. The CLI has it only when it is asked for by name.
    Glob,
    /// Finds text in files. The CLI has it only when it is asked for by name.
    Grep,
    /// Fetches a page.
    WebFetch,
    /// Searches the web.
    WebSearch,
}

impl BuiltIn {
    /// Every tool of the toolset.
    pub const ALL: [Self; 8] = [
        Self::Bash,
        Self::Read,
        Self::Write,
        Self::Edit,
        Self::Glob,
        Self::Grep,
        Self::WebFetch,
        Self::WebSearch,
    ];

    /// The name in the public toolset.
    pub fn public_name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Read => "read",
            Self::Write => "write",
            Self::Edit => "edit",
            Self::Glob => "glob",
            Self::Grep => "grep",
            Self::WebFetch => "web_fetch",
            Self::WebSearch => "web_search",
        }
    }

    /// The name the CLI uses in flags, rules and frames.
    pub fn cli_name(self) -> &'static str {
        match self {
            Self::Bash => "Bash",
            Self::Read => "Read",
            Self::Write => "Write",
            Self::Edit => "Edit",
            Self::Glob => "Glob",
            Self::Grep => "Grep",
            Self::WebFetch => "WebFetch",
            Self::WebSearch => "WebSearch",
        }
    }

    /// The tool with this public name.
    pub fn from_public(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|tool| tool.public_name() == name)
    }

    /// The tool with this name in the CLI.
    pub fn from_cli(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tool| tool.cli_name() == name)
    }
}

impl fmt::Display for BuiltIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.public_name())
    }
}

/// Whether a call of a tool runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Every call runs.
    Allow,
    /// Every call waits for an answer.
    Ask,
    /// No call runs; where the CLI can hide the tool, the model does not see it.
    Deny,
}

/// What a tool's name in a frame stands for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ToolName<'a> {
    /// A tool of the built-in toolset.
    BuiltIn(BuiltIn),
    /// One of the agent's custom tools.
    Custom(&'a str),
    /// A tool of a remote MCP server.
    Mcp {
        /// The server's name.
        server: &'a str,
        /// The tool's name at that server.
        tool: &'a str,
    },
    /// Something of the CLI's own that no agent asked for.
    Other(&'a str),
}

impl<'a> ToolName<'a> {
    /// Reads a name as it stands in a frame. `servers` are the names of the remote MCP servers of
    /// this launch, needed because a server's name may itself contain `__`.
    pub fn parse(name: &'a str, servers: &[&str]) -> Self {
        if let Some(tool) = BuiltIn::from_cli(name) {
            return Self::BuiltIn(tool);
        }
        let Some(rest) = name.strip_prefix("mcp__") else {
            return Self::Other(name);
        };
        let known = servers
            .iter()
            .filter_map(|server| {
                let tool = rest
                    .strip_prefix(server_part(server).as_str())?
                    .strip_prefix("__")?;
                Some((server.len(), &rest[..rest.len() - tool.len() - 2], tool))
            })
            .max_by_key(|(length, ..)| *length);
        if let Some((_, server, tool)) = known {
            return Self::Mcp { server, tool };
        }
        match rest.split_once("__") {
            Some((CUSTOM_SERVER, tool)) => Self::Custom(tool),
            Some((server, tool)) => Self::Mcp { server, tool },
            None => Self::Other(name),
        }
    }
}

/// How the CLI writes a server's name inside a tool's name: everything outside letters, digits,
/// `_` and `-` becomes `_`.
pub fn server_part(server: &str) -> String {
    server
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '_' || c == '-' {
                c
            } else {
                '_'
            }
        })
        .collect()
}

/// The CLI's name for a custom tool.
pub fn custom_name(tool: &str) -> String {
    format!("mcp__{CUSTOM_SERVER}__{tool}")
}

/// The CLI's name for a tool of a remote MCP server.
pub fn mcp_name(server: &str, tool: &str) -> String {
    format!("mcp__{}__{tool}", server_part(server))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_back_to_its_tool() {
        for tool in BuiltIn::ALL {
            assert_eq!(BuiltIn::from_public(tool.public_name()), Some(tool));
            assert_eq!(
                ToolName::parse(tool.cli_name(), &[]),
                ToolName::BuiltIn(tool)
            );
        }
    }

    #[test]
    fn mcp_names_are_split_at_the_known_server() {
        let servers = ["a", "a__b", "my docs"];
        let parse = |name| ToolName::parse(name, &servers);
        assert_eq!(parse("mcp__custom__x__y"), ToolName::Custom("x__y"));
        assert_eq!(
            parse("mcp__a__x"),
            ToolName::Mcp {
                server: "a",
                tool: "x"
            }
        );
        assert_eq!(
            parse("mcp__a__b__x"),
            ToolName::Mcp {
                server: "a__b",
                tool: "x"
            }
        );
        assert_eq!(
            parse("mcp__my_docs__x"),
            ToolName::Mcp {
                server: "my_docs",
                tool: "x"
            }
        );
        assert_eq!(
            parse("mcp__new__x"),
            ToolName::Mcp {
                server: "new",
                tool: "x"
            }
        );
        assert_eq!(parse("mcp__odd"), ToolName::Other("mcp__odd"));
        assert_eq!(parse("Task"), ToolName::Other("Task"));
    }
}
