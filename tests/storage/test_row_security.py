"""The second lock: what PostgreSQL itself hides from a tenant, whatever a statement forgets to ask for."""

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import psycopg
import psycopg.conninfo
import pytest

from tests.support.storage import START, Store, closed, events, opened
from understudy.storage.journal import Journal
from understudy.storage.pool import Pool
from understudy.storage.records import Agent, AgentVersion, AuditEntry, Grant, Session, TurnStatus
from understudy.storage.repositories import Repositories
from understudy.storage.repository import rows
from understudy.storage.rowsecurity import ROLE, Tenant, act_for, may_act

OPEN = {
    "audit_log": "operators read it, across tenants; routes for workspaces ask by workspace",
    "outbox": "read by the node only, for everybody",
    "refresh_tokens": "read before it is known who asks",
}
"""Tables with a person or a workspace in them that no tenant's statement reads, and why."""


@pytest.fixture
async def pool(pg_dsn: str) -> AsyncIterator[Pool]:
    pool = Pool(pg_dsn, min_size=0, max_size=4)
    await pool.open()
    yield pool
    await pool.close()


@pytest.fixture
def store(pool: Pool) -> Store:
    return Store(Repositories.on(pool), Journal(pool))


async def talked(store: Store) -> Session:
    """A session with a finished turn, of a new user in a new workspace."""
    session = await store.session()
    begin = opened(session)
    await store.write(begin, events(session, 1, turn_id=begin.turn_id))
    await store.write(closed(session, begin.turn_id, TurnStatus.COMPLETED))
    return session


async def seen(pool: Pool, query: str, tenant: Tenant | None) -> list[Any]:
    """The first column of what *query* gives to *tenant*."""
    async with pool.connection() as connection, connection.transaction():
        if tenant is not None:
            await act_for(connection, tenant)
        return [row[0] for row in await rows(connection, query)]


TABLES = ("sessions", "turns", "session_messages", "run_events")


@pytest.mark.parametrize("table", TABLES)
async def test_a_statement_without_a_condition_finds_only_the_rows_of_its_tenant(
    pool: Pool, store: Store, table: str
) -> None:
    mine, theirs = await talked(store), await talked(store)
    column = "id" if table == "sessions" else "session_id"
    query = f"SELECT DISTINCT {column} FROM {table}"
    assert set(await seen(pool, query, None)) == {mine.id, theirs.id}
    assert await seen(pool, query, Tenant(mine.key.uid)) == [mine.id]
    assert await seen(pool, query, Tenant(workspace_id=mine.key.workspace_id)) == [mine.id]
    assert await seen(pool, query, Tenant(theirs.key.uid, mine.key.workspace_id)) == []


async def test_a_tenant_can_neither_change_nor_delete_nor_make_rows_of_others(pool: Pool, store: Store) -> None:
    mine, theirs = await talked(store), await talked(store)

    async def change(query: str, *given: str) -> int:
        async with pool.connection() as connection, connection.transaction():
            await act_for(connection, Tenant(mine.key.uid))
            return (await connection.execute(query.encode(), given)).rowcount

    assert await change("UPDATE sessions SET summary = 'mine now' WHERE id = %s", theirs.id) == 0
    assert await change("DELETE FROM session_messages") == 2, "their own question and answer, and nobody else's"
    assert await change("UPDATE sessions SET summary = 'known'") == 1
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await change("UPDATE sessions SET uid = %s", theirs.key.uid)
    assert len(await store.repositories.sessions.messages(theirs.id)) == 2


async def test_the_role_without_a_tenant_sees_nothing(pool: Pool, store: Store) -> None:
    await talked(store)
    async with pool.connection() as connection, connection.transaction():
        await connection.execute(f"SET LOCAL ROLE {ROLE}".encode())
        assert await rows(connection, "SELECT id FROM sessions") == []
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await rows(connection, "SELECT * FROM users")


async def test_a_connection_is_nobodys_again_when_the_transaction_is_over(pool: Pool, store: Store) -> None:
    mine, theirs = await talked(store), await talked(store)
    async with pool.connection() as connection:
        async with connection.transaction():
            await act_for(connection, Tenant(mine.key.uid))
        found = await rows(connection, "SELECT id FROM sessions")
        assert {row[0] for row in found} == {mine.id, theirs.id}
        with suppress(ZeroDivisionError):
            async with connection.transaction():
                await act_for(connection, Tenant(mine.key.uid))
                raise ZeroDivisionError
        assert await rows(connection, "SELECT current_setting('role')") == [("none",)]


async def test_repositories_read_for_a_tenant_under_the_second_lock(pool: Pool, store: Store) -> None:
    mine, theirs = await talked(store), await talked(store)
    sessions = store.repositories.sessions
    async with pool.connection() as connection:
        assert await may_act(connection)
    assert await sessions.get(mine.id, uid=mine.key.uid) is not None
    assert await sessions.get(theirs.id, uid=mine.key.uid) is None
    assert await sessions.messages(theirs.id, uid=mine.key.uid) == ()
    assert [s.id for s in (await sessions.list(mine.key.uid))[0]] == [mine.id]


async def test_every_table_with_a_tenant_in_it_is_guarded_or_says_why_not(pool: Pool) -> None:
    guarded = await seen(pool, "SELECT tablename FROM pg_policies WHERE policyname = 'tenant'", None)
    named = await seen(
        pool,
        "SELECT DISTINCT table_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND column_name IN ('uid', 'workspace_id', 'session_id')",
        None,
    )
    assert set(named) - set(guarded) - set(OPEN) == set()
    assert set(OPEN) & set(guarded) == set()


async def test_where_the_role_may_not_be_taken_queries_guard_themselves(pool: Pool, store: Store, pg_dsn: str) -> None:
    mine, theirs = await talked(store), await talked(store)
    async with pool.connection() as connection:
        await connection.execute(b"CREATE ROLE plain LOGIN")
        try:
            await connection.execute(b"GRANT SELECT ON ALL TABLES IN SCHEMA public TO plain")
            for table in (b"sessions", b"workspace_members"):
                await connection.execute(b"ALTER TABLE " + table + b" OWNER TO plain")
            plain = Pool(psycopg.conninfo.make_conninfo(pg_dsn, user="plain"), min_size=0, max_size=1)
            await plain.open()
            try:
                sessions = Repositories.on(plain).sessions
                assert await sessions.get(mine.id, uid=mine.key.uid) is not None
                assert await sessions.get(theirs.id, uid=mine.key.uid) is None
            finally:
                await plain.close()
        finally:
            await connection.execute(b"REASSIGN OWNED BY plain TO CURRENT_USER")
            await connection.execute(b"DROP OWNED BY plain")
            await connection.execute(b"DROP ROLE plain")


def test_a_tenant_is_somebody() -> None:
    with pytest.raises(ValueError, match="a person, a workspace"):
        Tenant()


async def test_an_agent_is_there_for_its_workspace_and_for_whom_it_was_granted(pool: Pool, store: Store) -> None:
    (mira, giver), (_, receiver), (_, other) = [await store.user(f"{name}@example.org") for name in ("a", "b", "c")]
    version = AgentVersion("agv_1", 1, {}, START)
    agent = Agent("agc_1", giver.id, "helper", version, START, START)
    await store.repositories.agents.create(agent, AuditEntry("aud_1", "test", "info", START))
    grant = Grant("gr_1", giver.id, receiver.id, "helper", True, None, mira.id, START, START)
    await store.repositories.grants.put(grant, mira.id, AuditEntry("aud_2", "test", "info", START))
    for workspace, found in ((giver, 1), (receiver, 1), (other, 0)):
        for table in ("agent_configs", "agent_config_versions", "workspace_agent_grants"):
            assert len(await seen(pool, f"SELECT 1 FROM {table}", Tenant(workspace_id=workspace.id))) == found, table


async def test_the_second_lock_holds_as_soon_as_the_role_may_read_not_from_the_next_start_on(pool: Pool) -> None:
    async with pool.connection() as connection:
        await connection.execute(f"REVOKE SELECT ON sessions FROM {ROLE}")
        assert not await pool.guarded(connection)
        await connection.execute("CALL grant_tenants()")
        assert await pool.guarded(connection)
