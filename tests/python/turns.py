"""Driving a session through the official client, as an application would."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from anthropic import Anthropic

ENDS = ("session.status_idle", "session.status_terminated", "session.deleted")
PATIENCE = 60.0


def message(text: str) -> dict:
    return {"type": "user.message", "content": [{"type": "text", "text": text}]}


def send(client: Anthropic, session_id: str, *events: dict):
    return client.beta.sessions.events.send(session_id, events=list(events))


def texts(events: Iterable) -> list[str]:
    """What the agent said."""
    return [block.text for event in events if event.type == "agent.message" for block in event.content]


def kinds(events: Iterable) -> list[str]:
    return [event.type for event in events]


def history(client: Anthropic, session_id: str, **query) -> list:
    return list(client.beta.sessions.events.list(session_id, **query))


class Watch:
    """A reader of one session's stream, opened before anything is sent, on its own thread."""

    def __init__(self, client: Anthropic, session_id: str, **query) -> None:
        self.events: list = []
        self.failure: BaseException | None = None
        self._changed = threading.Condition()
        self._stream = client.beta.sessions.events.stream(session_id, **query)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for event in self._stream:
                with self._changed:
                    self.events.append(event)
                    self._changed.notify_all()
        except BaseException as error:  # Told to whoever waits.
            self.failure = error
        finally:
            with self._changed:
                self._changed.notify_all()

    def until(self, done: Callable[[list], bool]) -> list:
        """All events so far, once `done` says yes to them."""
        with self._changed:
            held = self._changed.wait_for(lambda: done(self.events) or not self._thread.is_alive(), PATIENCE)
            held = held and done(self.events)
            assert held, f"after {PATIENCE} s or the stream's end: {kinds(self.events)} {self.failure}"
            return list(self.events)

    def idle(self, times: int = 1) -> list:
        """All events so far, once the session went idle this many times."""
        return self.until(lambda events: kinds(events).count("session.status_idle") >= times)

    def one(self, kind: str, number: int = 1):
        """The event of this kind, once there are so many."""
        events = self.until(lambda events: kinds(events).count(kind) >= number)
        return [event for event in events if event.type == kind][number - 1]

    def ended(self) -> list:
        """All events, once the server has closed the stream."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), f"the stream is still open: {kinds(self.events)}"
        return list(self.events)

    def close(self) -> None:
        self._stream.close()

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
