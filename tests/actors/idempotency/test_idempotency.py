"""A request that is sent twice runs once."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.support.clock import WallClock
from understudy.actors.errors import Conflict, Invalid, Unavailable
from understudy.actors.idempotency.actor import Idempotency
from understudy.actors.idempotency.messages import (
    IDEMPOTENCY,
    Begin,
    Begun,
    Complete,
    Fresh,
    IdempotencyKey,
    Release,
    Stored,
)
from understudy.runtime import ActorSystem, ChildSpec
from understudy.storage.pool import Pool
from understudy.storage.repositories import Repositories

KEY = IdempotencyKey("usr_1 ws_1 POST /agent/reset", "a-key", b"h" * 32)
OTHER_BODY = IdempotencyKey(KEY.scope, KEY.key, b"o" * 32)


class Node:
    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.clock = WallClock()
        self.patience = 8.0
        self.look_again_every = 0.5
        self.system: ActorSystem

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        with trio.fail_after(20):
            async with ActorSystem("test") as self.system:
                keys = Repositories.on(self.pool).idempotency
                args = (keys, self.clock, self.patience, self.look_again_every)
                await self.system.spawn(ChildSpec(IDEMPOTENCY, Idempotency, args=args))
                yield

    async def begin(self, key: IdempotencyKey = KEY) -> Begun:
        return await self.system.ask(IDEMPOTENCY, Begin(key), timeout=10)

    async def complete(self, key: IdempotencyKey = KEY, body: bytes = b'{"ok": true}') -> None:
        await self.system.ask(IDEMPOTENCY, Complete(key, 200, body))

    async def waiting(self) -> int:
        waited_for = (await self.system.inspect(IDEMPOTENCY)).get("waited_for", 0)
        assert isinstance(waited_for, int)
        return waited_for


@pytest.fixture
async def node(pg_dsn: str) -> AsyncIterator[Node]:
    pool = Pool(pg_dsn, min_size=0, max_size=8)
    await pool.open()
    try:
        yield Node(pool)
    finally:
        await pool.close()


async def test_the_second_request_gets_the_first_one_s_answer(node: Node) -> None:
    async with node.running():
        assert await node.begin() == Fresh()
        await node.complete()
        for _ in range(3):
            assert await node.begin() == Stored(200, b'{"ok": true}')


async def test_the_answer_outlives_the_actor_and_the_node(node: Node) -> None:
    async with node.running():
        await node.begin()
        await node.complete()
        await node.system.kill(IDEMPOTENCY)
        assert await node.begin() == Stored(200, b'{"ok": true}')
    async with node.running():
        assert await node.begin() == Stored(200, b'{"ok": true}')


async def test_a_key_with_another_body_is_a_conflict_while_it_runs_and_after(node: Node) -> None:
    async with node.running():
        await node.begin()
        with pytest.raises(Conflict, match="another request"):
            await node.begin(OTHER_BODY)
        await node.complete()
        with pytest.raises(Conflict, match="another request"):
            await node.begin(OTHER_BODY)


async def test_of_many_at_once_one_runs_and_all_get_its_answer(node: Node) -> None:
    async with node.running():
        begun: list[Begun] = []

        async def begin() -> None:
            found = await node.begin()
            begun.append(found)
            if isinstance(found, Fresh):
                await wait_all_tasks_blocked(0.01)
                await node.complete()

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(begin)
        assert begun.count(Fresh()) == 1
        assert begun.count(Stored(200, b'{"ok": true}')) == 9
        assert await node.waiting() == 0


async def test_who_waits_is_answered_as_soon_as_the_first_request_is(node: Node) -> None:
    node.look_again_every = node.patience = 1000.0  # who is not woken is never answered
    async with node.running():
        await node.begin()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(node.begin)
            while await node.waiting() == 0:
                await trio.lowlevel.checkpoint()
            await node.complete()


async def test_a_claim_given_back_goes_to_one_of_those_who_wait(node: Node) -> None:
    async with node.running():
        await node.begin()
        begun: list[Begun] = []

        async def begin() -> None:
            begun.append(await node.begin())
            if begun[-1] == Fresh():
                await node.complete(body=b"second")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(begin)
            nursery.start_soon(begin)
            while await node.waiting() == 0:
                await trio.lowlevel.checkpoint()
            await node.system.ask(IDEMPOTENCY, Release(KEY))
        assert begun.count(Fresh()) == 1
        assert begun.count(Stored(200, b"second")) == 1


async def test_who_waits_too_long_is_told_that_it_still_runs(node: Node) -> None:
    node.patience = 0.1
    async with node.running():
        await node.begin()
        with pytest.raises(Conflict, match="still running"):
            await node.begin()
        assert await node.waiting() == 0
        await node.complete()
        assert await node.begin() == Stored(200, b'{"ok": true}')


async def test_the_claim_of_an_incarnation_that_was_killed_still_counts(node: Node) -> None:
    async with node.running():
        await node.begin()
        await node.system.kill(IDEMPOTENCY)
        async with trio.open_nursery() as nursery:
            begun: list[Begun] = []

            async def begin() -> None:
                begun.append(await node.begin())

            nursery.start_soon(begin)
            while await node.waiting() == 0:
                await trio.lowlevel.checkpoint()
            await node.complete()
        assert begun == [Stored(200, b'{"ok": true}')]


async def test_a_key_counts_for_five_minutes(node: Node) -> None:
    async with node.running():
        await node.begin()
        await node.complete()
        node.clock.advance(299)
        assert isinstance(await node.begin(), Stored)
        node.clock.advance(2)
        assert await node.begin(OTHER_BODY) == Fresh()


async def test_keys_of_different_callers_do_not_meet(node: Node) -> None:
    async with node.running():
        await node.begin()
        assert await node.begin(IdempotencyKey("usr_2 ws_1 POST /agent/reset", KEY.key, b"x" * 32)) == Fresh()


async def test_without_the_database_nobody_is_told_to_go_ahead(node: Node) -> None:
    async with node.running():
        node.pool.timeout = 0.5
        await node.pool.close()
        with pytest.raises(Unavailable):
            await node.begin()
        node.pool.timeout = 5.0
        await node.pool.open()
        assert await node.begin() == Fresh()


async def test_who_leaves_while_the_key_is_being_claimed_leaves_no_claim_behind(node: Node) -> None:
    async with node.running():
        left_early = 0
        for attempt in range(12):
            key = IdempotencyKey(KEY.scope, f"key-{attempt}", KEY.request_hash)
            with trio.move_on_after(attempt * 0.0003):
                await node.begin(key)
                continue  # it had its claim before it left: the claim is its own
            left_early += 1
            assert await node.begin(key) == Fresh()
        assert left_early > 0


async def test_a_key_that_cannot_be_stored_is_invalid_and_crashes_nobody(node: Node) -> None:
    async with node.running():
        for scope in ("usr_1 POST /sessions/\0/cancel", "usr_1 POST /\ud800"):
            with pytest.raises(Invalid):
                await node.begin(IdempotencyKey(scope, "a-key", b"h" * 32))
        found = node.system.node(IDEMPOTENCY)
        assert found is not None
        assert found.crash is None
