"""Agents: create, retrieve, update, versions, list, archive."""

import anthropic
import pytest

from conftest import MODEL


def test_created_agent_has_every_field_resolved(client):
    agent = client.beta.agents.create(
        name="a", model=MODEL, system="be brief", metadata={"team": "x"}, tools=[{"type": "agent_toolset_20260401"}]
    )
    assert agent.id.startswith("agent_")
    assert (agent.type, agent.version, agent.name, agent.system) == ("agent", 1, "a", "be brief")
    assert agent.model.id == MODEL
    assert agent.metadata == {"team": "x"}
    assert agent.archived_at is None
    toolset = agent.tools[0]
    assert toolset.default_config.enabled is True
    assert toolset.default_config.permission_policy.type == "always_allow"
    assert client.beta.agents.retrieve(agent.id) == agent


def test_update_makes_a_version_and_the_old_one_stays(client, agent):
    updated = client.beta.agents.update(agent.id, version=agent.version, system="new")
    assert (updated.version, updated.system) == (2, "new")
    assert client.beta.agents.retrieve(agent.id, version=1).system is None
    assert [v.version for v in client.beta.agents.versions.list(agent.id)] == [2, 1]


def test_update_without_a_change_makes_no_version(client, agent):
    assert client.beta.agents.update(agent.id, version=1, name=agent.name).version == 1


def test_update_with_an_old_version_is_a_conflict_that_is_not_retried(server, client, agent):
    client.beta.agents.update(agent.id, version=1, system="first")
    with anthropic.Anthropic(base_url=server.base_url, api_key=server.api_key, max_retries=2) as retrying:
        with pytest.raises(anthropic.ConflictError) as refused:
            retrying.beta.agents.update(agent.id, version=1, system="second")
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert refused.value.response.request.headers["x-stainless-retry-count"] == "0"


def test_metadata_is_merged_and_null_deletes(client):
    agent = client.beta.agents.create(name="m", model=MODEL, metadata={"a": "1", "b": "2"})
    updated = client.beta.agents.update(agent.id, version=agent.version, metadata={"a": None, "c": "3"})
    assert updated.metadata == {"b": "2", "c": "3"}


def test_list_is_newest_first_and_pages(client):
    made = [client.beta.agents.create(name=f"page {n}", model=MODEL).id for n in range(5)]
    page = client.beta.agents.list(limit=2)
    assert len(page.data) == 2 and page.next_page
    listed = [agent.id for agent in client.beta.agents.list(limit=2)]
    assert [id for id in listed if id in made] == made[::-1]
    assert len(set(listed)) == len(listed)


def test_archived_agent_is_hidden_refused_and_archived_again_unchanged(client, environment):
    agent = client.beta.agents.create(name="gone", model=MODEL)
    archived = client.beta.agents.archive(agent.id)
    assert archived.archived_at is not None
    assert client.beta.agents.archive(agent.id) == archived
    assert agent.id not in [a.id for a in client.beta.agents.list(limit=100)]
    assert agent.id in [a.id for a in client.beta.agents.list(limit=100, include_archived=True)]
    with pytest.raises(anthropic.BadRequestError):
        client.beta.agents.update(agent.id, version=agent.version, name="new")
    with pytest.raises(anthropic.BadRequestError):
        client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
