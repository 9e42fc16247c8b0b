"""A check: one small question about the node, with a bound on how long it may take to answer."""

from collections.abc import Awaitable, Callable, Sequence

import attrs
import trio

from understudy.actors.diagnostics.messages import CheckResult, CheckStatus
from understudy.runtime import ActorSystem


@attrs.frozen
class Finding:
    """What a check found, and what to do about it when it is not well."""

    status: CheckStatus
    message: str
    hint: str | None = None


def passed(message: str) -> Finding:
    """All is well."""
    return Finding(CheckStatus.PASS, message)


def warned(message: str, hint: str) -> Finding:
    """The node works, but somebody should look at this."""
    return Finding(CheckStatus.WARN, message, hint)


def failed(message: str, hint: str) -> Finding:
    """Something does not work."""
    return Finding(CheckStatus.FAIL, message, hint)


@attrs.frozen
class Check:
    """A named question. ``run`` may raise: that is a failed check, never a failed run.

    ``quick`` checks are also part of the quick run; ``within`` (seconds) bounds each. Nobody sees ``run`` cancelled
    but itself: it must clean up as any trio function does.
    """

    name: str
    run: Callable[[ActorSystem], Awaitable[Finding]]
    quick: bool = False
    within: float = 3.0


async def run_checks(
    checks: Sequence[Check], system: ActorSystem, within: float | None = None
) -> tuple[CheckResult, ...]:
    """Run all checks side by side; their results in the order of *checks*. *within* shortens each one's bound."""
    results: dict[str, CheckResult] = {}

    async def run(check: Check) -> None:
        results[check.name] = await _run(check, system, check.within if within is None else min(within, check.within))

    async with trio.open_nursery() as nursery:
        for check in checks:
            nursery.start_soon(run, check)
    return tuple(results[check.name] for check in checks)


def worst(results: Sequence[CheckResult]) -> CheckStatus:
    """The status of the whole: that of its worst part."""
    found = {result.status for result in results}
    return next((s for s in (CheckStatus.FAIL, CheckStatus.WARN) if s in found), CheckStatus.PASS)


async def _run(check: Check, system: ActorSystem, within: float) -> CheckResult:
    began = trio.current_time()
    finding = failed(f"no answer within {within:g} s", "look at what this check depends on")
    try:
        with trio.move_on_after(within):
            finding = await check.run(system)
    except Exception as error:  # noqa: BLE001  # whatever happens to a check is its result
        finding = failed(f"{type(error).__name__}: {_first_line(error)}", "look at what this check depends on")
    elapsed = trio.current_time() - began
    return CheckResult(check.name, finding.status, finding.message, round(elapsed * 1000, 3), finding.hint)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no message"])[0]
