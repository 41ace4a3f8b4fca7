"""Turns: a real claude in a real sandbox, seen through the official client."""

import threading

from script import say, script, shell
from turns import Watch, history, kinds, message, send, texts


def test_answer_arrives_with_the_life_of_a_turn(client, session, watch):
    sent = send(client, session.id, message(say("four")))
    assert sent.data[0].type == "user.message" and sent.data[0].id.startswith("sevt_")
    events = watch.idle()
    assert texts(events) == ["four"]
    order = [k for k in kinds(events) if k in (
        "session.status_running", "user.message", "span.model_request_start", "agent.message",
        "span.model_request_end", "session.usage", "session.status_idle")]
    assert order[0] == "session.status_running"
    assert order[-2:] == ["session.usage", "session.status_idle"]
    assert events[-1].stop_reason.type == "end_turn"
    usage = client.beta.sessions.retrieve(session.id).usage
    assert usage.input_tokens > 0 and usage.output_tokens > 0


def test_tools_run_inside_and_their_results_are_events(client, session, watch):
    send(client, session.id, message(script(shell("echo inside > /workspace/f && cat /workspace/f && id -u"), say("ok"))))
    events = watch.idle()
    use = next(e for e in events if e.type == "agent.tool_use")
    result = next(e for e in events if e.type == "agent.tool_result")
    assert (use.name, use.evaluated_permission) == ("bash", "allow")
    assert result.tool_use_id == use.id and not result.is_error
    output = result.content[0].text
    assert "inside" in output and output.split()[-1] != "0"


def test_second_turn_knows_the_first_and_its_files(client, session, watch):
    send(client, session.id, message(script(shell("echo kept > /workspace/f"), say("one"))))
    watch.idle()
    send(client, session.id, message(script(shell("cat /workspace/f"), say("two"))))
    events = watch.idle(times=2)
    assert texts(events) == ["one", "two"]
    assert [e for e in events if e.type == "agent.tool_result"][-1].content[0].text.strip() == "kept"


def test_live_and_listed_events_are_the_same(client, session, watch):
    send(client, session.id, message(script(shell("echo x"), say("done"))))
    live = [e.to_dict() for e in watch.idle()]
    listed = [e.to_dict() for e in history(client, session.id, limit=3)]
    assert [e for e in listed if e in live] == live


def test_types_and_order_select(client, session, watch):
    send(client, session.id, message(say("hello")))
    watch.idle()
    assert kinds(history(client, session.id, types=["agent.message"])) == ["agent.message"]
    forward = [e.id for e in history(client, session.id)]
    assert [e.id for e in history(client, session.id, order="desc")] == forward[::-1]


def test_deltas_are_a_prefix_of_the_message_and_are_not_listed(client, session):
    text = "one two three four five six seven eight nine ten"
    with Watch(client, session.id, event_deltas=["agent.message"]) as watch:
        send(client, session.id, message(say(text)))
        events = watch.idle()
    start = next(e for e in events if e.type == "event_start")
    deltas = [e for e in events if e.type == "event_delta"]
    final = next(e for e in events if e.type == "agent.message")
    assert start.event.id == final.id and {d.event_id for d in deltas} == {final.id}
    joined = "".join(d.delta.content.text for d in deltas)
    assert joined and final.content[0].text.startswith(joined)
    assert not {"event_start", "event_delta"} & set(kinds(history(client, session.id)))


def test_stream_without_deltas_has_none(client, session, watch):
    send(client, session.id, message(say("hello")))
    assert not {"event_start", "event_delta"} & set(kinds(watch.idle()))


def test_interrupt_ends_the_turn_and_the_session_goes_on(client, session, watch):
    send(client, session.id, message(script(shell("sleep 60"), say("never"))))
    watch.one("agent.tool_use")
    send(client, session.id, {"type": "user.interrupt"})
    events = watch.idle()
    assert events[-1].stop_reason.type == "end_turn"
    assert "never" not in texts(events)
    send(client, session.id, message(say("again")))
    assert texts(watch.idle(times=2)) == ["again"]


def test_interrupt_and_message_together_redirect(client, session, watch):
    send(client, session.id, message(script(shell("sleep 60"), say("never"))))
    watch.one("agent.tool_use")
    send(client, session.id, {"type": "user.interrupt"}, message(say("instead")))
    events = watch.until(lambda events: "instead" in texts(events))
    assert "never" not in texts(events)
    watch.until(lambda _: client.beta.sessions.retrieve(session.id).status == "idle")


def test_interrupt_of_an_idle_session_does_nothing(client, session, watch):
    send(client, session.id, {"type": "user.interrupt"})
    send(client, session.id, message(say("fine")))
    assert texts(watch.idle()) == ["fine"]


def test_every_reader_sees_every_event_once(client, other_client, session, watch):
    with Watch(other_client, session.id) as second:
        send(client, session.id, message(say("both")))
        first_ids = [e.id for e in watch.idle()]
        second_ids = [e.id for e in second.idle()]
    assert first_ids == second_ids
    assert len(set(first_ids)) == len(first_ids)


def test_two_clients_sending_at_once_lose_and_double_nothing(client, other_client, session, watch):
    def burst(who, name):
        for n in range(3):
            send(who, session.id, message(say(f"{name}{n}")))

    threads = [threading.Thread(target=burst, args=pair) for pair in ((client, "a"), (other_client, "b"))]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    expected = {f"{name}{n}" for name in "ab" for n in range(3)}
    watch.until(lambda events: sum(k == "user.message" for k in kinds(events)) == 6 and kinds(events)[-1] == "session.status_idle")
    said = [e for e in history(client, session.id, types=["user.message"])]
    assert sorted(e.content[0].text for e in said) == sorted(say(text) for text in expected)
