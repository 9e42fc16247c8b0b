"""The pool's keeper: opens it, brings the schema up to date, and knows whether the database is there."""

from collections.abc import Callable, Mapping
from typing import ClassVar

import attrs
import structlog
import trio

from understudy.actors.errors import Unavailable
from understudy.actors.serving import Server
from understudy.actors.store.messages import DatabaseStatus, Ping, Status
from understudy.runtime import Deferred, Exit, receive
from understudy.storage.errors import StoreUnavailable
from understudy.storage.migrate import migrate
from understudy.storage.pool import Pool

log = structlog.get_logger("understudy.database")

_FIRST_CONTACT_SECONDS = 20.0
_LOOK_EVERY = 1.0
_PATIENCE = 2.0


_FINAL = ("does not exist", "authentication failed", "no pg_hba.conf entry", "invalid connection option", "missing")


def _is_final(said: str) -> bool:
    """Whether a server said, or the address shows, that waiting cannot help (libpq gives no code for it)."""
    return any(words in said for words in _FINAL) and "No such file" not in said


@attrs.define
class Lifetime:
    """What outlives the actor: whether this process has brought the schema up to date."""

    migrated: bool = False


@attrs.frozen
class _Look:
    """Time to see whether the database answers."""


class DatabaseActor(Server):
    """Keeps *pool* open. The pool itself is everybody's: it waits while this actor is away, and loses nothing."""

    kind: ClassVar[str | None] = "database"

    def __init__(
        self,
        pool: Pool,
        conninfo: Callable[[], str | None],
        lifetime: Lifetime,
        progress: Callable[[str], None],
        *,
        patience: float = _PATIENCE,
    ) -> None:
        """*patience* is in seconds: after twice that a server that answers nobody is given up."""
        self._patience = patience
        self._pool = pool
        self._conninfo = conninfo
        self._lifetime = lifetime
        self._progress = progress
        self._latency: float | None = None
        self._error: str | None = None
        self._looking = False

    async def started(self) -> None:
        """Open the pool; migrate once per process.

        Raises `StoreUnavailable` (no server within 20 s) or `MigrationError`. After the first time an absent server is
        no reason not to start: callers wait for it, and this actor says that it is away.
        """
        await self._pool.open(self._conninfo())
        if not self._lifetime.migrated:
            self.status = "migrating"
            await self._migrate()
            self._lifetime.migrated = True
        await self._look()
        self.every(_LOOK_EVERY, _Look())

    async def stopping(self, reason: Exit) -> None:
        """Close the pool; whoever wants a connection waits for the next incarnation."""
        del reason
        await self._pool.close()

    @receive
    def ping(self, message: Ping) -> Deferred[float]:
        """Ask the database something trivial."""
        return self.answer(message, self._ping)

    @receive
    def tell_status(self, message: Status) -> DatabaseStatus:
        """What the last look found."""
        del message
        pool = self._pool.statistics()
        return DatabaseStatus(self._error is None, self._latency, self._error, pool.size, pool.waiting)

    @receive
    def look(self, message: _Look) -> None:
        """See whether the database answers, unless the last look still waits to know."""
        del message
        if not self._looking:
            self._looking = True
            self.work(self._look, name="look")

    def snapshot(self) -> Mapping[str, object]:
        """The pool's numbers."""
        return {**attrs.asdict(self._pool.statistics()), "latency": self._latency, "error": self._error}

    async def _ping(self) -> float:
        try:
            return await self._pool.ping()
        except StoreUnavailable as error:
            raise Unavailable(str(error), retry_after=error.retry_after) from error

    async def _look(self) -> None:
        try:
            self._latency = await self._pool.ping(self._patience)
            self._error = None
            await self._pool.tend()
        except StoreUnavailable as error:
            self._latency, self._error = None, str(error)
            if await self._pool.cut_if_deaf(self._patience):
                log.warning("the database does not answer: whoever waits for it is told so", error=self._error)
        finally:
            self._looking = False
        status = "up" if self._error is None else "down"
        if self.status != status:
            self.status = status

    async def _migrate(self) -> None:
        deadline = trio.current_time() + _FIRST_CONTACT_SECONDS
        told = False
        while True:
            try:
                async with self._pool.connection(min(1.0, deadline - trio.current_time())) as connection:
                    await migrate(connection, progress=self._progress)
                    return
            except StoreUnavailable as error:
                if trio.current_time() >= deadline or _is_final(str(error)):
                    raise
                if not told:
                    told = True
                    self._progress("waiting for the database")
