"""Fixtures for every test that needs a database."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.database import TestServer
from understudy.storage.pool import Pool


@pytest.fixture(scope="session")
def pg_server() -> Iterator[TestServer]:
    """The run's PostgreSQL server, started when the first test asks."""
    server = TestServer()
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def pg_dsn(pg_server: TestServer) -> Iterator[str]:
    """The DSN of a fresh, migrated database."""
    with pg_server.database() as dsn:
        yield dsn


@pytest.fixture
async def pool(pg_dsn: str) -> AsyncIterator[Pool]:
    """An open pool on a fresh, migrated database."""
    pool = Pool(pg_dsn, min_size=0, max_size=8)
    await pool.open()
    try:
        yield pool
    finally:
        await pool.close()
