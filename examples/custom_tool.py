"""A tool that runs here, not in the sandbox: the agent asks, this program answers.

    HOSTEL_API_KEY=… python examples/custom_tool.py
"""

import os

from anthropic import Anthropic

client = Anthropic(base_url=os.environ.get("HOSTEL_BASE_URL", "http://127.0.0.1:8700"), api_key=os.environ["HOSTEL_API_KEY"])

agent = client.beta.agents.create(
    name="stock clerk",
    model="claude-sonnet-5-5",
    tools=[
        {
            "type": "custom",
            "name": "stock",
            "description": "How many of an article are in the warehouse",
            "input_schema": {"type": "object", "properties": {"article": {"type": "string"}}, "required": ["article"]},
        }
    ],
)
environment = client.beta.environments.create(name="clerk")
session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id)

with client.beta.sessions.events.stream(session.id) as events:
    task = {"type": "user.message", "content": [{"type": "text", "text": "How many lamps do we have?"}]}
    client.beta.sessions.events.send(session.id, events=[task])
    for event in events:
        if event.type == "agent.custom_tool_use":
            answer = {
                "type": "user.custom_tool_result",
                "custom_tool_use_id": event.id,
                "content": [{"type": "text", "text": f"42 pieces of {event.input['article']}"}],
            }
            client.beta.sessions.events.send(session.id, events=[answer])
        elif event.type == "agent.message":
            print("".join(block.text for block in event.content))
        elif event.type == "session.status_idle" and event.stop_reason.type == "end_turn":
            break
