"""The verbs of the command line that show and save what a real server did."""

from __future__ import annotations

import json
import subprocess

import pytest

from hostel_server import BINARY, environment
from script import say, script, shell

TASK = script(shell("mkdir -p /mnt/session/outputs/site && echo page > /mnt/session/outputs/site/index.html"), say("done"))


@pytest.fixture
def hostel(server, tmp_path):
    """Runs a verb against the server, and gives what it printed, as JSON lines when asked so."""

    def run(*words: str):
        env = environment(tmp_path, HOSTEL_BASE_URL=server.base_url, HOSTEL_API_KEY=server.api_key)
        done = subprocess.run([BINARY, *words], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return [json.loads(line) for line in done.stdout.splitlines()] if "--json" in words else done.stdout

    return run


def sessions(client) -> set[str]:
    return {session.id for session in client.beta.sessions.list(limit=100, include_archived=True)}


def test_run_saves_results_and_leaves_nothing_on_the_server(hostel, client, tmp_path):
    before = sessions(client)
    printed = hostel("run", TASK, "--output", "out", "--json")
    assert (tmp_path / "out/site/index.html").read_text() == "page\n"
    (file,) = [line for line in printed if line["type"] == "hostel.file"]
    assert (file["at"], file["file"]["size_bytes"]) == ("out/site/index.html", 5)
    assert printed[-1]["outcome"]["finished"] and printed[-1]["outcome"]["requests"] == 2
    assert sessions(client) == before


def test_run_tells_where_results_are_that_it_does_not_save(hostel, client, server):
    before = sessions(client)
    printed = hostel("run", TASK)
    (new,) = sessions(client) - before
    (file,) = client.beta.files.list(scope_id=new)
    assert f"site/index.html (5 bytes): {server.base_url}/v1/files/{file.id}/content" in printed
    assert client.beta.sessions.retrieve(new).status == "terminated"


def test_kept_session_of_a_run_goes_on_and_forks(hostel, client):
    before = sessions(client)
    hostel("run", script(say("first")), "--keep")
    (kept,) = sessions(client) - before
    assert client.beta.sessions.retrieve(kept).status == "idle"
    assert [line["pattern"] for line in hostel("ps", "--json") if line["id"] == kept] == ["ephemeral"]
    end = client.beta.sessions.events.list(kept, order="desc", limit=1).data[0]
    (forked,) = hostel("fork", kept, "--at", end.id, "--json")
    assert forked["id"] in hostel("ps") and forked["id"] != kept
    said = client.beta.sessions.events.list(forked["id"], types=["agent.message"]).data
    assert [event.content[0].text for event in said] == ["first"]
