"""A client as a user would write one: registers, chats, streams, resumes, cancels."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import httpx
import msgspec

from tests.support.node import INTERNAL_KEY, some_email

PASSWORD = "correct horse"
TERMINAL = frozenset({"done", "error"})


@attrs.frozen
class Event:
    """One event of a stream."""

    id: str
    type: str
    data: dict[str, Any]

    @property
    def seq(self) -> int:
        """The number within its session's log."""
        return int(self.id.rpartition(":")[2])


async def read_events(lines: AsyncIterator[str]) -> AsyncIterator[Event]:
    """Parse an event stream (WHATWG HTML §9.2); comments are skipped."""
    fields: dict[str, str] = {}
    async for line in lines:
        if line.startswith(":"):
            continue
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif "data" in fields:
            yield Event(fields.get("id", ""), fields.get("event", "message"), msgspec.json.decode(fields["data"]))
            fields = {}


class Client:
    """One user of one server."""

    def __init__(self, http: httpx.AsyncClient, uid: str, token: str, refresh_token: str) -> None:
        self.http = http
        self.uid = uid
        self.token = token
        self.refresh_token = refresh_token

    @property
    def headers(self) -> dict[str, str]:
        """What every request carries."""
        return {"Authorization": f"Bearer {self.token}"}

    async def chat(self, message: str, *, key: str | None = None, **body: Any) -> httpx.Response:
        """``POST /agent/chat``."""
        headers = self.headers | ({"X-Idempotency-Key": key} if key else {})
        return await self.http.post("/agent/chat", json={"message": message, **body}, headers=headers)

    @asynccontextmanager
    async def stream(
        self, message: str, *, last_event_id: str | None = None, **body: Any
    ) -> AsyncGenerator[AsyncIterator[Event], None]:
        """``POST /agent/chat/stream``."""
        headers = self.headers | ({"Last-Event-ID": last_event_id} if last_event_id else {})
        async with self.http.stream(
            "POST", "/agent/chat/stream", json={"message": message, **body}, headers=headers
        ) as answer:
            if answer.status_code != 200:
                raise AssertionError(f"{answer.status_code}: {(await answer.aread()).decode()}")
            yield read_events(answer.aiter_lines())

    async def cancel(self, session_id: str) -> httpx.Response:
        """``POST /sessions/{id}/cancel``."""
        return await self.http.post(f"/sessions/{session_id}/cancel", headers=self.headers)

    async def session(self, session_id: str) -> dict[str, Any]:
        """``GET /sessions/{id}``."""
        answer = await self.http.get(f"/sessions/{session_id}?limit=500", headers=self.headers)
        answer.raise_for_status()
        detail: dict[str, Any] = answer.json()
        return detail

    async def events(self, session_id: str, after: int = 0) -> list[Event]:
        """All events of a session so far."""
        async with self.http.stream(
            "GET", f"/sessions/{session_id}/events?after={after}&follow=false", headers=self.headers
        ) as answer:
            answer.raise_for_status()
            return [event async for event in read_events(answer.aiter_lines())]


@asynccontextmanager
async def connect(url: str) -> AsyncGenerator[httpx.AsyncClient, None]:
    """An HTTP client that waits patiently and pools generously."""
    limits = httpx.Limits(max_connections=1000, max_keepalive_connections=1000)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as http:
        yield http


async def register(http: httpx.AsyncClient) -> Client:
    """A new user."""
    answer = await http.post("/auth/register", json={"email": some_email(), "password": PASSWORD})
    assert answer.status_code == 201, answer.text
    body = answer.json()
    return Client(http, body["user"]["id"], body["accessToken"], body["refreshToken"])


async def operator_get(http: httpx.AsyncClient, path: str) -> Any:
    """A GET with the internal key."""
    answer = await http.get(path, headers={"X-Api-Key": INTERNAL_KEY})
    answer.raise_for_status()
    return answer.json()


async def operator_post(http: httpx.AsyncClient, path: str) -> httpx.Response:
    """A POST with the internal key."""
    return await http.post(path, headers={"X-Api-Key": INTERNAL_KEY})
