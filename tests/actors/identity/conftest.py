"""The node that the tests of this folder share."""

from collections.abc import AsyncIterator

import pytest

from tests.support.identity import IdentityNode
from understudy.storage.pool import Pool


@pytest.fixture
async def node(pg_dsn: str) -> AsyncIterator[IdentityNode]:
    pool = Pool(pg_dsn, min_size=0, max_size=8)
    await pool.open()
    try:
        yield IdentityNode(pool)
    finally:
        await pool.close()
