"""Inference as its users see it: admitted by the provider's actor, streamed in the user's own task."""

import random
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Protocol, TypeVar

import attrs
import structlog
import trio

from understudy.actors.errors import DomainError, TimedOut, Unavailable
from understudy.actors.inference.client import ModelClient
from understudy.actors.inference.endpoints import Endpoints
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
from understudy.actors.inference.rehearsal import PROVIDER as BUILTIN
from understudy.actors.inference.retry import Again, GiveUp, RetryBudget, RetryPolicy, next_step
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


log = structlog.get_logger("understudy.inference")


class Inference:
    """The door to all providers: *clients* by their names, and *endpoints* for models at addresses of their own."""

    def __init__(
        self,
        system: Admissions,
        clients: Mapping[str, ModelClient],
        *,
        endpoints: Endpoints | None = None,
        retry: RetryPolicy | None = None,
        rng: random.Random | None = None,
        admission_timeout: float = 30.0,
    ) -> None:
        self._system = system
        self._clients = dict(clients)
        self._endpoints = endpoints
        self._retry = retry or RetryPolicy()
        self._rng = rng or random.Random()  # noqa: S311  jitter, not a secret
        self._admission_timeout = admission_timeout

    @asynccontextmanager
    async def stream(
        self, request: ModelRequest, budget: RetryBudget | None = None
    ) -> AsyncIterator[AsyncIterator[ModelEvent]]:
        """Run one inference.

        Entering waits for a slot and for the first event; a failure up to there is tried again when that may help
        (429, 5xx, network), at the same model or at the request's fallbacks, never after the first event. A turn hands
        in the same *budget* each time, so that its retries are counted over all its inferences. The events are read in
        the caller's task; leaving the block by any way closes the provider's connection and gives the slot back. Raises
        `ProviderFailed`, `CircuitOpen`, `RateLimited`, `TimedOut`, `Unavailable`.
        """
        async with AsyncExitStack() as stack:
            yield await self._begin(stack, request, budget or RetryBudget())

    async def _begin(self, stack: AsyncExitStack, request: ModelRequest, budget: RetryBudget) -> "_Peeked":
        """The first answer that begins; its call stays open on *stack*."""
        allowed = max(self._retry.attempts - 1, len(request.fallbacks))
        others = deque(
            attrs.evolve(request, provider=ref.provider, model=ref.model_id, endpoint=None) for ref in request.fallbacks
        )
        attempt = 1
        while True:
            try:
                return await stack.enter_async_context(self._attempt(request))
            except DomainError as error:
                step, cost = next_step(error, attempt, allowed - budget.spent, len(others), self._retry, self._rng)
                budget.spent += cost
                if isinstance(step, GiveUp):
                    raise
                said = error.message
            if isinstance(step, Again):
                await trio.sleep(step.pause)
                attempt += 1
                continue
            failed, request, attempt = request, others.popleft(), 1
            log.warning(
                "falling back",
                model=f"{failed.provider}/{failed.model}",
                to=f"{request.provider}/{request.model}",
                error=said,
            )

    async def aclose(self) -> None:
        """Close all clients' idle connections."""
        for client in self._clients.values():
            await client.aclose()
        if self._endpoints is not None:
            await self._endpoints.aclose()

    @asynccontextmanager
    async def _attempt(self, request: ModelRequest) -> AsyncIterator["_Peeked"]:
        """One admitted call. The permit is given back on every way out, once it may have been granted."""
        name, client = await self._client(request)
        permit = new_id("prm")
        outcome, said = SettleOutcome.ABANDONED, None
        begin = trio.current_time()
        events: _Peeked | None = None
        try:
            await self._admit(name, permit)
            begin = trio.current_time()
            async with client.stream(request) as source:
                events = _Peeked(source, request.provider)
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
                self._system.tell(provider_address(name), settled)

    async def _admit(self, name: str, permit: str) -> None:
        """Wait for a slot. A provider's actor that was killed under us is asked again: nothing was admitted yet."""
        address = provider_address(name)
        message = Admit(permit)
        deadline = trio.current_time() + self._admission_timeout
        granted = False
        while not granted:
            left = deadline - trio.current_time()
            try:
                await self._system.ask(address, message, timeout=max(left, 0.001))
                granted = True
            except AskTimeout as error:
                raise TimedOut(f"{name} had no free slot in time") from error
            except (ActorCrashed, NotRunning) as error:
                if trio.current_time() + 0.05 >= deadline:
                    raise Unavailable(f"{name} cannot be asked at the moment", retry_after=1.0) from error
                await trio.sleep(0.05)
            except RuntimeFault as error:
                wait = getattr(error, "retry_after", 1.0)
                raise Unavailable(f"{name} cannot be asked at the moment", retry_after=wait) from error

    async def _client(self, request: ModelRequest) -> tuple[str, ModelClient]:
        """Whom to ask, and the name of the actor that admits to it."""
        provider = request.provider
        if request.endpoint is not None and provider != BUILTIN:
            if self._endpoints is None:
                raise UpstreamFailed(f"{provider} can be asked at its own address only", status=404, at_fault=False)
            found = await self._endpoints.client(provider, request.endpoint)
            if found is not None:
                return found
        client = self._clients.get(provider)
        if client is None:
            known = ", ".join(sorted(self._clients))
            raise UpstreamFailed(
                f"there is no provider {provider!r} here; there are: {known}", status=404, at_fault=False
            )
        return provider, client


class _Peeked:
    """A stream whose first event was fetched already; remembers whether the end marker came by."""

    def __init__(self, source: AsyncIterator[ModelEvent], provider: str) -> None:
        self._source = source
        self._provider = provider
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
        if isinstance(event, Finished):
            self.finished = True
            return attrs.evolve(event, provider=self._provider)
        return event
