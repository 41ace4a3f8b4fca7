"""Sessions: create, retrieve, update, list, archive, delete."""

import anthropic
import pytest

from script import say, script, shell
from turns import Watch, message, send


def test_created_session_is_idle_and_holds_the_agent_as_it_was(client, agent, session):
    assert session.id.startswith("sesn_")
    assert (session.status, session.title) == ("idle", "test")
    assert (session.agent.id, session.agent.version) == (agent.id, 1)
    client.beta.agents.update(agent.id, version=1, name="changed")
    assert client.beta.sessions.retrieve(session.id).agent.name == "tester"


def test_session_with_a_first_message_runs_at_once(client, agent, environment):
    session = client.beta.sessions.create(
        agent=agent.id, environment_id=environment.id, initial_events=[message(say("hello"))]
    )
    assert session.status == "running"
    with Watch(client, session.id) as watch:
        # The stream may have been opened after the end: then the log has it.
        watch.until(lambda _: client.beta.sessions.retrieve(session.id).status == "idle" or bool(watch.events))
    said = [e for e in client.beta.sessions.events.list(session.id, types=["user.message"])]
    assert len(said) == 1


def test_update_changes_title_and_metadata(client, session):
    updated = client.beta.sessions.update(session.id, title="new", metadata={"a": "b"})
    assert (updated.title, updated.metadata) == ("new", {"a": "b"})
    assert client.beta.sessions.retrieve(session.id).title == "new"


def test_list_filters_and_pages(client, agent, environment):
    made = [client.beta.sessions.create(agent=agent.id, environment_id=environment.id).id for _ in range(3)]
    assert [s.id for s in client.beta.sessions.list(agent_id=agent.id, limit=1)] == made[::-1]
    assert [s.id for s in client.beta.sessions.list(agent_id=agent.id, limit=1, order="asc")] == made
    assert not list(client.beta.sessions.list(agent_id=agent.id, statuses=["running"]))
    first = client.beta.sessions.list(agent_id=agent.id, limit=2)
    second = first.get_next_page()
    back = client.beta.sessions.list(agent_id=agent.id, limit=2, page=second.prev_page)
    assert [s.id for s in back.data] == [s.id for s in first.data]


def test_archived_session_takes_no_message_and_its_log_stays(client, session):
    archived = client.beta.sessions.archive(session.id)
    assert archived.archived_at is not None and archived.status == "terminated"
    with pytest.raises(anthropic.BadRequestError):
        send(client, session.id, message("hello"))
    assert session.id not in [s.id for s in client.beta.sessions.list(limit=100)]
    assert session.id in [s.id for s in client.beta.sessions.list(limit=100, include_archived=True)]
    client.beta.sessions.events.list(session.id)


def test_deleted_session_is_gone_and_ends_its_streams(client, session, watch):
    assert client.beta.sessions.delete(session.id).type == "session_deleted"
    assert watch.ended()[-1].type == "session.deleted"
    with pytest.raises(anthropic.NotFoundError):
        client.beta.sessions.retrieve(session.id)
    with pytest.raises(anthropic.NotFoundError):
        send(client, session.id, message("hello"))


def test_running_session_is_neither_archived_nor_deleted(client, session, watch):
    send(client, session.id, message(script(shell("sleep 30"), say("never"))))
    watch.one("agent.tool_use")
    with pytest.raises(anthropic.BadRequestError):
        client.beta.sessions.archive(session.id)
    with pytest.raises(anthropic.BadRequestError):
        client.beta.sessions.delete(session.id)
    send(client, session.id, {"type": "user.interrupt"})
    watch.idle()
