"""The process dies at the worst moment, again and again."""

import random
from pathlib import Path

import psutil
import pytest
import trio

from tests.support.answered import Answered, assert_kept
from tests.support.client import CUT_OFF, Client, Line, connect, register
from tests.support.node import Node, running_node

CHATS = 200
KILLS = 10


def postgres_processes(data_dir: Path) -> list[psutil.Process]:
    """Every postmaster that works on a directory below *data_dir*."""
    found = []
    for process in psutil.process_iter(["name", "cmdline"]):
        line = " ".join(process.info["cmdline"] or ())
        if "postgres" in (process.info["name"] or "") and str(data_dir) in line:
            found.append(process)
    return found


async def chat_until_cut_off(client: Client, surface: str, run: int, answered: list[Answered]) -> None:
    """Chat in one conversation until the server is gone; note each answer that arrived whole."""
    turn = 0
    async with Line(client.http.base_url) as line:
        while True:
            message = f"{surface} says {run}.{turn}"
            try:
                answer = await client.chat_on(line, message, surfaceId=surface)
            except CUT_OFF:
                return
            assert answer.status == 200, answer.body
            answered.append(Answered(answer.body["sessionId"], message, answer.body["content"]))
            turn += 1


async def kill_under_load(node: Node, client: Client, run: int, rng: random.Random) -> list[Answered]:
    """Two hundred conversations at once, and ``kill -9`` somewhere in the middle."""
    answered: list[Answered] = []
    enough = rng.randint(20, 2 * CHATS)
    async with trio.open_nursery() as nursery:
        for number in range(CHATS):
            nursery.start_soon(chat_until_cut_off, client, f"surface-{number}", run, answered)
        while len(answered) < enough:
            await trio.sleep(0.005)
        node.kill()
    return answered


@pytest.mark.slow
async def test_nothing_answered_is_lost_and_nothing_stays_running_when_the_server_is_killed_under_load(
    tmp_path: Path,
) -> None:
    rng = random.Random(20261121)
    with trio.fail_after(550):
        async with running_node(tmp_path) as node:
            async with connect(node.url) as http:
                client = await register(http)
            total = 0
            for run in range(KILLS):
                async with connect(node.url) as http:
                    client.http = http
                    answered = await kill_under_load(node, client, run, rng)
                await node.start()
                assert len(postgres_processes(tmp_path)) >= 1
                async with connect(node.url) as http:
                    client.http = http
                    total += len(answered)
                    await assert_kept(client, answered)
                    await assert_quiet(client)
            assert total > CHATS, "the load was too light to prove anything"
            node.kill()
        with trio.fail_after(15):
            while postgres_processes(tmp_path):
                await trio.sleep(0.05)


async def assert_quiet(client: Client) -> None:
    """No conversation says that a turn is running, and the next message is served."""
    answer = await client.http.get("/sessions?limit=40", headers=client.headers)
    limit = trio.Semaphore(16)

    async def check(session_id: str) -> None:
        async with limit:
            assert (await client.session(session_id))["runningTurn"] is None

    async with trio.open_nursery() as nursery:
        for session in answer.json()["sessions"]:
            nursery.start_soon(check, session["id"])
    answer = await client.chat("are you there?", surfaceId="surface-0")
    assert answer.status_code == 200, answer.text
