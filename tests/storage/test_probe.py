"""Looking at the server itself, against a real one."""

from datetime import UTC, datetime

import pytest
import trio

from understudy.storage.errors import StorageError
from understudy.storage.pool import Pool
from understudy.storage.probe import Probe
from understudy.storage.records import SessionKey, User, Workspace
from understudy.storage.repositories import Repositories


async def test_a_well_server_answers_every_question(pool: Pool) -> None:
    probe = Probe(pool)
    assert await probe.ping() >= 0
    assert (await probe.version()).startswith("PostgreSQL 1")
    assert abs((await probe.clock() - datetime.now(UTC)).total_seconds()) < 5
    await probe.search()
    assert (await probe.vectors() or "").startswith("0.")
    applied, known = await probe.migrations()
    assert applied == known > 0


async def test_what_the_probe_writes_is_taken_back(pool: Pool) -> None:
    probe = Probe(pool)
    await probe.write()
    async with pool.connection() as connection:
        cursor = await connection.execute(b"SELECT count(*) FROM idempotency_keys")
        assert await cursor.fetchone() == (0,)


async def test_a_server_that_takes_no_writes_is_found_out(pool: Pool) -> None:
    async with pool.connection() as connection:
        await connection.execute(
            b"ALTER DATABASE " + connection.info.dbname.encode() + b" SET default_transaction_read_only = on"
        )
    fresh = Pool(pool.conninfo, min_size=0, max_size=2)
    await fresh.open()
    try:
        probe = Probe(fresh)
        await probe.search()
        with pytest.raises(StorageError):
            await probe.write()
    finally:
        with trio.CancelScope(shield=True):
            await fresh.close()


async def test_totals_count_active_sessions_and_all(pool: Pool) -> None:
    repositories, now = Repositories.on(pool), datetime.now(UTC)
    assert await Probe(pool).totals() == (0, 0, 0)
    user = User("usr_1", "a@example.org", "x", now)
    await repositories.users.create(user, Workspace("ws_1", "Personal", "usr_1", "personal", now))
    key = SessionKey("ws_1", "usr_1", "chad", "chat", "main")
    session, _ = await repositories.sessions.open(key, now=now)
    await repositories.sessions.reset(session.id, now=now, epoch=session.epoch)
    assert await Probe(pool).totals() == (1, 2, 0)
