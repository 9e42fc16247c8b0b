# ruff: noqa: SLF001  # psycopg's inner names are these two files' business (see `connection`), and only theirs
"""Waiting for sockets on trio, as psycopg's generators ask for it."""

from typing import TypeVar

import trio
from psycopg import errors as e
from psycopg import waiting
from psycopg._conninfo_attempts import conninfo_attempts
from psycopg.abc import ConnDict, PQGenConn

RV = TypeVar("RV")

WAIT_R = waiting.WAIT_R
_WAIT_W = waiting.WAIT_W
READY_R = waiting.READY_R
_READY_NONE, _READY_W = waiting.READY_NONE, waiting.READY_W

# Whether a socket is ready at this very moment, with psycopg's own (C) poll: sockets asked for writing nearly always
# are, and then a round through trio's epoll would be most of the cost of a pipelined command or a COPY row.
ready_now = waiting._ready


class Lock:
    """A lock whose uncontended acquire is no checkpoint.

    Clean-up runs in cancelled scopes: a checkpoint between "roll back" and sending it would leave the transaction open.
    """

    def __init__(self) -> None:
        self._lock = trio.Lock()

    async def __aenter__(self) -> None:
        try:
            self._lock.acquire_nowait()
        except trio.WouldBlock:
            await self._lock.acquire()

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()


async def resolve(params: ConnDict, timeout: float | None) -> list[ConnDict]:
    """One attempt per server address, names resolved; psycopg's own logic, in a thread because it calls getaddrinfo."""
    with trio.move_on_after(timeout if timeout is not None else float("inf")):
        return await trio.to_thread.run_sync(conninfo_attempts, params, abandon_on_cancel=True)
    raise e.ConnectionTimeout("connection timeout expired while resolving host names")


def describe(attempt: ConnDict) -> str:
    """Where an attempt went, for the error that lists them all."""
    return f"host: {attempt.get('host')!r}, port: {attempt.get('port')!r}, hostaddr: {attempt.get('hostaddr')!r}"


async def wait_conn(gen: PQGenConn[RV], timeout: float | None) -> RV:
    """Drive a generator whose socket may change (connecting, cancelling). Raises `_WaitTimeout` after *timeout*."""
    with trio.move_on_after(timeout if timeout is not None else float("inf")):
        try:
            fd, state = next(gen)
            while True:
                ready = await wait_ready(fd, state)
                fd, state = gen.send(ready)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]  # StopIteration is not generic
        except (trio.ClosedResourceError, OSError) as error:
            raise e.OperationalError("the connection was closed") from error
    raise e._WaitTimeout("wait timeout expired")


async def wait_ready(fd: int, state: waiting.Wait) -> waiting.Ready:
    """Wait until *fd* is what *state* asks for; a checkpoint in any case."""
    if state == WAIT_R:
        await trio.lowlevel.wait_readable(fd)
        return READY_R
    if state == _WAIT_W:
        await trio.lowlevel.wait_writable(fd)
        return _READY_W
    ready = _READY_NONE

    async def either(readiness: waiting.Ready) -> None:
        nonlocal ready
        await (trio.lowlevel.wait_readable if readiness == READY_R else trio.lowlevel.wait_writable)(fd)
        ready = waiting.Ready(ready | readiness)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(either, READY_R)
        nursery.start_soon(either, _READY_W)
    return ready
