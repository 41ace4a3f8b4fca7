"""One server for the whole run; agents, environments and sessions of each test's own."""

from __future__ import annotations

import sys

import pytest
from anthropic import Anthropic

import hostel_server
from turns import Watch

MODEL = "claude-sonnet-5"
# The package under test, as it stands in the repository.
sys.path.insert(0, str(hostel_server.ROOT / "sdk/python/src"))


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    hostel_server.install_cli()
    data = tmp_path_factory.mktemp("hostel") / "data"
    hostel_server.share_cli(data)
    server = hostel_server.Server(data).start()
    yield server
    server.stop()


def connect(server, **options) -> Anthropic:
    return Anthropic(base_url=server.base_url, api_key=server.api_key, timeout=60, **options)


@pytest.fixture
def client(server):
    with connect(server, max_retries=0) as client:
        yield client


@pytest.fixture
def other_client(server):
    with connect(server, max_retries=0) as client:
        yield client


@pytest.fixture
def agent(client):
    agent = client.beta.agents.create(
        name="tester", model=MODEL, tools=[{"type": "agent_toolset_20260401"}]
    )
    yield agent
    client.beta.agents.archive(agent.id)


@pytest.fixture
def environment(client):
    return client.beta.environments.create(name="test")


@pytest.fixture
def session(client, agent, environment):
    return client.beta.sessions.create(agent=agent.id, environment_id=environment.id, title="test")


@pytest.fixture
def watch(client, session):
    with Watch(client, session.id) as watch:
        yield watch
