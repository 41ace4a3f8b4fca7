"""The first agent, with the official client: `pip install anthropic`, then

    hostel cli install
    hostel serve --offline          # or with ANTHROPIC_API_KEY set
    HOSTEL_API_KEY=… python examples/first_agent.py
"""

import os

from anthropic import Anthropic

client = Anthropic(base_url=os.environ.get("HOSTEL_BASE_URL", "http://127.0.0.1:8700"), api_key=os.environ["HOSTEL_API_KEY"])

agent = client.beta.agents.create(
    name="first", model="claude-sonnet-5-5", tools=[{"type": "agent_toolset_20260401"}]
)
environment = client.beta.environments.create(name="first")
session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id)

with client.beta.sessions.events.stream(session.id) as events:
    task = {"type": "user.message", "content": [{"type": "text", "text": "Which programs are in /usr/bin? Name three."}]}
    client.beta.sessions.events.send(session.id, events=[task])
    for event in events:
        if event.type == "agent.tool_use":
            print(f"[{event.name}] {event.input}")
        elif event.type == "agent.message":
            print("".join(block.text for block in event.content))
        elif event.type == "session.status_idle":
            break
