"""Errors as the official client maps them: class, message, request id, headers."""

import anthropic
import httpx2
import pytest

from conftest import MODEL


def test_unknown_field_is_named(client):
    with pytest.raises(anthropic.BadRequestError) as refused:
        client.beta.agents.create(name="x", model=MODEL, extra_body={"colour": "red"})
    assert "colour" in refused.value.message
    assert refused.value.body["error"]["type"] == "invalid_request_error"
    assert refused.value.request_id.startswith("req_")


def test_wrong_type_and_missing_field_are_named(client):
    with pytest.raises(anthropic.BadRequestError, match="name"):
        client.beta.agents.create(name=7, model=MODEL)
    with pytest.raises(anthropic.BadRequestError, match="model"):
        client.post("/v1/agents", body={"name": "x"}, cast_to=object)


def test_field_that_is_not_served_yet_is_refused_not_swallowed(client, agent, environment):
    files = [{"type": "file", "file_id": "file_1"}]
    with pytest.raises(anthropic.BadRequestError, match="resources"):
        client.beta.sessions.create(agent=agent.id, environment_id=environment.id, resources=files)


@pytest.mark.parametrize("path", ["/v1/user_profiles", "/v1/skills", "/v1/memory_stores", "/v1/deployments"])
def test_family_that_is_not_served_yet_is_a_clear_404(client, path):
    with pytest.raises(anthropic.NotFoundError) as refused:
        client.get(path, cast_to=object)
    assert refused.value.body["error"]["type"] == "not_found_error"
    assert refused.value.body["error"]["message"]


def test_unknown_ids_are_not_found(client, environment):
    for call in (
        lambda: client.beta.agents.retrieve("agent_none"),
        lambda: client.beta.environments.retrieve("env_none"),
        lambda: client.beta.sessions.retrieve("sesn_none"),
        lambda: client.beta.sessions.events.list("sesn_none"),
        lambda: client.beta.sessions.events.stream("sesn_none"),
        lambda: client.beta.models.retrieve("no-such-model"),
    ):
        with pytest.raises(anthropic.NotFoundError):
            call()


def test_wrong_key_is_an_authentication_error(server):
    with anthropic.Anthropic(base_url=server.base_url, api_key="wrong", max_retries=0) as client:
        with pytest.raises(anthropic.AuthenticationError):
            client.beta.agents.list()


def test_malformed_json_and_invalid_utf8_are_bad_requests(server):
    headers = {"authorization": f"Bearer {server.api_key}", "content-type": "application/json"}
    for body in (b"{", b'{"name": "\xff"}', b"[]", b""):
        answer = httpx2.post(f"{server.base_url}/v1/agents", content=body, headers=headers)
        assert answer.status_code == 400, body
        assert answer.json()["error"]["type"] == "invalid_request_error"
        assert answer.headers["request-id"] == answer.json()["request_id"]


def test_older_clients_headers_are_accepted(server):
    headers = {"x-api-key": server.api_key, "anthropic-version": "2023-06-01"}
    answer = httpx2.get(f"{server.base_url}/v1/agents?beta=true", headers=headers)
    assert answer.status_code == 200 and answer.headers["request-id"].startswith("req_")


def test_bad_cursor_and_limit_are_bad_requests(client):
    with pytest.raises(anthropic.BadRequestError):
        client.beta.agents.list(page="nonsense")
    with pytest.raises(anthropic.BadRequestError, match="limit"):
        client.beta.agents.list(limit=100_000)


def test_empty_and_unknown_events_are_refused_whole(client, session):
    events = client.beta.sessions.events
    good = {"type": "user.message", "content": [{"type": "text", "text": "x"}]}
    for bad in ({"type": "user.shout"}, {"type": "user.message", "content": []}):
        with pytest.raises(anthropic.BadRequestError):
            events.send(session.id, events=[good, bad])
    assert not list(events.list(session.id, types=["user.message"]))


def test_five_megabyte_message_is_answered_clearly(client, session):
    big = {"type": "user.message", "content": [{"type": "text", "text": "x" * 5_000_000}]}
    try:
        client.beta.sessions.events.send(session.id, events=[big])
    except anthropic.APIStatusError as refused:
        assert refused.status_code in (400, 413) and refused.body["error"]["message"]
