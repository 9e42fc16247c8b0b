"""``understudy chat`` as a process of its own, against a stand-in server."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import trio

from tests.cli.stage import EMAIL, environment, signed_in
from tests.support.scripted_server import Exchange, scripted


def command(url: str, *words: str) -> list[str]:
    return [sys.executable, "-m", "understudy", "chat", "--url", url, *words]


async def chat(home: Path, url: str, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return await trio.run_process(
        command(url, *words),
        stdin=stdin,
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        env=environment(home),
    )


async def answer_42(exchange: Exchange) -> None:
    if await signed_in(exchange):
        return
    await exchange.open_events()
    await exchange.event("session_resolved", 1, sessionId="ses_1", isNew=True)
    await exchange.event("content", 2, content="It is 42.")
    await exchange.event("done", 3, content="It is 42.")


async def test_one_question_registers_once_asks_and_prints_the_answer(tmp_path: Path) -> None:
    with trio.fail_after(30):
        async with scripted(answer_42) as server:
            first = await chat(tmp_path, server.url, "--register", "--email", EMAIL, "6 times", "7?")
            again = await chat(tmp_path, server.url, stdin=b"from a pipe\n")
    assert (first.returncode, first.stdout, first.stderr) == (0, b"It is 42.\n", b"")
    assert (again.returncode, again.stdout) == (0, b"It is 42.\n")
    assert [asked.path for asked in server.asked] == [
        "/auth/login", "/auth/register", "/agent/chat/stream", "/agent/chat/stream",
    ]  # fmt: skip
    assert server.asked[2].body == {
        "message": "6 times 7?", "agentId": "chad", "surface": "chat", "surfaceId": "main",
    }  # fmt: skip
    assert server.asked[3].body["message"] == "from a pipe"


async def test_without_a_login_and_a_terminal_it_says_what_to_set(tmp_path: Path) -> None:
    with trio.fail_after(30):
        async with scripted(answer_42) as server:
            unknown = await chat(tmp_path, server.url, "hi")
            wrong = await chat(tmp_path, server.url, "--email", EMAIL, "hi")
    assert (unknown.returncode, wrong.returncode) == (2, 1)
    assert b"set UNDERSTUDY_EMAIL and UNDERSTUDY_PASSWORD" in unknown.stderr
    assert b"--register makes one" in wrong.stderr


async def test_an_error_of_the_turn_is_told_and_is_the_exit_code(tmp_path: Path) -> None:
    async def fail(exchange: Exchange) -> None:
        if not await signed_in(exchange):
            await exchange.open_events()
            await exchange.event("content", 1, content="half an ans")
            await exchange.event("error", 2, message="the provider fell silent", code="PROVIDER_ERROR")

    with trio.fail_after(30):
        async with scripted(fail) as server:
            ran = await chat(tmp_path, server.url, "--register", "--email", EMAIL, "hi")
    assert (ran.returncode, ran.stdout) == (1, b"half an ans\n")
    assert b"the provider fell silent (PROVIDER_ERROR)" in ran.stderr


async def test_json_prints_every_event(tmp_path: Path) -> None:
    with trio.fail_after(30):
        async with scripted(answer_42) as server:
            ran = await chat(tmp_path, server.url, "--register", "--email", EMAIL, "--json", "hi")
    events = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [event["event"] for event in events] == ["session_resolved", "content", "done"]
    assert [event["id"] for event in events] == ["ses_1:1", "ses_1:2", "ses_1:3"]


async def test_a_first_interrupt_cancels_the_turn_and_waits_for_its_end(tmp_path: Path) -> None:
    cancelled = trio.Event()

    async def stall(exchange: Exchange) -> None:
        if await signed_in(exchange):
            return
        if exchange.asked.path == "/sessions/ses_1/cancel":
            await exchange.json(200, {"ok": True})
            cancelled.set()
            return
        await exchange.open_events()
        await exchange.event("content", 1, content="once upon a ")
        await cancelled.wait()
        await exchange.event("error", 2, message="the turn was cancelled", code="CANCELLED")

    with trio.fail_after(30):
        async with scripted(stall) as server:
            process = await started(tmp_path, server.url)
            assert process.stdout is not None
            assert await process.stdout.receive_some() == b"once upon a "
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 130
    assert cancelled.is_set()


async def test_a_second_interrupt_leaves_at_once(tmp_path: Path) -> None:
    asked_to_cancel = trio.Event()

    async def stuck(exchange: Exchange) -> None:
        if await signed_in(exchange):
            return
        if exchange.asked.path == "/sessions/ses_1/cancel":
            asked_to_cancel.set()
            await trio.sleep_forever()
        await exchange.open_events()
        await exchange.event("content", 1, content="once upon a ")
        await trio.sleep_forever()

    with trio.fail_after(30):
        async with scripted(stuck) as server:
            process = await started(tmp_path, server.url)
            assert process.stdout is not None
            await process.stdout.receive_some()
            process.send_signal(signal.SIGINT)
            await asked_to_cancel.wait()
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 130
            assert process.stderr is not None
            said = b"".join([chunk async for chunk in process.stderr])
    assert b"Traceback" not in said


async def started(home: Path, url: str) -> trio.Process:
    return await trio.lowlevel.open_process(
        command(url, "--register", "--email", EMAIL, "tell me a story"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(home),
    )
