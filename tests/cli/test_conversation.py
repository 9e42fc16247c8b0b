"""``understudy chat`` at a terminal: it asks who one is, and then goes on until one leaves."""

import os
import pty
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from tests.cli.stage import EMAIL, PASSWORD, environment, signed_in
from tests.support.scripted_server import Exchange, scripted


class Terminal:
    """A person at a terminal: reads what is shown, and types."""

    def __init__(self, stream: trio.lowlevel.FdStream) -> None:
        self._stream = stream
        self.shown = ""

    async def wait_for(self, text: str) -> None:
        while text not in self.shown:
            self.shown += (await self._stream.receive_some()).decode()

    async def answer(self, prompt: str, line: str) -> None:
        await self.wait_for(prompt)
        self.shown = ""
        await self._stream.send_all(line.encode())


@asynccontextmanager
async def at_a_terminal(home: Path, url: str) -> AsyncGenerator[tuple[trio.Process, Terminal]]:
    ours, theirs = pty.openpty()
    env = {name: value for name, value in environment(home).items() if name != "UNDERSTUDY_PASSWORD"}
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "understudy", "chat", "--url", url],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**env, "TERM": "dumb", "COLUMNS": "200"},
    )
    async with trio.lowlevel.FdStream(ours) as stream:
        try:
            yield process, Terminal(stream)
        finally:
            os.close(theirs)  # kept open until now: with the last writer gone, reading what is left would fail
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()


async def refuse_then_answer(exchange: Exchange) -> None:
    """Too many at first; then an answer that says what was asked."""
    if await signed_in(exchange):
        return
    match exchange.asked.path:
        case "/agent/reset":
            await exchange.json(200, {"ok": True})
        case _ if exchange.asked.body["message"] == "too soon":
            await exchange.json(429, {"error": "Too many requests", "code": "RATE_LIMIT"}, **{"Retry-After": "7"})
        case _:
            await exchange.open_events()
            await exchange.event("content", 1, content=f"You said {exchange.asked.body['message']}.")
            await exchange.event("done", 2)


async def test_one_registers_talks_starts_afresh_and_leaves(tmp_path: Path) -> None:
    with trio.fail_after(30):
        async with (
            scripted(refuse_then_answer) as server,
            at_a_terminal(tmp_path, server.url) as (process, terminal),
        ):
            await terminal.answer("E-mail: ", f"{EMAIL}\n")
            await terminal.answer("Password: ", f"{PASSWORD}\n")
            await terminal.wait_for("Register")
            assert PASSWORD not in terminal.shown
            await terminal.answer("[Y/n]: ", "\n")
            await terminal.answer("> ", "hello\n")
            await terminal.wait_for("You said hello.")
            await terminal.answer("> ", "too soon\n")
            await terminal.wait_for("Too many requests (RATE_LIMIT); try again in 7 s")
            await terminal.answer("> ", "/reset\n")
            await terminal.wait_for("a fresh conversation")
            await terminal.answer("> ", "/quit\n")
            assert await process.wait() == 0
    assert [asked.path for asked in server.asked] == [
        "/auth/login",
        "/auth/register",
        "/agent/chat/stream",
        "/agent/chat/stream",
        "/agent/reset",
    ]
