"""Checks of the model providers that are in use."""

from understudy.actors.diagnostics.check import Check, Finding, failed, passed, warned
from understudy.actors.inference.breaker import Circuit
from understudy.actors.inference.messages import KIND, ProviderState, ProviderStatus
from understudy.runtime import ActorSystem, RuntimeFault


def circuits_closed() -> Check:
    """No provider is being left alone for having failed too often."""

    async def run(system: ActorSystem) -> Finding:
        states = [state for address in system.addresses(KIND) if (state := await _state(system, address)) is not None]
        hint = "see its last error, its key and its status page; it is tried again by itself"
        troubled = [state for state in states if state.circuit != Circuit.CLOSED]
        if troubled:
            told = "; ".join(f"{s.provider} is {s.circuit}: {s.last_error or 'no error kept'}" for s in troubled)
            return failed(told, hint) if any(s.circuit == Circuit.OPEN for s in troubled) else warned(told, hint)
        if not states:
            return passed("no provider has been called yet")
        return passed("; ".join(f"{s.provider}: {s.succeeded} answered, {s.failed} failed" for s in states))

    return Check("inference.circuits", run)


async def _state(system: ActorSystem, address: str) -> ProviderState | None:
    try:
        return await system.ask(address, ProviderStatus(), timeout=1.0)
    except RuntimeFault:
        return None  # it left, or is between two lives: the check of the actors tells of that
