"""One suite, two stores: every test that takes `store` runs in memory and on PostgreSQL."""

from collections.abc import AsyncIterator
from typing import cast

import pytest

from tests.support.database import TestServer
from tests.support.storage import Store
from understudy.storage.journal import Journal
from understudy.storage.memory import MemoryStore
from understudy.storage.pool import Pool
from understudy.storage.repositories import Repositories


@pytest.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """Repositories and a journal with nothing in them."""
    if request.param == "memory":
        memory = MemoryStore()
        yield Store(cast("Repositories", memory), cast("Journal", memory.journal))
        return
    server: TestServer = request.getfixturevalue("pg_server")
    with server.database() as dsn:
        pool = Pool(dsn, min_size=0, max_size=8)
        await pool.open()
        try:
            yield Store(Repositories.on(pool), Journal(pool))
        finally:
            await pool.close()
