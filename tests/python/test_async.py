"""The asynchronous client, and the quick start as it stands in the README."""

import asyncio

from anthropic import AsyncAnthropic

from conftest import MODEL
from script import say
from turns import message


def test_quick_start_with_the_asynchronous_client(server):
    async def main() -> list[str]:
        async with AsyncAnthropic(base_url=server.base_url, api_key=server.api_key) as client:
            agent = await client.beta.agents.create(name="quick", model=MODEL)
            environment = await client.beta.environments.create(name="quick")
            session = await client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
            said = []
            async with await client.beta.sessions.events.stream(session.id) as stream:
                await client.beta.sessions.events.send(session.id, events=[message(say("hello"))])
                async for event in stream:
                    if event.type == "agent.message":
                        said += [block.text for block in event.content]
                    if event.type == "session.status_idle":
                        return said
            return said

    assert asyncio.run(asyncio.wait_for(main(), 60)) == ["hello"]
