"""Actors of every kind are killed on purpose, under load."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import trio

from tests.support.answered import Answered, assert_kept
from tests.support.client import CUT_OFF, Client, Line, connect, operator_get, operator_post, register
from tests.support.node import Node, running_node

KILLS_PER_SECOND = 20
KILLS = 500
SLOWING = 1.001
"""What each kill makes of the pause before the next one: answers get through on any machine."""
CHATS = 12
PROMPT = "what is 23*19? (asked {})"


def walk(node: dict[str, Any]) -> list[dict[str, Any]]:
    """The node and everything below it."""
    return [node, *(below for child in node.get("children", ()) for below in walk(child))]


async def actors(http: httpx.AsyncClient) -> list[dict[str, Any]]:
    """Every actor of the node but the root, which is the process itself."""
    return [actor for actor in walk(await operator_get(http, "/diagnostics/actors")) if actor["address"]]


async def kill_at_random(url: str, rng: random.Random, killed: Counter[str], answered: list[Answered]) -> None:
    """Pick a kind, pick one of it, kill it, twenty times a second, until that is enough and chats were answered."""
    async with connect(url) as http:
        pause = 1 / KILLS_PER_SECOND
        alive: list[dict[str, Any]] = []
        tick = trio.current_time()
        while killed.total() < KILLS or len(answered) <= CHATS:
            tick = max(tick + pause, trio.current_time())
            pause *= SLOWING
            await trio.sleep_until(tick)
            try:
                if not alive or rng.random() < 0.1:
                    alive = await actors(http)
                kind = rng.choice(sorted({actor["kind"] for actor in alive}))
                victim = rng.choice([actor for actor in alive if actor["kind"] == kind])
                answer = await operator_post(http, f"/diagnostics/actors/{victim['address']}/kill")
            except httpx.HTTPError:
                continue  # the listener itself was killed: the next request finds its successor
            if answer.status_code == 200:
                killed[kind] += 1


async def chat_on(
    client: Client, surface: str, stop: trio.Event, answered: list[Answered], failed: Counter[str]
) -> None:
    """Chat until told to stop; a failed request must say why, and is tried again with the same key."""
    async with Line(client.http.base_url) as line:
        turn = 0
        while not stop.is_set():
            message = PROMPT.format(f"{surface}.{turn}")
            while True:
                try:
                    answer = await client.chat_on(line, message, surfaceId=surface, key=f"{surface}.{turn}")
                except CUT_OFF as error:
                    failed[type(error).__name__] += 1
                    continue
                body = answer.body
                if answer.status == 200:
                    break
                assert answer.status in {409, 429, 502, 503, 504}, body
                assert {"error", "code", "requestId"} <= body.keys()
                failed[body["code"]] += 1
                await trio.sleep(0.05)
            assert "437" in body["content"]
            answered.append(Answered(body["sessionId"], message, body["content"]))
            turn += 1


async def settled(node: Node, http: httpx.AsyncClient, whole: set[str]) -> list[dict[str, Any]]:
    """Wait until every actor that belongs to the tree is up and nothing is busy."""
    await node.wait_ready()
    while True:
        now = await actors(http)
        if whole <= {actor["address"] for actor in now} and all(
            actor["state"] in {"idle", "busy"} for actor in now if actor["address"] in whole
        ):
            return now
        await trio.sleep(0.05)


@pytest.mark.slow
async def test_killing_actors_of_every_kind_under_load_loses_no_answer_and_leaves_the_tree_whole(
    tmp_path: Path, pg_dsn: str
) -> None:
    rng = random.Random(20261121)
    answered: list[Answered] = []
    failed: Counter[str] = Counter()
    killed: Counter[str] = Counter()
    with trio.fail_after(550):
        async with (
            running_node(tmp_path, database_url=pg_dsn, environment={"UNDERSTUDY_SESSION_IDLE_AFTER": "2s"}) as node,
            connect(node.url) as http,
        ):
            client = await register(http)
            whole = {a["address"] for a in await actors(http) if not a["address"].startswith("session/")}
            assert node.process is not None
            process = psutil.Process(node.process.pid)
            descriptors = process.num_fds()
            stop = trio.Event()
            async with trio.open_nursery() as nursery:
                for number in range(CHATS):
                    nursery.start_soon(chat_on, client, f"surface-{number}", stop, answered, failed)
                await kill_at_random(node.url, rng, killed, answered)
                stop.set()
            await settled(node, http, whole)
            await assert_kept(client, answered)
            while process.num_fds() > descriptors + 60:  # pools may have grown; leaks would be in the hundreds
                await trio.sleep(0.1)
            while any(a["address"].startswith("session/") for a in await actors(http)):
                await trio.sleep(0.1)  # every session passivates: nothing holds one
            after = {a["address"] for a in await actors(http)}
            assert whole <= after
