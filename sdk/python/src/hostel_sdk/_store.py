"""The Agent SDK's session store, kept by a Hostel server."""

from __future__ import annotations

import random
from collections import OrderedDict
from typing import Any
from urllib.parse import quote

import anyio
from claude_agent_sdk import fold_session_summary
from claude_agent_sdk.types import (
    SessionKey,
    SessionListSubkeysKey,
    SessionStore,
    SessionStoreEntry,
    SessionStoreListEntry,
    SessionSummaryEntry,
)

from ._http import HostelError, Server

# Summaries that are remembered between appends; of a forgotten one the server is asked again.
_SUMMARIES = 256
# How often an append is tried while other writers replace the session's summary.
_TRIES = 10


class HostelSessionStore(SessionStore):
    """Keeps transcripts in Hostel, where every process with the same key finds them.

    An entry that has a ``uuid`` is kept once, however often it is sent, so repeating an append whose
    answer was lost is safe. Summaries are replaced together with the entries that they were folded from;
    writers of one session at the same time fold anew until all have been heard.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        timeout: float = 30.0,
    ) -> None:
        """``base_url`` and ``api_key`` default to ``HOSTEL_BASE_URL`` and ``HOSTEL_API_KEY``; ``timeout`` is in
        seconds, of each step of a request."""
        self._server = Server(base_url, api_key, timeout)
        self._summaries: OrderedDict[tuple[str, str], tuple[int, dict[str, Any]]] = OrderedDict()
        self._lock = anyio.Lock()

    async def append(self, key: SessionKey, entries: list[SessionStoreEntry]) -> None:
        """Adds entries to a transcript."""
        if not entries:
            return
        if subpath := key.get("subpath"):
            body = {"subpath": subpath, "entries": entries}
            await self._server.ask("POST", _path(key), json=body)
            return
        async with self._lock:
            for tries in range(1, _TRIES + 1):
                try:
                    return await self._append_with_summary(key, entries)
                except HostelError as error:
                    self._summaries.pop(_id(key), None)
                    if error.status != 409 or tries == _TRIES:
                        raise
                    # By chance, so that writers who met once do not meet again.
                    await anyio.sleep(random.uniform(0, 0.005 * 2**tries))

    async def _append_with_summary(
        self, key: SessionKey, entries: list[SessionStoreEntry]
    ) -> None:
        revision, data = await self._summary(key)
        known: SessionSummaryEntry = {"session_id": key["session_id"], "mtime": 0, "data": data}
        folded = fold_session_summary(known if revision else None, key, entries)["data"]
        summary = {"revision": revision, "data": folded}
        body = {"entries": entries, "summary": summary}
        answer = await self._server.ask("POST", _path(key), json=body)
        self._summaries[_id(key)] = (answer["revision"], folded)
        self._summaries.move_to_end(_id(key))
        if len(self._summaries) > _SUMMARIES:
            self._summaries.popitem(last=False)

    async def _summary(self, key: SessionKey) -> tuple[int, dict[str, Any]]:
        if known := self._summaries.get(_id(key)):
            return known
        rows = await self._rows(key["project_key"], session_id=key["session_id"])
        for row in rows:
            if row["summary"]:
                return row["summary"]["revision"], row["summary"]["data"]
        return 0, {}

    async def load(self, key: SessionKey) -> list[SessionStoreEntry] | None:
        """All entries of a transcript; ``None`` when there never was one."""
        query = {"subpath": key["subpath"]} if key.get("subpath") else {}
        try:
            return await self._pages(_path(key), query)
        except HostelError as error:
            if error.status == 404:
                return None
            raise

    async def list_sessions(self, project_key: str) -> list[SessionStoreListEntry]:
        """The sessions of a project."""
        rows = await self._rows(project_key)
        return [{"session_id": row["session_id"], "mtime": row["mtime"]} for row in rows]

    async def list_session_summaries(self, project_key: str) -> list[SessionSummaryEntry]:
        """The summaries of a project's sessions."""
        return [
            {"session_id": row["session_id"], "mtime": row["mtime"], "data": row["summary"]["data"]}
            for row in await self._rows(project_key)
            if row["summary"]
        ]

    async def delete(self, key: SessionKey) -> None:
        """Deletes a session with everything under it, or one of its subagents' transcripts."""
        query = {"subpath": key["subpath"]} if key.get("subpath") else {}
        self._summaries.pop(_id(key), None)
        await self._server.ask("DELETE", _path(key), params=query)

    async def list_subkeys(self, key: SessionListSubkeysKey) -> list[str]:
        """The transcripts of a session beside the main one."""
        return await self._pages(f"{_path(key)}/subkeys", {})

    async def close(self) -> None:
        """Closes the connections to the server."""
        await self._server.close()

    async def _rows(self, project_key: str, **query: str) -> list[dict[str, Any]]:
        return await self._pages(f"/v1/session_store/{quote(project_key, safe='')}", query)

    async def _pages(self, path: str, query: dict[str, str]) -> list[Any]:
        found: list[Any] = []
        while True:
            page = await self._server.ask("GET", path, params=query)
            found += page["data"]
            if page["next_page"] is None:
                return found
            query = {**query, "page": page["next_page"]}


def _id(key: SessionKey) -> tuple[str, str]:
    return key["project_key"], key["session_id"]


def _path(key: SessionKey | SessionListSubkeysKey) -> str:
    project, session = quote(key["project_key"], safe=""), quote(key["session_id"], safe="")
    return f"/v1/session_store/{project}/{session}"
