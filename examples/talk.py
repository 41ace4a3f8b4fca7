"""What the examples have in common: a client, and a way to ask an agent and to show what it does.

A server with `--offline` has the scripted model, which does what lines with an `@` in the message tell it.
With HOSTEL_OFFLINE=1 the examples add these lines; without it the message is for a real model alone.
Run the examples from anywhere, with the server's address in HOSTEL_BASE_URL when it is not the usual one.
"""

import json
import os

from anthropic import Anthropic

OFFLINE = os.environ.get("HOSTEL_OFFLINE") == "1"
MODEL = "claude-sonnet-5-5"
TOOLS = [{"type": "agent_toolset_20260401"}]

client = Anthropic(base_url=os.environ.get("HOSTEL_BASE_URL", "http://127.0.0.1:8700"), api_key=os.environ["HOSTEL_API_KEY"])


def environment(name: str, **hosting: object) -> str:
    """Makes an environment whose sandboxes live like this; `hosting` is Hostel's own, hence `extra_body`."""
    config = {"type": "cloud", "networking": {"type": "unrestricted"}, "hosting": hosting}
    return client.beta.environments.create(name=name, extra_body={"config": config}).id


def session(agent_name: str, environment_id: str, system: str) -> str:
    """Makes an agent, and a session of it."""
    agent = client.beta.agents.create(name=agent_name, model=MODEL, system=system, tools=TOOLS)
    return client.beta.sessions.create(agent=agent.id, environment_id=environment_id, title=agent_name).id


def ask(session_id: str, text: str, script: list[str], until: str = "session.status_idle") -> str:
    """Sends a message, prints what comes of it until the event `until`, and gives what the agent said.

    Each step of `script` is one answer of the scripted model.
    """
    if OFFLINE:
        text = "\n".join([text, "\n@next\n".join(script)])
    said = []
    with client.beta.sessions.events.stream(session_id) as events:
        message = {"type": "user.message", "content": [{"type": "text", "text": text}]}
        client.beta.sessions.events.send(session_id, events=[message])
        for event in events:
            if event.type == "agent.tool_use":
                words = str(event.input.get("command", event.input)).split("\n")
                print(f"  [{event.name}] {words[0]}{' …' if words[1:] else ''}", flush=True)
            elif event.type == "agent.message":
                said.append("".join(block.text for block in event.content))
                print(said[-1], flush=True)
            elif event.type == "session.error":
                print(f"  ! {event.error.message}", flush=True)
            elif event.type == until:
                break
    return "\n".join(said)


def shell(command: str, **more: object) -> str:
    """For the scripted model: run this."""
    return "@tool Bash " + json.dumps({"command": command, "description": "as the script says", **more})


def say(text: str) -> str:
    """For the scripted model: say this; `{{result}}` is what the last command printed."""
    return f"@say {text}"
