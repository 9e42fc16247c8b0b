"""Checks of the model providers that are in use, and a look at their circuit breakers."""

from collections.abc import Collection

import trio

from understudy.actors.diagnostics.check import Check, Finding, failed, passed, warned
from understudy.actors.inference.breaker import Circuit
from understudy.actors.inference.messages import (
    KIND,
    BreakerState,
    BreakerStatus,
    ProviderState,
    ProviderStatus,
    provider_address,
)
from understudy.runtime import ActorSystem, RuntimeFault


def circuits_closed() -> Check:
    """No provider is being left alone for having failed too often; of an agent's own endpoint it is a warning."""

    async def run(system: ActorSystem) -> Finding:
        states = [state for address in system.addresses(KIND) if (state := await _state(system, address)) is not None]
        hint = "see its last error, its key and its status page; it is tried again by itself"
        troubled = [state for state in states if state.circuit != Circuit.CLOSED]
        if troubled:
            told = "; ".join(f"{s.provider} is {s.circuit}: {s.last_error or 'no error kept'}" for s in troubled)
            ours = any(state.circuit == Circuit.OPEN and "@" not in state.provider for state in troubled)
            return failed(told, hint) if ours else warned(told, hint)
        if not states:
            return passed("no provider has been called yet")
        return passed("; ".join(f"{s.provider}: {s.succeeded} answered, {s.failed} failed" for s in states))

    return Check("inference.circuits", run)


async def _state(system: ActorSystem, address: str) -> ProviderState | None:
    try:
        return await system.ask(address, ProviderStatus(), timeout=1.0)
    except RuntimeFault:
        return None  # it left, or is between two lives: the check of the actors tells of that


async def breakers(system: ActorSystem, names: Collection[str]) -> tuple[BreakerState, ...]:
    """The breaker of each provider in *names*, and of each other that lives, asked side by side within a second."""
    living = (address.removeprefix(f"{KIND}/") for address in system.addresses(KIND))
    found: dict[str, BreakerState] = {}

    async def ask(name: str) -> None:
        found[name] = await _breaker(system, name)

    async with trio.open_nursery() as nursery:
        for name in {*names, *living}:
            nursery.start_soon(ask, name)
    return tuple(found[name] for name in sorted(found))


async def _breaker(system: ActorSystem, name: str) -> BreakerState:
    address = provider_address(name)
    if system.whereis(address) is None:
        return BreakerState(name, Circuit.CLOSED.value)
    try:
        return await system.ask(address, BreakerStatus(), timeout=1.0)
    except RuntimeFault as error:
        return BreakerState(name, "unknown", last_error=f"its actor does not answer: {error}")
