"""A client as a user would write one: registers, chats, streams, resumes, cancels."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Self

import attrs
import h11
import httpx
import msgspec
import trio

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


class EventStream:
    """An event stream over a connection of its own, parsed as it comes (WHATWG HTML §9.2); comments are skipped.

    On h11, not httpx: httpx nests generators that complain when a reader leaves early, which is what ours do.
    """

    def __init__(self, stream: trio.abc.Stream, http: h11.Connection) -> None:
        self._stream = stream
        self._http = http
        self._text = b""

    def __aiter__(self) -> "EventStream":
        return self

    async def __anext__(self) -> Event:
        """The next event; the end when the server has ended the answer. A cut connection raises."""
        while True:
            frame, found, rest = self._text.partition(b"\n\n")
            if found:
                self._text = rest
                if event := parse_frame(frame.decode()):
                    return event
                continue
            match await next_http_event(self._stream, self._http):
                case h11.Data(data=data):
                    self._text += data
                case h11.EndOfMessage():
                    raise StopAsyncIteration
                case other:
                    raise AssertionError(f"the stream was cut: {other}")


def parse_frame(frame: str) -> Event | None:
    """One event; None for a comment."""
    fields: dict[str, str] = {}
    for line in frame.splitlines():
        name, _, value = line.partition(":")
        fields[name] = value.removeprefix(" ")
    if "data" not in fields:
        return None
    return Event(fields.get("id", ""), fields.get("event", "message"), msgspec.json.decode(fields["data"]))


async def next_http_event(stream: trio.abc.Stream, http: h11.Connection) -> Any:
    """What the server says next."""
    while (event := http.next_event()) is h11.NEED_DATA:
        http.receive_data(bytes(await stream.receive_some(65536)))
    return event


@asynccontextmanager
async def open_events(
    url: httpx.URL, method: str, target: str, headers: dict[str, str], body: bytes = b""
) -> AsyncGenerator[EventStream, None]:
    """Send a request whose answer is an event stream; leaving the block cuts the connection."""
    stream = await trio.open_tcp_stream(url.host, url.port or 80)
    http = h11.Connection(h11.CLIENT)
    fields = {"Host": "test", "Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
    try:
        request = h11.Request(method=method, target=target, headers=list(fields.items()))
        head = http.send(request) or b""
        await stream.send_all(head + (http.send(h11.Data(data=body)) or b"") + (http.send(h11.EndOfMessage()) or b""))
        answer = await next_http_event(stream, http)
        if answer.status_code != 200:
            said = await next_http_event(stream, http)
            raise AssertionError(f"{answer.status_code}: {said}")
        yield EventStream(stream, http)
    finally:
        await trio.aclose_forcefully(stream)


@attrs.frozen
class Answer:
    """A whole answer to a request."""

    status: int
    body: Any


class Line:
    """One keep-alive connection for one request after the other; made anew when it was cut. Cheap and plain."""

    def __init__(self, url: httpx.URL) -> None:
        self._url = url
        self._stream: trio.abc.Stream | None = None

    async def post(self, target: str, headers: dict[str, str], body: bytes) -> Answer:
        """Raises `OSError`, `trio.BrokenResourceError` or `h11.RemoteProtocolError` when the connection is cut."""
        if self._stream is None:
            self._stream = await trio.open_tcp_stream(self._url.host, self._url.port or 80)
        http = h11.Connection(h11.CLIENT)
        fields = {"Host": "test", "Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
        request = h11.Request(method="POST", target=target, headers=list(fields.items()))
        data = b""
        try:
            head = http.send(request) or b""
            await self._stream.send_all(head + (http.send(h11.Data(data=body)) or b""))
            http.send(h11.EndOfMessage())
            answer = await next_http_event(self._stream, http)
            while isinstance(event := await next_http_event(self._stream, http), h11.Data):
                data += event.data
        except BaseException:
            await self.aclose()
            raise
        if http.their_state is not h11.DONE or not isinstance(event, h11.EndOfMessage):
            await self.aclose()
        return Answer(answer.status_code, msgspec.json.decode(data) if data else None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Hang up."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await trio.aclose_forcefully(stream)


CUT_OFF = (OSError, trio.BrokenResourceError, h11.RemoteProtocolError)
"""What it is like when the server goes away in the middle."""


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

    async def chat_on(self, line: Line, message: str, *, key: str | None = None, **body: Any) -> Answer:
        """``POST /agent/chat`` over a connection of the caller's."""
        headers = self.headers | ({"X-Idempotency-Key": key} if key else {})
        return await line.post("/agent/chat", headers, msgspec.json.encode({"message": message, **body}))

    @asynccontextmanager
    async def stream(
        self, message: str, *, last_event_id: str | None = None, **body: Any
    ) -> AsyncGenerator[EventStream, None]:
        """``POST /agent/chat/stream``."""
        headers = self.headers | ({"Last-Event-ID": last_event_id} if last_event_id else {})
        content = msgspec.json.encode({"message": message, **body})
        async with open_events(self.http.base_url, "POST", "/agent/chat/stream", headers, content) as events:
            yield events

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
        target = f"/sessions/{session_id}/events?after={after}&follow=false"
        async with open_events(self.http.base_url, "GET", target, self.headers) as events:
            return [event async for event in events]


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
