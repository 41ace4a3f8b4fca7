"""Words for the scripted model: what it is to do in a turn, written into the user's message.

Lines that begin with `@` are instructions, one model answer each; `crates/model` documents them.
"""

from __future__ import annotations

import json


def say(text: str) -> str:
    """Answers with this text, which ends the turn."""
    return f"@say {text}"


def tool(name: str, **tool_input: object) -> str:
    """Calls a tool; the next line follows after its result."""
    return f"@tool {name} {json.dumps(tool_input)}"


def custom(name: str, **tool_input: object) -> str:
    """Calls a custom tool, by the name under which claude offers it to the model."""
    return tool(f"mcp__custom__{name}", **tool_input)


def shell(command: str) -> str:
    """Calls the shell."""
    return tool("Bash", command=command, description="test")


def script(*lines: str) -> str:
    """The lines of one turn."""
    return "\n".join(lines)
