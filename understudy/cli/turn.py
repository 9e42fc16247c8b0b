"""One question and its streamed answer, over as many connections as it takes: each event once, in order."""

import random
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import trio

from understudy.backoff import Backoff
from understudy.cli.api import Api, ApiError, Unreachable, new_key, unreachable
from understudy.cli.sse import EventDecoder, ServerEvent

TERMINAL = frozenset({"done", "error"})
_LINGER = 0.5
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})

TRIES = 20
"""How often in a row a server that was there is looked for before it counts as gone."""

COMING_BACK = Backoff(base=0.25, limit=5.0, jitter=0.5)


class StreamedTurn:
    """Asks, and follows the answer to its end.

    Every request carries one idempotency key, so asking again attaches to the turn instead of starting another; once
    an event has been seen, its id says where to go on. ``session_known`` is set as soon as the server has told which
    session this is: from then on the turn can be cancelled.
    """

    def __init__(
        self,
        api: Api,
        body: Mapping[str, Any],
        on_event: Callable[[ServerEvent], None],
        on_notice: Callable[[str], None],
        *,
        backoff: Backoff = COMING_BACK,
        tries: int = TRIES,
        rng: random.Random | None = None,
    ) -> None:
        self._api = api
        self._body = body
        self._on_event = on_event
        self._on_notice = on_notice
        self._backoff = backoff
        self._tries = tries
        self._rng = rng or random.Random()  # noqa: S311 - it spreads retries, it guards nothing
        self._key = new_key()
        self._last_id = ""
        self._reached = False
        self._refreshed = False
        self._failures = 0
        self.session_known = trio.Event()

    async def run(self) -> ServerEvent:
        """Follow the turn; the terminal event is returned (and has been handed to ``on_event`` like every other).

        Raises:
            ApiError: the server refused for good.
            Unreachable: nobody answers, from the start or for longer than the tries last.
        """
        while True:
            wait: float | None = None
            try:
                if (last := await self._one_connection()) is not None:
                    return last
                if self._failures >= self._tries:
                    raise Unreachable(f"{self._api.url} keeps ending the stream before the turn has ended")
            except httpx.TransportError as error:
                # A connection that broke before its answer is safe to try again: the key makes it the same request.
                absent = isinstance(error, httpx.ConnectError) and not self._reached
                if absent or self._failures >= self._tries:
                    raise unreachable(self._api.url, error) from error
                self._reached = True
            except ApiError as error:
                if error.status == 401 and not self._refreshed and await self._api.refresh():
                    self._refreshed = True
                    continue
                if not self._reached or error.status not in _PASSING or self._failures >= self._tries:
                    raise
                wait = error.retry_after
            self._failures += 1
            if self._failures == 1:
                self._on_notice("connection lost, resuming ...")
            await trio.sleep(wait if wait is not None else self._backoff.delay(self._failures, self._rng))

    async def cancel(self) -> None:
        """Stop the turn; returns when the server is quiet. Waits until the session is known.

        Raises:
            ApiError, Unreachable: it could not be stopped.
        """
        await self.session_known.wait()
        await self._api.call("POST", f"/sessions/{self._last_id.rpartition(':')[0]}/cancel", {})

    async def _one_connection(self) -> ServerEvent | None:
        """Read one connection to the turn's end, or to the connection's (None)."""
        headers = {"X-Idempotency-Key": self._key}
        if self._last_id:
            headers["Last-Event-ID"] = self._last_id
        last: ServerEvent | None = None
        # Read on until the server closes, instead of leaving when the last event has come: httpx's body iterators
        # cannot be abandoned cleanly. The scope is for a server that keeps the stream open.
        with trio.CancelScope() as scope:
            async with self._api.stream("POST", "/agent/chat/stream", self._body, headers) as response:
                self._reached = True
                decoder = EventDecoder()
                async for chunk in response.aiter_raw():
                    for event in decoder.feed(chunk):
                        if last is None and self._take(event) and event.type in TERMINAL:
                            last = event
                            scope.deadline = trio.current_time() + _LINGER
        return last

    def _take(self, event: ServerEvent) -> bool:
        """Hand on *event* unless it was seen before, or is not of the turn.

        What carries no id is not in the session's log: with it the server says why it ends this connection, as when it
        is about to stop. The turn may well go on, so the answer is to come back.
        """
        if not event.id or (self._last_id and _sequence(event.id) <= _sequence(self._last_id)):
            return False
        self._last_id = event.id
        self.session_known.set()
        self._failures = 0
        self._on_event(event)
        return True


def _sequence(event_id: str) -> int:
    number = event_id.rpartition(":")[2]
    return int(number) if number.isdigit() else 0
