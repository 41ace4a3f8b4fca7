"""Tools that wait for the client: confirmations and custom tools."""

import anthropic
import pytest

from conftest import MODEL
from script import custom, say, script, shell
from turns import Watch, message, send, texts

ASK = {"type": "agent_toolset_20260401", "default_config": {"permission_policy": {"type": "always_ask"}}}
WEATHER = {
    "type": "custom",
    "name": "get_weather",
    "description": "The weather in a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.fixture
def with_tools(client, environment):
    """A session whose agent has these tools, and a watch on it."""
    watches = []

    def make(*tools):
        agent = client.beta.agents.create(name="tools", model=MODEL, tools=list(tools))
        session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
        watches.append(Watch(client, session.id))
        return session, watches[-1]

    yield make
    for watch in watches:
        watch.close()


def asked(client, session, watch, command):
    """Sends a turn that wants to run a command, and gives the call that waits."""
    send(client, session.id, message(script(shell(command), say("after"))))
    idle = watch.one("session.status_idle")
    call = watch.one("agent.tool_use")
    assert call.evaluated_permission == "ask"
    assert (idle.stop_reason.type, idle.stop_reason.event_ids) == ("requires_action", [call.id])
    return call


def test_allowed_call_runs(client, with_tools):
    session, watch = with_tools(ASK)
    call = asked(client, session, watch, "echo ran")
    send(client, session.id, {"type": "user.tool_confirmation", "tool_use_id": call.id, "result": "allow"})
    events = watch.idle(times=2)
    result = watch.one("agent.tool_result")
    assert "ran" in result.content[0].text and texts(events) == ["after"]


def test_denied_call_does_not_run_and_the_agent_is_told(client, with_tools):
    session, watch = with_tools(ASK)
    call = asked(client, session, watch, "touch /workspace/ran")
    send(client, session.id, {
        "type": "user.tool_confirmation", "tool_use_id": call.id, "result": "deny", "deny_message": "not today"})
    watch.idle(times=2)
    result = watch.one("agent.tool_result")
    assert result.is_error and "not today" in result.content[0].text


def test_deny_message_with_allow_is_refused(client, with_tools):
    session, watch = with_tools(ASK)
    call = asked(client, session, watch, "echo x")
    with pytest.raises(anthropic.BadRequestError):
        send(client, session.id, {
            "type": "user.tool_confirmation", "tool_use_id": call.id, "result": "allow", "deny_message": "no"})
    send(client, session.id, {"type": "user.tool_confirmation", "tool_use_id": call.id, "result": "allow"})
    watch.idle(times=2)


def test_answer_to_an_unknown_call_is_refused(client, session):
    with pytest.raises(anthropic.BadRequestError):
        send(client, session.id, {"type": "user.tool_confirmation", "tool_use_id": "sevt_none", "result": "allow"})


def test_custom_tool_goes_to_the_client_and_back(client, with_tools):
    session, watch = with_tools(WEATHER)
    send(client, session.id, message(script(custom("get_weather", city="Oslo"), say("cold"))))
    call = watch.one("agent.custom_tool_use")
    assert (call.name, call.input) == ("get_weather", {"city": "Oslo"})
    idle = watch.one("session.status_idle")
    assert (idle.stop_reason.type, idle.stop_reason.event_ids) == ("requires_action", [call.id])
    send(client, session.id, {
        "type": "user.custom_tool_result", "custom_tool_use_id": call.id, "content": [{"type": "text", "text": "-3"}]})
    assert texts(watch.idle(times=2)) == ["cold"]


def test_failed_custom_tool_is_told_to_the_agent(client, with_tools):
    session, watch = with_tools(WEATHER)
    send(client, session.id, message(script(custom("get_weather", city="Oslo"), say("sorry"))))
    call = watch.one("agent.custom_tool_use")
    send(client, session.id, {
        "type": "user.custom_tool_result", "custom_tool_use_id": call.id, "is_error": True,
        "content": [{"type": "text", "text": "no network"}]})
    watch.until(lambda events: texts(events) == ["sorry"])


def test_interrupt_closes_a_waiting_call(client, with_tools):
    session, watch = with_tools(ASK)
    asked(client, session, watch, "echo x")
    send(client, session.id, {"type": "user.interrupt"})
    events = watch.idle(times=2)
    assert events[-1].stop_reason.type == "end_turn"
    assert watch.one("agent.tool_result").is_error


def test_disabled_tool_is_not_offered(client, with_tools):
    session, watch = with_tools({
        "type": "agent_toolset_20260401", "configs": [{"name": "bash", "enabled": False}]})
    send(client, session.id, message(script(shell("touch /workspace/ran"), say("done"))))
    events = watch.idle()
    results = [e for e in events if e.type == "agent.tool_result"]
    assert all(result.is_error for result in results)
