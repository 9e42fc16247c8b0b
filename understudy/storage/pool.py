"""A bounded pool of connections that outlives the server going away, its own closing, and cancelled users.

There is no background task: whoever needs a connection makes it, and `Pool.tend` (called now and then by the database
actor) retires old ones and keeps a few ready. A pool that is closed makes callers wait, as one whose server is away
does: so the actor that owns it can be restarted and nobody but the clock notices.
"""

import random
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import outcome
import psycopg
import trio

from understudy.backoff import Backoff
from understudy.storage.connection import Connection
from understudy.storage.errors import StoreUnavailable
from understudy.storage.rowsecurity import may_act

_PING_SECONDS = 2.0
_CONNECT_SECONDS = 5.0
_RECONNECT = Backoff(base=0.05, limit=1.0, jitter=0.5)


@attrs.frozen
class PoolStatistics:
    """A snapshot: connections there are, idle ones among them, tasks that wait for one, and the limits."""

    size: int
    idle: int
    waiting: int
    min_size: int
    max_size: int
    open: bool
    made: int
    lost: int


@attrs.define(eq=False)
class _Pooled:
    connection: Connection[Any]
    retire_at: float
    generation: int


@attrs.define(eq=False)
class _Waiter:
    task: trio.lowlevel.Task


class Pool:
    """At most *max_size* connections to *conninfo*, each used by one task at a time, oldest waiter first.

    Args:
        conninfo: a libpq connection string or URI, several hosts allowed.
        min_size: how many `tend` keeps ready.
        max_size: how many there may be.
        max_lifetime: seconds after which a connection is replaced (spread by a tenth, so that not all go at once).
        timeout: default bound in seconds on waiting for a connection.
        rng: where jitter comes from.
    """

    def __init__(
        self,
        conninfo: str,
        *,
        min_size: int = 1,
        max_size: int = 8,
        max_lifetime: float = 3600.0,
        timeout: float = 5.0,
        rng: random.Random | None = None,
    ) -> None:
        if not 0 <= min_size <= max_size or max_size < 1:
            raise ValueError(f"a pool needs 0 <= min_size <= max_size, 1 <= max_size; got {min_size}, {max_size}")
        self.conninfo = conninfo
        self.timeout = timeout
        self._min_size, self._max_size = min_size, max_size
        self._max_lifetime = max_lifetime
        self.rng = rng or random.Random()  # noqa: S311  # jitter, not a secret
        self._open = False
        self._size = 0
        self._idle: list[_Pooled] = []
        self._lent: set[_Pooled] = set()
        self._waiters: deque[_Waiter] = deque()
        self._made = self._lost = 0
        # Rises with every connection lost: an idle one made before is asked whether it still lives when taken.
        self._generation = 0
        self._failures = 0
        self._retry_at = 0.0
        self._last_error: Exception | None = None
        self._guarded = False

    async def open(self, conninfo: str | None = None) -> None:
        """Let callers in, optionally to another address than before. Does not connect; idempotent."""
        if conninfo is not None and conninfo != self.conninfo:
            self.conninfo = conninfo
            self._guarded = False
            await self._discard(self._take_idle())
        self._open = True
        self._failures, self._retry_at = 0, 0.0
        self._wake(len(self._waiters))

    async def close(self) -> None:
        """Close the idle connections; those in use are closed when given back; callers wait for `open`. Idempotent."""
        self._open = False
        await self._discard(self._take_idle())

    def statistics(self) -> PoolStatistics:
        """What the pool holds at this moment."""
        return PoolStatistics(
            size=self._size,
            idle=len(self._idle),
            waiting=len(self._waiters),
            min_size=self._min_size,
            max_size=self._max_size,
            open=self._open,
            made=self._made,
            lost=self._lost,
        )

    @asynccontextmanager
    async def connection(self, timeout: float | None = None) -> AsyncIterator[Connection[Any]]:
        """A connection of one's own, in autocommit mode; given back clean, or closed, however the block ends.

        Waits at most *timeout* seconds (the pool's default) for one to be free and the server to be there.

        Raises:
            StoreUnavailable: no connection in that time.
        """
        pooled = self._take_ready() or await self._acquire(self.timeout if timeout is None else timeout)
        # No checkpoint from here to the `try`: a connection in hand is always given back.
        self._lent.add(pooled)
        try:
            yield pooled.connection
        finally:
            self._lent.discard(pooled)
            await self._release(pooled)

    async def ping(self, timeout: float = _PING_SECONDS) -> float:
        """Ask the server a trivial question; seconds it took. Raises StoreUnavailable."""
        began = trio.current_time()
        async with self.connection(timeout) as connection:
            # Its own bound rather than a cancel scope: a cancelled query would first be cancelled on the server.
            if await connection.answers(max(0.01, began + timeout - trio.current_time())):
                return trio.current_time() - began
        raise StoreUnavailable(f"the database did not answer within {timeout:g} s")

    async def cut_if_deaf(self, patience: float = _PING_SECONDS) -> bool:
        """Close what is lent if a new connection is neither made nor refused in *patience* seconds; whether it was so.

        A server that hangs (stopped, or behind a network that swallows everything) refuses nothing, and whoever has
        asked it would wait for ever: they get psycopg's OperationalError instead. To be called when `ping` has failed.
        Of a server that is gone they are told by the operating system.
        """
        try:
            with trio.fail_after(patience):
                connection = await Connection.connect(self.conninfo, autocommit=True)
        except psycopg.Error:
            return False
        except trio.TooSlowError:
            self._last_error = TimeoutError("it does not answer")
        else:
            await connection.close()
            return False
        self._generation += 1
        for pooled in tuple(self._lent):
            await pooled.connection.close()
        return True

    async def guarded(self, connection: Connection[Any]) -> bool:
        """Whether statements can be limited to a tenant's rows here; asked of *connection*, of this pool, until so."""
        if not self._guarded:
            self._guarded = await may_act(connection)
        return self._guarded

    async def tend(self) -> None:
        """Retire idle connections past their lifetime and connect up to the minimum. Raises StoreUnavailable."""
        now = trio.current_time()
        old = [pooled for pooled in self._idle if pooled.retire_at <= now]
        for pooled in old:
            self._idle.remove(pooled)
        await self._discard(old)
        while self._open and self._size < self._min_size:
            await self._release(await self._make(now + self.timeout))

    # ---- taking -------------------------------------------------------------------------------------------------

    def _take_ready(self) -> _Pooled | None:
        """An idle connection that needs no check, if nobody is before us."""
        if not self._open or self._waiters or not self._idle:
            return None
        pooled = self._idle[-1]
        if pooled.generation != self._generation or pooled.retire_at <= trio.current_time():
            return None
        if not pooled.connection.undisturbed:
            return None
        return self._idle.pop()

    async def _acquire(self, timeout: float) -> _Pooled:
        deadline = trio.current_time() + timeout
        try:
            return await self._acquire_until(deadline)
        except BaseException:
            # Whoever gives up passes on the wake-up it may have been given, or the room it leaves stays unused.
            if self._idle or self._size < self._max_size:
                self._wake(1)
            raise

    async def _acquire_until(self, deadline: float) -> _Pooled:
        queued = bool(self._waiters)
        while True:
            if not queued and self._open:
                if self._idle:
                    if (checked := await self._checked(self._idle.pop(), deadline)) is not None:
                        return checked
                    continue
                if self._size < self._max_size and trio.current_time() >= self._retry_at:
                    try:
                        return await self._make(deadline)
                    except StoreUnavailable:
                        if self._retry_at >= deadline:
                            raise
            handed = await self._queue(deadline)
            if handed is not None:
                return handed
            queued = False

    async def _queue(self, deadline: float) -> _Pooled | None:
        """Wait for a connection to be handed over; None means: look again. Raises StoreUnavailable at the deadline."""
        if trio.current_time() >= deadline:
            raise self._unavailable()
        # While the server is away everybody waits for the same moment, and the first to wake tries for all.
        pause = self._retry_at if self._open and self._size < self._max_size else deadline
        waiter = _Waiter(trio.lowlevel.current_task())
        self._waiters.append(waiter)

        def abort(_: object) -> trio.lowlevel.Abort:
            self._waiters.remove(waiter)
            return trio.lowlevel.Abort.SUCCEEDED

        with trio.move_on_at(min(deadline, max(pause, trio.current_time() + 0.001))):
            # Handed over or aborted, nothing in between: a connection given to a cancelled task cannot be lost.
            handed: _Pooled | None = await trio.lowlevel.wait_task_rescheduled(abort)
            return handed
        return None

    async def _checked(self, pooled: _Pooled, deadline: float) -> _Pooled | None:
        """The idle connection if it is fit for use, else None and it is gone. Cancelled: it is gone too."""
        fit = False
        try:
            if pooled.retire_at > trio.current_time() and not pooled.connection.closed:
                if pooled.generation == self._generation and pooled.connection.undisturbed:
                    fit = True
                else:
                    patience = min(_PING_SECONDS, max(0.01, deadline - trio.current_time()))
                    fit = await pooled.connection.answers(patience)
        finally:
            if not fit:
                await self._discard([pooled])
        if not fit:
            return None
        pooled.generation = self._generation
        return pooled

    async def _make(self, deadline: float) -> _Pooled:
        self._size += 1
        made = False
        try:
            with trio.move_on_at(min(deadline, trio.current_time() + _CONNECT_SECONDS)) as scope:
                connection = await Connection.connect(self.conninfo, autocommit=True, prepare_threshold=0)
                made = True
        except psycopg.Error as error:
            self._last_error = error
        finally:
            if not made:
                self._size -= 1
                self._wake(1)
        if not made:
            if scope.cancelled_caught:
                self._last_error = TimeoutError("it does not answer")
            self._failures += 1
            self._retry_at = trio.current_time() + _RECONNECT.delay(self._failures, self.rng)
            raise self._unavailable()
        self._made += 1
        if self._failures:
            self._failures, self._retry_at, self._last_error = 0, 0.0, None
            self._wake(len(self._waiters))
        lifetime = self._max_lifetime * self.rng.uniform(0.9, 1.0)
        return _Pooled(connection, trio.current_time() + lifetime, self._generation)

    def _unavailable(self) -> StoreUnavailable:
        if self._last_error is not None:
            return StoreUnavailable(f"the database is away: {self._last_error}".strip())
        if not self._open:
            return StoreUnavailable("the database is not started")
        return StoreUnavailable("every connection to the database is busy")

    # ---- giving back --------------------------------------------------------------------------------------------

    async def _release(self, pooled: _Pooled) -> None:
        connection = pooled.connection
        if not connection.reusable and not await connection.restore():
            self._generation += 1
            self._lost += 1
            await self._discard([pooled])
            return
        if not self._open or pooled.retire_at <= trio.current_time():
            await self._discard([pooled])
        elif self._waiters:
            trio.lowlevel.reschedule(self._waiters.popleft().task, outcome.Value(pooled))
        else:
            self._idle.append(pooled)

    def _take_idle(self) -> list[_Pooled]:
        idle, self._idle = self._idle, []
        return idle

    async def _discard(self, gone: list[_Pooled]) -> None:
        for pooled in gone:
            self._size -= 1
            await pooled.connection.close()  # no checkpoint in it
            self._wake(1)

    def _wake(self, count: int) -> None:
        """Let the first *count* waiters look again: there is room, or the server is back."""
        for _ in range(min(count, len(self._waiters))):
            trio.lowlevel.reschedule(self._waiters.popleft().task, outcome.Value(None))
