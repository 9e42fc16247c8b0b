"""Inference as its users see it: admitted by the provider's actor, streamed in the user's own task."""

import math
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Protocol, TypeVar

import attrs
import trio

from understudy.actors.errors import TimedOut, Unavailable
from understudy.actors.inference.assembler import estimate_prompt
from understudy.actors.inference.client import ModelClient
from understudy.actors.inference.errors import UpstreamFailed, UpstreamTimedOut
from understudy.actors.inference.messages import (
    Admit,
    Finished,
    ModelEvent,
    ModelRequest,
    Settle,
    SettleOutcome,
    provider_address,
)
from understudy.runtime import ActorCrashed, Ask, AskTimeout, MailboxFull, NotRunning, RuntimeFault
from understudy.storage.records import new_id

R = TypeVar("R")


class Admissions(Protocol):
    """What the gateway needs of the actor system."""

    async def ask(self, address: str, message: Ask[R], timeout: float | None = None) -> R:
        """Ask the actor at *address*, activating it if need be."""
        ...

    def tell(self, address: str, message: object) -> None:
        """Tell the live actor at *address*; nobody there is no error."""
        ...


@attrs.frozen
class RetryPolicy:
    """Contract §25.2: attempts in all, the first pause (doubling, with jitter), and the longest pause worth waiting."""

    attempts: int = 3
    base: float = 1.0
    longest: float = 20.0


class Inference:
    """The door to all providers. *clients* maps a provider's name to its client."""

    def __init__(
        self,
        system: Admissions,
        clients: Mapping[str, ModelClient],
        *,
        retry: RetryPolicy | None = None,
        rng: random.Random | None = None,
        admission_timeout: float = 30.0,
    ) -> None:
        self._system = system
        self._clients = dict(clients)
        self._retry = retry or RetryPolicy()
        self._rng = rng or random.Random()  # noqa: S311  jitter, not a secret
        self._admission_timeout = admission_timeout

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[ModelEvent]]:
        """Run one inference.

        Entering waits for a slot and for the first event; a failure up to there is tried again when that may help
        (429, 5xx, network), never after the first event. The events are read in the caller's task; leaving the block by
        any way closes the provider's connection and gives the slot back. Raises `ProviderFailed`, `CircuitOpen`,
        `RateLimited`, `TimedOut`, `Unavailable`.
        """
        client = self._clients.get(request.provider)
        if client is None:
            known = ", ".join(sorted(self._clients))
            raise UpstreamFailed(
                f"there is no provider {request.provider!r} here; there are: {known}", status=404, at_fault=False
            )
        async with AsyncExitStack() as stack:
            attempt = 1
            while True:
                try:
                    events = await stack.enter_async_context(self._attempt(client, request))
                    break
                except (UpstreamFailed, UpstreamTimedOut) as error:
                    pause = self._pause(error, attempt)
                    if pause is None:
                        raise
                await trio.sleep(pause)
                attempt += 1
            yield events

    async def aclose(self) -> None:
        """Close all clients' idle connections."""
        for client in self._clients.values():
            await client.aclose()

    @asynccontextmanager
    async def _attempt(self, client: ModelClient, request: ModelRequest) -> AsyncIterator["_Peeked"]:
        """One admitted call. The permit is given back on every way out, once it may have been granted."""
        permit = new_id("prm")
        outcome, said = SettleOutcome.ABANDONED, None
        begin = trio.current_time()
        events: _Peeked | None = None
        try:
            await self._admit(request, permit)
            begin = trio.current_time()
            async with client.stream(request) as source:
                events = _Peeked(source)
                await events.peek()
                yield events
        except UpstreamFailed as error:
            outcome = SettleOutcome.FAILED if error.at_fault else SettleOutcome.REFUSED
            said = error.message
            raise
        except UpstreamTimedOut as error:
            outcome, said = SettleOutcome.FAILED, error.message
            raise
        finally:
            if events is not None and events.finished:
                outcome = SettleOutcome.SUCCEEDED
            settled = Settle(permit, outcome, said, trio.current_time() - begin)
            # A full mailbox cannot keep the slot for ever: the permit's lease runs out.
            with suppress(MailboxFull):
                self._system.tell(provider_address(request.provider), settled)

    async def _admit(self, request: ModelRequest, permit: str) -> None:
        """Wait for a slot. A provider's actor that was killed under us is asked again: nothing was admitted yet."""
        address = provider_address(request.provider)
        message = Admit(permit, tokens_hint=estimate_prompt(request))
        deadline = trio.current_time() + self._admission_timeout
        granted = False
        while not granted:
            left = deadline - trio.current_time()
            try:
                await self._system.ask(address, message, timeout=max(left, 0.001))
                granted = True
            except AskTimeout as error:
                raise TimedOut(f"{request.provider} had no free slot in time") from error
            except (ActorCrashed, NotRunning) as error:
                if trio.current_time() + 0.05 >= deadline:
                    raise Unavailable(f"{request.provider} cannot be asked at the moment", retry_after=1.0) from error
                await trio.sleep(0.05)
            except RuntimeFault as error:
                wait = getattr(error, "retry_after", 1.0)
                raise Unavailable(f"{request.provider} cannot be asked at the moment", retry_after=wait) from error

    def _pause(self, error: UpstreamFailed | UpstreamTimedOut, attempt: int) -> float | None:
        """How long to wait before the next attempt; None when there is none."""
        if not error.retryable or attempt >= self._retry.attempts:
            return None
        pause = self._retry.base * math.ldexp(0.5 + self._rng.random() / 2, attempt - 1)
        pause = max(pause, error.retry_after or 0.0)
        return pause if pause <= self._retry.longest else None


class _Peeked:
    """A stream whose first event was fetched already; remembers whether the end marker came by."""

    def __init__(self, source: AsyncIterator[ModelEvent]) -> None:
        self._source = source
        self._first: ModelEvent | None = None
        self.finished = False

    async def peek(self) -> None:
        """Wait for the first event."""
        self._first = await anext(self._source)

    def __aiter__(self) -> "_Peeked":
        return self

    async def __anext__(self) -> ModelEvent:
        event, self._first = self._first, None
        if event is None:
            event = await anext(self._source)
        if event.__class__ is Finished:
            self.finished = True
        return event
