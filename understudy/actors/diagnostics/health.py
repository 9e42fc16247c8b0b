"""A look at what the node stands on, bounded in time."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

import attrs
import trio

from understudy.actors.diagnostics.ports import Engine
from understudy.storage.errors import StorageError

WITHIN = 1.0
"""Seconds that an engine has to answer."""
ANYBODY = 0.9
"""... of which so many are for the question whether there is anybody."""
UNKNOWN = "PostgreSQL"


@attrs.frozen
class Condition:
    """What the engines said at one moment; ``seen_at`` is on trio's clock."""

    checks: Mapping[str, str]
    engines: Mapping[str, str]
    ws_connections: int
    timestamp: datetime
    seen_at: float

    @property
    def well(self) -> bool:
        """Whether every engine answered."""
        return all(state == "ok" for state in self.checks.values())


async def look(
    engine: Engine, ws_connections: int, now: Callable[[], datetime], index: Callable[[], str] | None = None
) -> Condition:
    """Ask whether there is anybody, and then each engine, side by side. Never raises for an engine's sake.

    Takes at most `WITHIN` seconds when nobody answers. A question that is given up in the middle takes longer, since
    its end on the server is waited for: they are therefore asked only when there was somebody a moment ago.

    The contract's names stay though one PostgreSQL stands behind both; ``engines`` says so, and of the index what
    *index* adds.
    """
    checks = {"typesense": "error", "postgres": "error"}
    version = UNKNOWN

    async def ask(name: str, question: Callable[[], Awaitable[object]]) -> None:
        try:
            await question()
        except (StorageError, OSError):
            return
        checks[name] = "ok"

    async def ask_version() -> None:
        nonlocal version
        try:
            version = await engine.version()
        except (StorageError, OSError):
            return

    with trio.move_on_after(WITHIN):
        await ask("postgres", lambda: engine.ping(ANYBODY))
        if checks["postgres"] == "ok":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, "typesense", engine.search)
                nursery.start_soon(ask_version)
    searching = f"{version} full-text search" + (f", {index()}" if index is not None else "")
    engines = {"typesense": searching, "postgres": version}
    return Condition(checks, engines, ws_connections, now(), trio.current_time())
