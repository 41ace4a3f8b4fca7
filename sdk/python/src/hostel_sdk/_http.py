"""Requests to a Hostel server."""

from __future__ import annotations

import os
from typing import Any

import httpx2


class HostelError(Exception):
    """What a Hostel server refused, in its own words."""

    def __init__(self, status: int, message: str, request_id: str | None) -> None:
        super().__init__(f"{message} (status {status}, request {request_id})")
        self.status = status
        self.message = message
        self.request_id = request_id


class Server:
    """Where the server is and how to get in."""

    def __init__(self, base_url: str | None, api_key: str | None, timeout: float) -> None:
        base_url = base_url or os.environ.get("HOSTEL_BASE_URL")
        api_key = api_key or os.environ.get("HOSTEL_API_KEY")
        if not base_url or not api_key:
            raise ValueError(
                "pass base_url and api_key, or set HOSTEL_BASE_URL and HOSTEL_API_KEY"
            )
        self._client = httpx2.AsyncClient(
            base_url=base_url, headers={"x-api-key": api_key}, timeout=timeout
        )

    async def ask(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        """The answer's JSON; :class:`HostelError` when it is none of success."""
        response = await self._client.request(method, path, **request)
        if response.is_success:
            return response.json()
        try:
            message = response.json()["error"]["message"]
        except (ValueError, KeyError, TypeError):
            message = response.text[:200] or response.reason_phrase
        raise HostelError(response.status_code, message, response.headers.get("request-id"))

    async def close(self) -> None:
        """Closes its connections."""
        await self._client.aclose()
