"""Idempotency keys when what keeps them is away for a moment."""

from collections.abc import AsyncIterator, Callable

import httpx
import pytest
import trio

from tests.support.platform import Platform, serving_platform
from understudy.runtime import TreeNode
from understudy.storage.pool import Pool

NEW = {"id": "ops-helper", "model": {"provider": "builtin", "modelId": "rehearsal"}, "systemPromptTemplate": "Help."}


@pytest.fixture
async def platform(pool: Pool) -> AsyncIterator[Platform]:
    async with serving_platform(pool) as platform:
        yield platform


async def test_what_was_done_is_answered_so_though_the_keeper_of_keys_dies_meanwhile(platform: Platform) -> None:
    mira, system = await platform.user(), platform.system
    answers: list[httpx.Response] = []

    async def create() -> None:
        answers.append(await mira.call("POST", "/agents", NEW, X_Idempotency_Key="k1"))

    async def until(holds: Callable[[TreeNode], object], address: str) -> None:
        while (node := system.node(address)) is None or not holds(node):
            await trio.sleep(0.005)

    await system.suspend("agents")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(create)
        await until(lambda node: node.mailbox, "agents")
        async with platform.pool.connection() as connection, connection.transaction():
            await connection.execute("SELECT FROM idempotency_keys WHERE key = 'k1' FOR UPDATE")
            await system.resume("agents")
            await until(lambda node: node.work, "idempotency")
            await system.kill("idempotency")
    (first,) = answers
    assert first.status_code == 201
    again = await mira.call("POST", "/agents", NEW, X_Idempotency_Key="k1")
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotency-replayed"] == "true"
