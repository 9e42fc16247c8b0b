# ruff: noqa: SLF001  # psycopg's inner names are the business of this file, `finishing` and `waiting`, and only theirs
"""psycopg 3 on trio: with `finishing` and `waiting`, the only place that knows how psycopg works inside.

psycopg's protocol is written as generators that yield "wait until this socket is readable or writable"; its asyncio
class supplies little more than the waiting. `Connection` supplies trio's instead, and differs in what cancellation
does: a query whose task is cancelled is cancelled on the server too, and the connection is afterwards either usable
or closed, never in between.

Written against psycopg 3.3.9, whose minor version is pinned: the names it overrides (``wait``, ``_cancel_gen``,
``conninfo_attempts``) are not public. `tests/storage/test_connection.py` is the contract that an upgrade must keep.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, TypeVar

import psycopg
import trio
from psycopg import AsyncCursor, AsyncPipeline, AsyncServerCursor, AsyncTransaction, generators, pq
from psycopg import errors as e
from psycopg._capabilities import capabilities
from psycopg._connection_base import BaseConnection
from psycopg.abc import AdaptContext, ConnDict, ConnParam, PQGen
from psycopg.adapt import AdaptersMap
from psycopg.conninfo import make_conninfo, timeout_from_conninfo
from psycopg.rows import AsyncRowFactory, Row, tuple_row

from understudy.storage.finishing import Finishing, Pipeline, Transaction
from understudy.storage.waiting import READY_R, WAIT_R, Lock, describe, ready_now, resolve, wait_conn, wait_ready

RV = TypeVar("RV")

CANCEL_SECONDS = 2.0
"""How long a cancelled task may wait for the server to confirm, before its connection is closed instead."""

_TURNS_BEFORE_YIELD = 64
_ACTIVE = pq.TransactionStatus.ACTIVE
_IDLE = pq.TransactionStatus.IDLE
_INTRANS, _INERROR = pq.TransactionStatus.INTRANS, pq.TransactionStatus.INERROR


class Connection(psycopg.AsyncConnection[Row]):
    """A psycopg connection for trio tasks; everything of `psycopg.AsyncConnection` works, COPY and LISTEN included.

    Cancelling a task that waits for a query asks the server to cancel it and waits at most `CANCEL_SECONDS` for the
    confirmation; after that the connection is closed. A COMMIT that was begun is waited for likewise.
    """

    def __init__(self, pgconn: pq.abc.PGconn, row_factory: AsyncRowFactory[Row] = tuple_row) -> None:  # type: ignore[assignment]  # as psycopg's own default
        # Not AsyncConnection.__init__, which makes an asyncio.Lock.
        BaseConnection.__init__(self, pgconn)
        self.row_factory = row_factory
        self.lock = Lock()  # type: ignore[assignment]  # what its users need: `async with`
        self.cursor_factory = AsyncCursor
        self.server_cursor_factory = AsyncServerCursor
        self._rounds = 0
        self._named: dict[bytes, bytes] = {}
        self._names = count()

    @classmethod
    async def connect(
        cls,
        conninfo: str = "",
        *,
        autocommit: bool = False,
        prepare_threshold: int | None = 5,
        context: AdaptContext | None = None,
        row_factory: AsyncRowFactory[Any] | None = None,
        cursor_factory: type[AsyncCursor[Any]] | None = None,
        **kwargs: ConnParam,
    ) -> "Connection[Any]":
        """Connect to the first of the servers named that answers (``host=a,b``).

        ``connect_timeout`` bounds each attempt, and the resolution of the names, which runs in a thread. Cancelled
        means not connected. Raises `psycopg.OperationalError` (`ConnectionTimeout`) that names every attempt.
        """
        params = await cls._get_connection_params(conninfo, **kwargs)
        timeout = timeout_from_conninfo(params)
        connection: Connection[Any] = await cls._first_of(await resolve(params, timeout), timeout)
        connection._autocommit = bool(autocommit)
        if row_factory:
            connection.row_factory = row_factory
        if cursor_factory:
            connection.cursor_factory = cursor_factory
        if context:
            connection._adapters = AdaptersMap(context.adapters)
        connection.prepare_threshold = prepare_threshold
        return connection

    @classmethod
    async def _first_of(cls, attempts: list[ConnDict], timeout: float | None) -> "Connection[Any]":
        failures: list[tuple[e.Error, str]] = []
        for attempt in attempts:
            try:
                return await wait_conn(cls._connect_gen(make_conninfo("", **attempt)), timeout)
            except e._WaitTimeout:
                failures.append((e.ConnectionTimeout("connection timeout expired"), describe(attempt)))
            except e.Error as error:
                failures.append((error, describe(attempt)))
        last = failures[-1][0]
        if len(failures) == 1:
            raise last.with_traceback(None)
        lines = [str(last), "Multiple connection attempts failed. All failures were:"]
        lines.extend(f"- {where}: {error}" for error, where in failures)
        raise type(last)("\n".join(lines), pgconn=last.pgconn)

    async def wait(self, gen: PQGen[RV], interval: float = 0.0, timeout: float | None = None) -> RV:
        """Drive one of psycopg's protocol generators to its end.

        Cancelled: the server is asked to cancel too, and the connection is in step again, or closed, when this returns.

        Raises:
            psycopg.errors._WaitTimeout: after *timeout* seconds, if given; the generator is abandoned.
        """
        try:
            if timeout is None:
                return await self._drive(gen)
            with trio.move_on_after(timeout):
                return await self._drive(gen)
        except Exception:
            raise
        except GeneratorExit:
            # The coroutine is being thrown away: nothing can be awaited any more.
            self.abandon()
            raise
        except BaseException:
            if self.pgconn.transaction_status == _ACTIVE:
                await self._quiesce(gen)
            raise
        raise e._WaitTimeout("wait timeout expired")

    async def _drive(self, gen: PQGen[RV]) -> RV:
        fd = self.pgconn.socket
        try:
            state = next(gen)
        except StopIteration as done:
            # Nothing to wait for (a buffered COPY row): yield now and then, or a long loop starves everybody.
            self._rounds += 1
            if self._rounds >= _TURNS_BEFORE_YIELD:
                self._rounds = 0
                await trio.lowlevel.cancel_shielded_checkpoint()
            return done.value  # type: ignore[no-any-return]  # StopIteration is not generic
        try:
            while True:
                if state == WAIT_R:
                    self._rounds = 0
                    await trio.lowlevel.wait_readable(fd)
                    state = gen.send(READY_R)
                    continue
                ready = ready_now(fd, state)
                if ready and self._rounds < _TURNS_BEFORE_YIELD:
                    self._rounds += 1
                else:
                    self._rounds = 0
                    ready = await wait_ready(fd, state)
                state = gen.send(ready)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]  # likewise
        except (trio.ClosedResourceError, OSError) as error:
            raise e.OperationalError("the connection was closed") from error

    async def _quiesce(self, gen: PQGen[Any]) -> None:
        """After an interruption in the middle of a query: cancel it on the server, collect its end, or close."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CANCEL_SECONDS) as scope:
            try:
                await self.cancel_safe(timeout=CANCEL_SECONDS)
                await self._drive(gen)
            except e.QueryCanceled:
                return
            except psycopg.Error:
                # Whatever the query itself said (it may have finished, or failed, before the cancel arrived) is of no
                # interest to a cancelled caller; but a connection still busy after that is not to be trusted.
                if self.pgconn.transaction_status == _ACTIVE:
                    self.abandon()
        if scope.cancelled_caught:
            self.abandon()

    def abandon(self) -> None:
        """Close at once, whatever is in flight. Does not block."""
        if self.pgconn.status != pq.ConnStatus.BAD:
            # Wake whoever still waits on the socket, before its number can mean another connection.
            trio.lowlevel.notify_closing(self.pgconn.socket)
        self.pgconn.finish()

    def finishing(self) -> Finishing:
        """A scope for protocol clean-up: shielded, and the connection is closed when it takes too long."""
        return Finishing(self)

    async def cancel_safe(self, *, timeout: float = 30.0) -> None:
        """Ask the server to cancel what this connection is doing, over a connection of its own (encrypted as this one).

        Raises `psycopg.errors.CancellationTimeout`. Success does not promise that there was still something to cancel.
        """
        if not self._should_cancel():
            return
        if not capabilities.has_cancel_safe():
            await trio.to_thread.run_sync(self.cancel, abandon_on_cancel=True)
            return
        try:
            await wait_conn(self._cancel_gen(), timeout)
        except e._WaitTimeout:
            raise e.CancellationTimeout("cancellation timeout expired") from None

    @asynccontextmanager
    async def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> AsyncIterator[AsyncTransaction]:
        """A transaction, or a savepoint inside one; rolled back when the block raises or is cancelled."""
        tx = Transaction(self, savepoint_name, force_rollback)
        if self._pipeline:
            async with self.pipeline(), tx, self.pipeline():
                yield tx
        else:
            async with tx:
                yield tx

    @asynccontextmanager
    async def pipeline(self) -> AsyncIterator[AsyncPipeline]:
        """Send without waiting for each answer inside the block; all answers have arrived when it ends."""
        async with self.lock:
            self._check_connection_ok()
            if (pipeline := self._pipeline) is None:
                pipeline = self._pipeline = Pipeline(self)
        try:
            async with pipeline:
                yield pipeline
        finally:
            if pipeline.level == 0:
                self._pipeline = None

    async def close(self) -> None:
        """Close at once; whoever waits on this connection gets `psycopg.OperationalError`."""
        if not self.closed:
            self._closed = True
            self.abandon()

    async def call(self, statement: bytes, *arguments: bytes | None) -> pq.abc.PGresult:
        """Run one prepared statement with text arguments, without a cursor: what the hot path uses.

        Raises as `execute` does. Cancelled: as any query.
        """
        async with self.lock:
            for attempt in (1, 2):
                self._check_connection_ok()
                name = self._named.get(statement)
                if name is None:
                    # Never a name twice: who was cancelled in here does not know whether its statement was made.
                    name = b"understudy_%d" % next(self._names)
                    self.pgconn.send_prepare(name, statement)
                    await self._one_result()
                    self._named[statement] = name
                self.pgconn.send_query_prepared(name, arguments)
                try:
                    return await self._one_result()
                except e.InvalidSqlStatementName:
                    # psycopg deallocates all prepared statements when a transaction is rolled back.
                    self._named.clear()
                    if attempt == 2:
                        raise
        raise AssertionError("unreachable")

    async def _one_result(self) -> pq.abc.PGresult:
        results: list[pq.abc.PGresult] = await self.wait(generators.execute(self.pgconn))
        if results[-1].status not in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK):
            raise e.error_from_result(results[-1], encoding=self.pgconn._encoding)
        return results[-1]

    async def answers(self, timeout: float) -> bool:
        """Whether the server answers an empty query within *timeout* seconds; the connection is closed if not."""
        try:
            self.pgconn.send_query(b"")
            results = await self.wait(generators.execute(self.pgconn), timeout=timeout)
        except (e._WaitTimeout, psycopg.Error):
            results = []
        if not results or results[-1].status != pq.ExecStatus.EMPTY_QUERY:
            await self.close()
        return not self.closed

    @property
    def undisturbed(self) -> bool:
        """Whether nothing has arrived since it was last used: an idle server only speaks up to say goodbye."""
        return self.pgconn.status == pq.ConnStatus.OK and not ready_now(self.pgconn.socket, WAIT_R)

    @property
    def reusable(self) -> bool:
        """Whether the next user finds it as new: connected, no transaction, no pipeline, nothing in flight."""
        return (
            self.pgconn.transaction_status == _IDLE
            and self._pipeline is None
            and self._num_transactions == 0
            and self.pgconn.pipeline_status == pq.PipelineStatus.OFF
        )

    async def restore(self) -> bool:
        """Bring the connection back to where a new one is, or close it; whether it is usable. Shielded, bounded."""
        if self.reusable:
            return True
        if (
            self.pgconn.transaction_status in (_INTRANS, _INERROR)
            and self._pipeline is None
            and self._num_transactions == 0
        ):
            with self.finishing():
                try:
                    await self.rollback()
                except psycopg.Error:
                    self.abandon()
        if not self.reusable:
            await self.close()
        return not self.closed
