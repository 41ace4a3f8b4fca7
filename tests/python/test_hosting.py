"""The extensions: hosting of environments, limits of agents, files of sessions, forks."""

from __future__ import annotations

import time

import anthropic
import pytest

from conftest import MODEL
from script import say, script, shell
from turns import PATIENCE, Watch, history, message, send, texts


def hosted(client, **hosting):
    """An environment with these keys of `hosting`."""
    return client.beta.environments.create(
        name="hosted", extra_body={"config": {"type": "cloud", "hosting": hosting}}
    )


def fork(client, session, **request):
    """A new session from a point in this one's log."""
    return client.post(f"/v1/sessions/{session.id}/fork", body=request, cast_to=type(session))


def test_hosting_is_resolved_merged_and_reset(client):
    environment = hosted(client, pattern="shared", idle_timeout="15m", resources={"memory": "512MiB"})
    hosting = environment.config.hosting
    assert (hosting["pattern"], hosting["idle_timeout"], hosting["max_sessions"]) == ("shared", 900, 8)
    assert hosting["resources"]["memory"] == 512 << 20
    assert client.beta.environments.retrieve(environment.id) == environment

    def update(hosting):
        body = {"config": {"type": "cloud", "hosting": hosting}}
        return client.beta.environments.update(environment.id, extra_body=body).config.hosting

    changed = update({"max_sessions": 2})
    assert (changed["pattern"], changed["max_sessions"], changed["idle_timeout"]) == ("shared", 2, 900)
    default = client.beta.environments.create(name="default").config.hosting
    assert default["pattern"] == "hybrid"
    assert update(None) == default


@pytest.mark.parametrize(
    ("hosting", "place"),
    [
        ({"pattern": "eternal"}, "config.hosting.pattern"),
        ({"provider": "docker"}, "config.hosting.provider"),
        ({"max_sessions": 2}, "config.hosting.max_sessions"),
        ({"pool": {"min": 2, "max": 1}}, "config.hosting.pool.min"),
        ({"limits": {"max_turn": 1}}, "config.hosting.limits.max_turn"),
        ({"idle_timeout": -1}, "config.hosting.idle_timeout"),
    ],
)
def test_malformed_hosting_is_refused_by_its_place(client, hosting, place):
    with pytest.raises(anthropic.BadRequestError, match=place):
        hosted(client, **hosting)


def test_an_agent_asks_for_versions_of_the_cli(client):
    agent = client.beta.agents.create(name="careful", model=MODEL, extra_body={"cli": "^2.1"})
    assert agent.cli == "^2.1"
    free = client.beta.agents.update(agent.id, version=1, extra_body={"cli": None})
    assert (free.version, free.cli) == (2, None)
    with pytest.raises(anthropic.BadRequestError, match="cli: must be a semver requirement"):
        client.beta.agents.create(name="x", model=MODEL, extra_body={"cli": "newest"})


def test_agent_has_a_daily_limit(client):
    limits = {"max_cost_per_day": {"amount": "500", "currency": "USD"}}
    agent = client.beta.agents.create(name="thrifty", model=MODEL, extra_body={"limits": limits})
    assert agent.limits == limits
    free = client.beta.agents.update(agent.id, version=1, extra_body={"limits": None})
    assert (free.version, free.limits) == (2, None)


def test_results_of_an_ephemeral_session_are_its_files(client, agent):
    environment = hosted(client, pattern="ephemeral")
    session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
    make = "mkdir -p /mnt/session/outputs/site && printf 'a b' > /mnt/session/outputs/site/index.html"
    with Watch(client, session.id) as watch:
        send(client, session.id, message(script(shell(make), say("done"))))
        assert watch.ended()[-1].type == "session.status_terminated"
    assert client.beta.sessions.retrieve(session.id).status == "terminated"
    (file,) = client.beta.files.list(scope_id=session.id)
    assert (file.filename, file.mime_type, file.size_bytes) == ("site/index.html", "text/html", 3)
    assert (file.scope.type, file.scope.id, file.downloadable) == ("session", session.id, True)
    assert client.beta.files.download(file.id).read() == b"a b"
    assert client.beta.files.retrieve_metadata(file.id) == file
    assert [each.id for each in client.beta.files.list(ids=[file.id, "file_other"])] == [file.id]
    assert client.beta.files.delete(file.id).type == "file_deleted"
    with pytest.raises(anthropic.NotFoundError):
        client.beta.files.download(file.id)


def test_deleted_session_takes_its_files_along(client, agent):
    environment = hosted(client, pattern="ephemeral", when_done="keep")
    session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
    with Watch(client, session.id) as watch:
        send(client, session.id, message(script(shell("echo x > /mnt/session/outputs/x"), say("done"))))
        watch.idle()
    deadline = time.monotonic() + PATIENCE
    while not (kept := client.beta.files.list(scope_id=session.id).data):
        # The results are kept some moments after the turn.
        assert time.monotonic() < deadline
    (file,) = kept
    client.beta.sessions.delete(session.id)
    with pytest.raises(anthropic.NotFoundError):
        client.beta.files.retrieve_metadata(file.id)


def test_fork_goes_on_from_its_point_and_apart(client, session):
    with Watch(client, session.id) as watch:
        send(client, session.id, message(script(shell("echo one > /workspace/f"), say("first"))))
        end = watch.idle()[-1]
        send(client, session.id, message(script(shell("echo two > /workspace/f"), say("second"))))
        watch.idle(2)
    forked = fork(client, session, event_id=end.id, title="fork")
    assert (forked.status, forked.title, forked.agent) == ("idle", "fork", session.agent)
    log = history(client, forked.id)
    assert texts(log) == ["first"]
    assert not {event.id for event in log} & {event.id for event in history(client, session.id)}
    with Watch(client, forked.id) as watch:
        send(client, forked.id, message(script(say("mine"))))
        watch.idle()
    assert texts(history(client, forked.id)) == ["first", "mine"]
    assert texts(history(client, session.id)) == ["first", "second"]


def run(client, session, *lines: str) -> str:
    """What the last command of a turn printed."""
    with Watch(client, session.id) as watch:
        send(client, session.id, message(script(*lines, say("done"))))
        events = watch.idle()
    return [event for event in events if event.type == "agent.tool_result"][-1].content[0].text


def test_fork_has_the_files_of_a_saved_session_and_its_own_from_then_on(client, agent):
    environment = hosted(client, idle_timeout=0.2)
    session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
    run(client, session, shell("echo one > /workspace/f; echo ok"))
    deadline = time.monotonic() + PATIENCE
    while "one" not in run(client, forked := fork(client, session), shell("cat /workspace/f || true")):
        # It is saved some moments after it became idle, which no event tells.
        assert time.monotonic() < deadline
    run(client, forked, shell("echo two > /workspace/f; echo ok"))
    assert "one" in run(client, session, shell("cat /workspace/f"))
    assert "two" in run(client, forked, shell("cat /workspace/f"))


def test_fork_of_a_running_session_is_a_conflict(client, session, watch):
    send(client, session.id, message(script(shell("sleep 30"), say("never"))))
    watch.one("agent.tool_use")
    with pytest.raises(anthropic.ConflictError):
        fork(client, session)
    with pytest.raises(anthropic.BadRequestError, match="event_id"):
        send(client, session.id, {"type": "user.interrupt"})
        watch.idle()
        fork(client, session, event_id="sevt_other")
