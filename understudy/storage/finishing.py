# see `understudy.storage.connection`
"""Ends that are never half done: of transactions, of pipelines, and of whatever else a connection has to clean up."""

from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import trio
from psycopg import AsyncPipeline, AsyncTransaction, pq
from psycopg import errors as e

if TYPE_CHECKING:
    from understudy.storage.connection import Connection

CLEANUP_SECONDS = 5.0
"""How long the end of a transaction or a pipeline may take in a cancelled task, before the connection is closed."""


class Finishing:
    """`Connection.finishing`: a shield with a bound, after which the connection is closed and the clean-up fails."""

    def __init__(self, connection: "Connection[Any]") -> None:
        self._connection = connection
        self._scope = trio.CancelScope(shield=True)

    def __enter__(self) -> None:
        self._scope.deadline = trio.current_time() + CLEANUP_SECONDS
        self._scope.__enter__()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        self._scope.__exit__(exc_type, exc_val, exc_tb)
        if self._scope.cancelled_caught:
            self._connection.abandon()
            raise e.OperationalError(f"the server did not answer within {CLEANUP_SECONDS:g} s; connection closed")


class Transaction(AsyncTransaction):
    """A transaction whose end is never half done: COMMIT and ROLLBACK are waited for, shielded, for a bounded time."""

    _conn: "Connection[Any]"  # type: ignore[mutable-override]  # made only by `Connection.transaction`

    async def __aenter__(self) -> Self:
        async with self._conn.lock:
            self._check_enter()
            try:
                await self._conn.wait(self._enter_gen())
            except BaseException as error:  # as psycopg does it, but shielded: the BEGIN may have been done
                if self.pgconn.status == pq.ConnStatus.OK and not isinstance(error, GeneratorExit):
                    with self._conn.finishing():
                        await self._conn.wait(self._exit_gen(type(error), error, None))
                raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> bool:
        with self._conn.finishing():
            return await super().__aexit__(exc_type, exc_val, exc_tb)


class Pipeline(AsyncPipeline):
    """A pipeline that collects its results even when its task is cancelled, so that the connection stays in step."""

    _conn: "Connection[Any]"  # type: ignore[mutable-override]  # made only by `Connection.pipeline`

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        with self._conn.finishing():
            await super().__aexit__(exc_type, exc_val, exc_tb)
