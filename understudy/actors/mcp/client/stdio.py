"""A server that is a process of ours, spoken to over its pipes: one JSON-RPC message a line.

The SDK's own transport is not used: it holds a line of any length, and leaves what the server started behind when the
server itself ends in time.
"""

import errno
import logging
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from types import TracebackType

import anyio
import trio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCMessage, jsonrpc_message_adapter
from pydantic import ValidationError

from understudy.actors.lifeline import Lifeline
from understudy.actors.mcp.client.chatter import Chatter
from understudy.actors.mcp.ports import ConnectionLost

LARGEST_MESSAGE = 4 * 1_048_576
"""Bytes of a line; one that is longer ends the connection, since nobody can tell whose answer it was."""
MOST_GARBAGE = 100
"""Lines in a row that are no messages: servers that print to the wrong pipe are borne with for so long."""
MOST_UNSENT = 256
"""Messages that wait for the server to read."""
LAST_WORDS = 0.2
"""Seconds for which what an ended process left in its pipe is read; what it started may hold the pipe open for ever."""

LAST_WAIT = 5.0
"""Seconds in which a killed process is gone."""

_INHERITED = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER")

log = logging.getLogger(__name__)

_Messages = tuple[MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]]


class Stdio:
    """The process of one connection. As a context manager it is a transport of the SDK's.

    It runs in a session of its own, with what little of our environment a program needs and what its operator gives it.
    Leaving ends it: its standard input is closed, and after *grace* seconds its process group is killed, also when it
    had ended in time, with all that it may have started there. When we are killed, the group is killed, too.
    """

    def __init__(
        self, name: str, command: tuple[str, ...], env: Mapping[str, str], cwd: Path | None, *, grace: float = 1.0
    ) -> None:
        self._name = name
        self._command = command
        self._env = {key: os.environ[key] for key in _INHERITED if key in os.environ} | dict(env)
        self._cwd = cwd
        self._grace = grace
        self._chatter = Chatter(name)
        self._running: AbstractAsyncContextManager[_Messages] | None = None
        self._ended = trio.Event()
        self.ending: str | None = None
        """Why nothing more is to be had from it, once that is so."""
        self.pid: int | None = None

    async def __aenter__(self) -> _Messages:
        """Start it. Raises `ConnectionLost` when it cannot be started."""
        self._running = self._run()
        return await self._running.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        """End it."""
        if self._running is None:
            return None
        return await self._running.__aexit__(kind, error, trace)

    async def watch(self) -> None:
        """Wait until nothing more is to be had from it, and raise `ConnectionLost`, saying why."""
        await self._ended.wait()
        raise ConnectionLost(self.ending or "its process ended")

    @asynccontextmanager
    async def _run(self) -> AsyncGenerator[_Messages, None]:
        with Lifeline() as lifeline:
            async with self._talk(await self._start(lifeline)) as messages:
                yield messages

    @asynccontextmanager
    async def _talk(self, process: trio.Process) -> AsyncGenerator[_Messages, None]:
        try:
            to_client, messages = anyio.create_memory_object_stream[SessionMessage | Exception](0)
            from_client, unsent = anyio.create_memory_object_stream[SessionMessage](MOST_UNSENT)
            with to_client, messages, from_client, unsent:
                async with trio.open_nursery() as nursery:
                    reading = trio.CancelScope()
                    nursery.start_soon(self._read, process, to_client, reading)
                    nursery.start_soon(self._wait, process, reading)
                    nursery.start_soon(self._write, process, unsent)
                    nursery.start_soon(self._chatter.follow, process.stderr)
                    yield messages, from_client
                    nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                await self._end(process)

    async def _start(self, lifeline: Lifeline) -> trio.Process:
        try:
            self._find()
            process = await trio.lowlevel.open_process(
                lifeline.command(self._command),
                pass_fds=lifeline.inherited,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self._cwd,
                env=self._env,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise ConnectionLost(f"it cannot be started: {self._command[0]}: {reason}") from error
        self.pid = process.pid
        return process

    def _find(self) -> None:
        """Raise OSError, as starting it would, when there is no such program."""
        program = self._command[0]
        if "/" in program:
            program = str((self._cwd or Path.cwd()) / program)
        if shutil.which(program, path=self._env.get("PATH")) is None:
            missing = not Path(program).exists()
            problem = errno.ENOENT if missing or "/" not in program else errno.EACCES
            raise OSError(problem, os.strerror(problem))

    async def _read(
        self,
        process: trio.Process,
        to_client: MemoryObjectSendStream[SessionMessage | Exception],
        reading: trio.CancelScope,
    ) -> None:
        """Pass on what it says, until it says no more or nothing of use; then note why."""
        with to_client:
            with reading, suppress(trio.BrokenResourceError, trio.ClosedResourceError, anyio.BrokenResourceError):
                self.ending = await self._pass_on(process, to_client)
            if self.ending is None:
                status = None
                with trio.move_on_after(LAST_WORDS):
                    status = await process.wait()
                how = "closed its standard output" if status is None else f"ended with status {status}"
                self.ending = f"its process {how}{self._chatter.last_words()}"
            self._ended.set()

    async def _pass_on(
        self, process: trio.Process, to_client: MemoryObjectSendStream[SessionMessage | Exception]
    ) -> str | None:
        """... and return what is wrong with what it says; None when it has nothing more to say."""
        assert process.stdout is not None  # noqa: S101  # it was asked for
        garbage = 0
        buffer = bytearray()
        while data := await process.stdout.receive_some(65_536):
            looked = len(buffer)
            buffer += data
            while (end := buffer.find(b"\n", looked)) >= 0:
                line = bytes(buffer[:end])
                del buffer[: end + 1]
                looked = 0
                message = _message(line)
                if message is not None:
                    garbage = 0
                    await to_client.send(SessionMessage(message))
                elif line.strip():
                    garbage += 1
                    self._chatter.hear(b"[on standard output] " + line[:500])
            if len(buffer) > LARGEST_MESSAGE:
                return f"it sent a message of more than {LARGEST_MESSAGE} bytes"
            if garbage >= MOST_GARBAGE:
                return "what it prints are no messages of the protocol"
        return None

    async def _wait(self, process: trio.Process, reading: trio.CancelScope) -> None:
        await process.wait()
        reading.deadline = trio.current_time() + LAST_WORDS

    async def _write(self, process: trio.Process, unsent: MemoryObjectReceiveStream[SessionMessage]) -> None:
        assert process.stdin is not None  # noqa: S101  # it was asked for
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async for each in unsent:
                await process.stdin.send_all(each.message.model_dump_json(by_alias=True, exclude_unset=True).encode())
                await process.stdin.send_all(b"\n")
        # Its end of the pipe is closed, and so it will say no more: `_read` knows why.

    async def _end(self, process: trio.Process) -> None:
        """Let it end by itself, then kill its group. The group is its own as long as somebody is in it.

        One that cannot be killed (it became another user's, or waits for a disk) is left behind: nobody waits for it.
        """
        assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018  # they were asked for
        await process.stdin.aclose()
        with trio.move_on_after(self._grace):
            await process.wait()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        with trio.move_on_after(LAST_WAIT) as bound:
            await process.wait()
        if bound.cancelled_caught:
            log.warning("MCP server %s cannot be ended: process %d is left behind", self._name, process.pid)
        await process.stdout.aclose()
        if process.stderr is not None:
            await process.stderr.aclose()


def _message(line: bytes) -> JSONRPCMessage | None:
    try:
        return jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValidationError:
        return None
