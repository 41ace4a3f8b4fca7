"""Environments: create, retrieve, update, list, archive, delete."""

import anthropic
import pytest


def test_created_environment_has_defaults(client):
    environment = client.beta.environments.create(name="e", description="d", metadata={"k": "v"})
    assert environment.id.startswith("env_")
    assert environment.config.type == "cloud"
    assert environment.metadata == {"k": "v"}
    assert client.beta.environments.retrieve(environment.id) == environment


def test_update_keeps_what_is_left_out(client):
    environment = client.beta.environments.create(name="e", description="d")
    updated = client.beta.environments.update(environment.id, name="f")
    assert (updated.name, updated.description) == ("f", "d")


def test_list_pages_newest_first(client):
    made = [client.beta.environments.create(name=f"page {n}").id for n in range(3)]
    listed = [environment.id for environment in client.beta.environments.list(limit=1)]
    assert [id for id in listed if id in made] == made[::-1]


def test_archived_environment_takes_no_session(client, agent):
    environment = client.beta.environments.create(name="old")
    assert client.beta.environments.archive(environment.id).archived_at is not None
    with pytest.raises(anthropic.BadRequestError):
        client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
    with pytest.raises(anthropic.BadRequestError):
        client.beta.environments.update(environment.id, name="new")


def test_environment_is_deleted_only_without_sessions(client, session):
    with pytest.raises(anthropic.APIStatusError) as refused:
        client.beta.environments.delete(session.environment_id)
    assert refused.value.status_code in (400, 409)
    unused = client.beta.environments.create(name="unused")
    assert client.beta.environments.delete(unused.id).type == "environment_deleted"
    with pytest.raises(anthropic.NotFoundError):
        client.beta.environments.retrieve(unused.id)
