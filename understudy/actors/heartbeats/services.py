"""What the composition root gives to every heartbeat."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar

import attrs
import trio

from understudy.actors.heartbeats.ports import Aside, HeartbeatStore, RunStore, Web
from understudy.storage.records import new_id

T = TypeVar("T")

LEASE = timedelta(seconds=30)
"""For so long a run is its node's without a sign of life: this is how long a dead node's runs wait."""

AT_ONCE = 32
"""Runs of a node that go on side by side; others wait for a place before they claim anything."""

ASIDE_SECONDS = 20.0
"""How long somebody else's megabyte may take to be read, the wait for a thread included."""


@attrs.frozen
class HeartbeatServices:
    """Stores, the web, a clock, and bounds in seconds.

    ``owner`` names this process among those that share the database. ``sweep`` is how often it is looked for what is
    due, ``wake_timeout`` how long a woken agent may take, ``drain`` how long a stopping node waits for runs.
    """

    store: HeartbeatStore
    runs: RunStore
    web: Web
    now: Callable[[], datetime]
    aside: Aside = attrs.field(factory=lambda: Threads())
    slots: trio.Semaphore = attrs.field(factory=lambda: trio.Semaphore(AT_ONCE))
    owner: str = attrs.field(factory=lambda: new_id("nod"))
    sweep: float = 15.0
    wake_timeout: float = 120.0
    drain: float = 30.0


class Threads:
    """Two threads for what takes a while to read: somebody else's megabyte keeps its thread, and nobody's requests."""

    def __init__(self) -> None:
        self._limiter = trio.CapacityLimiter(2)

    async def __call__(self, fn: Callable[..., T], *args: object) -> T:
        """See `Aside`. What takes too long is left behind, and keeps its place of the two until it ends."""
        with trio.fail_after(ASIDE_SECONDS):
            return await trio.to_thread.run_sync(fn, *args, limiter=self._limiter, abandon_on_cancel=True)
