"""The Agent SDK with its session store in Hostel: the SDK's own conformance suite, and a real session."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import subprocess
import urllib.request

import pytest
from anthropic import NotFoundError
from claude_agent_sdk import ClaudeAgentOptions, ResultMessage, list_sessions_from_store, project_key_for_directory, query
from claude_agent_sdk.testing import run_session_store_conformance
from hostel_sdk import HostelError, HostelSessionStore

import hostel_server
from conftest import MODEL, connect
from hostel_server import BINARY, VERSIONS, environment
from script import say
from turns import Watch, history, message, send, texts

names = itertools.count()


@pytest.fixture
def fresh_key(server, client):
    """Makes a key of a workspace that nobody has used."""

    def make() -> str:
        workspace = client.post("/v1/workspaces", body={"name": f"w{next(names)}"}, cast_to=object)
        body = {"name": "k", "scope": "sessions", "workspace_id": workspace["id"]}
        return client.post("/v1/api_keys", body=body, cast_to=object)["key"]

    return make


@pytest.fixture
def store(server, fresh_key):
    return HostelSessionStore(server.base_url, api_key=fresh_key())


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The scripted model by itself, for a claude that runs here."""
    env = environment(tmp_path_factory.mktemp("model"))
    process = subprocess.Popen(
        [BINARY, "model", "--listen", "127.0.0.1:0"], env=env, stdout=subprocess.PIPE, text=True
    )
    url = re.search(r"http://\S+", process.stdout.readline())[0]
    yield url
    process.terminate()
    process.wait(20)


def test_the_sdks_conformance_suite(server, fresh_key):
    def make() -> HostelSessionStore:
        return HostelSessionStore(server.base_url, api_key=fresh_key())

    asyncio.run(run_session_store_conformance(make))


async def ask(store, model, directory, home: str, prompt: str, **options) -> ResultMessage:
    """One turn of a claude that runs here, with a home and a configuration of its own."""
    (directory / home).mkdir()
    env = environment(directory / home, CLAUDE_CONFIG_DIR=str(directory / home / "claude"),
                      ANTHROPIC_BASE_URL=model, ANTHROPIC_API_KEY="dummy")
    claude = next((VERSIONS / "cli").glob("*/claude"))
    asked = ClaudeAgentOptions(cli_path=claude, cwd=directory, env=env, session_store=store, setting_sources=[],
                               **options)
    words = [word async for word in query(prompt=prompt, options=asked)]
    assert not [word for word in words if getattr(word, "subtype", "") == "mirror_error"]
    [result] = [word for word in words if isinstance(word, ResultMessage)]
    return result


def test_a_session_goes_on_on_another_machine(store, model, tmp_path):
    """Nothing is shared between the two but the store."""

    async def main() -> None:
        first = await ask(store, model, tmp_path, "one", say("the word is heron"))
        assert first.result == "the word is heron"
        [listed] = await list_sessions_from_store(store, directory=str(tmp_path))
        assert listed.session_id == first.session_id
        second = await ask(store, model, tmp_path, "two", say("still here"), resume=first.session_id)
        assert (second.result, second.session_id) == ("still here", first.session_id)
        key = {"project_key": project_key_for_directory(str(tmp_path)), "session_id": first.session_id}
        entries = await store.load(key)
        said = [entry for entry in entries if entry["type"] == "assistant"]
        assert len(said) == 2, said
        uuids = [entry["uuid"] for entry in entries if "uuid" in entry]
        assert len(uuids) == len(set(uuids))

    asyncio.run(main())


def test_a_session_of_the_sdk_goes_on_in_hostel(model, tmp_path):
    """Begun by the SDK here, continued through the API in a sandbox: the model is told all of it."""
    data = tmp_path / "data"
    hostel_server.share_cli(data)
    server = hostel_server.Server(data, model).start()
    try:
        with connect(server, max_retries=0) as client:
            store = HostelSessionStore(server.base_url, api_key=server.api_key)
            first = asyncio.run(ask(store, model, tmp_path, "one", say("the word is heron")))
            kept = {"project_key": project_key_for_directory(str(tmp_path)), "session_id": first.session_id}
            agent = client.beta.agents.create(name="a", model=MODEL)
            place = client.beta.environments.create(name="e")

            def begin(resume: dict):
                return client.beta.sessions.create(
                    agent=agent.id, environment_id=place.id, extra_body={"resume": resume}
                )

            with pytest.raises(NotFoundError, match="resume"):
                begin({**kept, "session_id": "never"})
            session = begin(kept)
            with Watch(client, session.id) as watch:
                send(client, session.id, message(say("still here")))
                watch.idle()
            assert texts(history(client, session.id)) == ["still here"]
            asked = json.load(urllib.request.urlopen(f"{model}/__requests"))
            told = [request["body"]["messages"] for request in asked if request["path"].startswith("/v1/messages")]
            assert "the word is heron" in json.dumps(told[-1]), told[-1]
    finally:
        server.stop()


def test_writers_at_the_same_time_lose_nothing(server, fresh_key):
    api_key = fresh_key()
    key = {"project_key": "p", "session_id": "s"}

    async def write(writer: int) -> None:
        store = HostelSessionStore(server.base_url, api_key=api_key)
        for number in range(10):
            entry = {"type": "x", "uuid": f"{writer}-{number}"}
            # The summary is folded from what all of them wrote.
            await store.append(key, [{**entry, "customTitle": "title"}])
        await store.close()

    async def main() -> None:
        await asyncio.gather(*(write(writer) for writer in range(4)))
        store = HostelSessionStore(server.base_url, api_key=api_key)
        kept = await store.load(key)
        for writer in range(4):
            mine = [entry["uuid"] for entry in kept if entry["uuid"].startswith(f"{writer}-")]
            assert mine == [f"{writer}-{number}" for number in range(10)]
        [summary] = await store.list_session_summaries("p")
        assert summary["data"]["custom_title"] == "title"

    asyncio.run(main())


def test_a_long_transcript_is_loaded_whole(store):
    key = {"project_key": "p", "session_id": "long"}
    entries = [{"type": "x", "uuid": str(number), "text": "ü" * 500_000} for number in range(12)]

    async def main() -> None:
        for entry in entries:
            await store.append(key, [entry])
        assert await store.load(key) == entries

    asyncio.run(main())


def test_what_cannot_be_kept_says_why(server, store):
    async def main() -> None:
        key = {"project_key": "p", "session_id": "s", "subpath": "../../etc"}
        with pytest.raises(HostelError, match="subpath"):
            await store.append(key, [{"type": "x"}])
        stranger = HostelSessionStore(server.base_url, api_key="hostel_wrong")
        with pytest.raises(HostelError, match="not known"):
            await stranger.load({"project_key": "p", "session_id": "s"})

    asyncio.run(main())
    with pytest.raises(ValueError, match="HOSTEL_BASE_URL"):
        HostelSessionStore()
