"""How much of a large memory a search looks at, and that what it looks at says what the entries say."""

from collections.abc import Sequence
from typing import Any

import attrs
import pytest
import trio

from tests.support.storage import START, Store, at
from understudy.actors.memory.ports import MemoryKeeper
from understudy.storage.journal import Journal
from understudy.storage.memories import MemoriesRepository
from understudy.storage.memory_words import Bounds
from understudy.storage.migrate import load_migrations
from understudy.storage.pool import Pool
from understudy.storage.records import (
    AuditEntry,
    MemoryCategory,
    MemoryEntry,
    MemoryHits,
    MemoryTier,
    User,
    Workspace,
    new_id,
)
from understudy.storage.remembered import Scope
from understudy.storage.repositories import Repositories
from understudy.storage.repository import rows
from understudy.storage.rowsecurity import Tenant, act_for

Owner = tuple[User, Workspace]
NORTH = (1.0, *[0.0] * 255)


def line() -> AuditEntry:
    return AuditEntry(new_id("aud"), "memory.changed", "info", START)


def entry(owner: Owner, content: str, seconds: float = 0, **more: Any) -> MemoryEntry:
    written = at(seconds)
    given = {"tier": MemoryTier.NOTES, "category": MemoryCategory.NOTE, "embedder": "compass", "embedding": NORTH}
    return MemoryEntry(
        new_id("mem"), owner[1].id, owner[0].id, day=written.date(), content=content, created_at=written, **given | more
    )


async def write(store: Store, owner: Owner, contents: Sequence[str]) -> None:
    """Notes in this order."""
    for number, content in enumerate(contents):
        await store.repositories.memories.add(entry(owner, content, number), line(), most=1000)


async def found(memories: MemoryKeeper, owner: Owner, text: str, **more: Any) -> MemoryHits:
    scope = Scope(owner[1].id, owner[0].id, at(3600))
    given: dict[str, Any] = {"text": text, "embedder": "compass", "embedding": (), "limit": 50, "least": 0.5}
    return await memories.search(scope, **given | {"stale": 0.97} | more)


async def words(memories: MemoryKeeper, owner: Owner, text: str, **more: Any) -> list[str]:
    return [hit.content for hit in (await found(memories, owner, text, **more)).by_words]


def bounded(pool: Pool, **bounds: int) -> MemoriesRepository:
    """Memories of which a search looks at so much."""
    memories = MemoriesRepository(pool)
    memories.bounds = attrs.evolve(Bounds(), **bounds)
    return memories


@pytest.fixture
def kept(pool: Pool) -> Store:
    """In the database: what is bounded there has no bounds elsewhere."""
    return Store(Repositories.on(pool), Journal(pool))


async def test_a_word_counts_by_how_few_entries_have_it(store: Store) -> None:
    mira = await store.user()
    await write(store, mira, ["rye bread", "green tea", "black tea", "tea with milk", "tea and rye"])
    memories = store.repositories.memories
    assert await words(memories, mira, "rye tea") == [
        "tea and rye",
        "rye bread",
        "tea with milk",
        "black tea",
        "green tea",
    ]
    noor = await store.user("noor@example.org")
    await write(store, noor, [f"rye number {number}" for number in range(9)])
    assert (await words(memories, mira, "rye tea"))[1] == "rye bread", "what others have makes no word common"


async def test_an_old_entry_with_a_rare_word_is_found_behind_any_number_of_newer_ones(kept: Store, pool: Pool) -> None:
    mira = await kept.user()
    await write(kept, mira, ["tea in Lisbon", "tea at home", *[f"tea at {hour}" for hour in range(20)]])
    assert await words(bounded(pool, counted=8), mira, "Lisbon tea") == [
        "tea in Lisbon",
        *[f"tea at {hour}" for hour in range(19, 12, -1)],
    ]


async def test_an_old_entry_with_the_two_rarest_of_common_words_is_found(kept: Store, pool: Pool) -> None:
    mira = await kept.user()
    common = [f"{what} at {hour}" for hour in range(12) for what in ("tea", "cake", "tea", "rain")]
    await write(kept, mira, ["cake in the rain", "tea in the rain", *common])
    memories = bounded(pool, counted=9)
    best, *others = await words(memories, mira, "rain, tea or cake")
    assert (best, len(others)) == ("cake in the rain", 9)
    assert "tea in the rain" not in others
    assert (await words(memories, mira, "rain or tea"))[0] == "tea in the rain"


async def test_of_lists_that_are_too_long_the_newest_places_are_known(kept: Store, pool: Pool) -> None:
    mira = await kept.user()
    await write(kept, mira, [f"tea at {hour}" for hour in range(9)])
    assert await words(bounded(pool, read=6), mira, "tea or coffee") == ["tea at 8", "tea at 7", "tea at 6"]
    assert await words(bounded(pool, weighed=2), mira, "tea") == ["tea at 8", "tea at 7"]


async def test_likeness_is_taken_of_old_entries_too_that_have_the_words(kept: Store, pool: Pool) -> None:
    mira = await kept.user()
    await write(kept, mira, ["green tea", "old bread", "rain", "snow"])
    memories = bounded(pool, compared=2)

    async def alike(text: str) -> list[str]:
        return [hit.content for hit in (await found(memories, mira, text, embedding=NORTH)).by_vector or ()]

    assert await alike("tea") == ["snow", "rain", "green tea"]
    assert await alike("snow") == ["snow", "rain"]
    assert await alike("nothing of it") == ["snow", "rain"]


async def lists(pool: Pool) -> None:
    """Whether the lists of words have what is in the entries, and nothing else."""
    async with pool.connection() as connection:
        listed = await rows(connection, "SELECT key, position, created_at, expires_at::text FROM memory_terms")
        expected = await rows(
            connection,
            "SELECT hashtextextended(word, memory_shelf(workspace_id, uid, tier)), position, created_at,"
            " coalesce(expires_at, 'infinity')::text FROM memory_entries,"
            " unnest(tsvector_to_array(to_tsvector('english', content))) word",
        )
    assert sorted(map(str, listed)) == sorted(map(str, expected))


async def test_the_lists_of_words_change_with_the_entries(kept: Store, pool: Pool) -> None:
    mira, noor = await kept.user(), await kept.user("noor@example.org")
    await write(kept, mira, ["green tea", "rye bread with butter", "the", "rain"])
    await write(kept, noor, ["green tea", "snow"])
    await lists(pool)
    async with pool.connection() as connection:
        for change in (
            "UPDATE memory_entries SET content = 'black coffee' WHERE content = 'rain'",
            "UPDATE memory_entries SET expires_at = now(), tier = 'workspace' WHERE content = 'snow'",
            "UPDATE memory_entries SET weight = 0.5, touched_at = now()",
            "DELETE FROM memory_entries WHERE content LIKE '%tea'",
            "DELETE FROM workspaces WHERE owner_id IN (SELECT id FROM users WHERE email LIKE 'noor%')",
        ):
            await connection.execute(change.encode())
            await lists(pool)
        assert len(await rows(connection, "SELECT FROM memory_terms")) == 5  # rye, bread, butter, black, coffee


async def test_a_tenant_reads_no_list_and_what_it_deletes_leaves_them(kept: Store, pool: Pool) -> None:
    mira = await kept.user()
    await write(kept, mira, ["green tea"])
    async with pool.connection() as connection, connection.transaction():
        await act_for(connection, Tenant(mira[0].id))
        allowed = await rows(connection, "SELECT has_table_privilege(current_user, 'memory_terms', 'SELECT')")
        assert allowed == [(False,)]
        await rows(connection, "DELETE FROM memory_entries")
    async with pool.connection() as connection:
        assert await rows(connection, "SELECT FROM memory_terms") == []


async def undo_lists(pool: Pool) -> None:
    """As it was before there were any."""
    async with pool.connection() as connection:
        for statement in (
            "DROP TABLE memory_terms",
            "DROP FUNCTION memory_terms_added, memory_terms_removed, memory_terms_changed CASCADE",
            "DROP FUNCTION memory_keys, memory_shelf",
            "DROP INDEX memory_entries_position",
            "CREATE INDEX memory_entries_words ON memory_entries USING gin (words)",
        ):
            await connection.execute(statement.encode())


async def make_lists(pool: Pool) -> None:
    """As bringing the database up to date does it."""
    (step,) = (each for each in load_migrations() if each.name == "0027_memory_terms")
    async with pool.connection() as connection:
        await connection.execute(step.sql.encode(), prepare=False)


async def test_what_was_remembered_before_there_were_lists_is_in_them(kept: Store, pool: Pool) -> None:
    mira = await kept.user()
    await write(kept, mira, ["green tea", "rye bread"])
    await undo_lists(pool)
    await make_lists(pool)
    await lists(pool)
    assert await words(kept.repositories.memories, mira, "teas") == ["green tea"]


async def test_what_another_server_remembers_while_the_lists_are_made_is_in_them(kept: Store, pool: Pool) -> None:
    await write(kept, await kept.user(), ["green tea"])
    await undo_lists(pool)
    columns = "workspace_id, uid, tier, day, category, created_at, weight, embedder, embedding"
    with trio.fail_after(20):
        async with (
            trio.open_nursery() as nursery,
            pool.connection() as looker,
            pool.connection() as other,
            other.transaction(),
        ):
            await rows(
                other,
                f"INSERT INTO memory_entries (id, content, {columns})"
                f" SELECT 'mem_late', 'black coffee', {columns} FROM memory_entries",
            )
            nursery.start_soon(make_lists, pool)
            while not await rows(looker, "SELECT FROM pg_locks WHERE NOT granted"):
                await trio.lowlevel.checkpoint()
    await lists(pool)


async def test_a_list_is_read_from_its_index_alone_and_in_its_order(pool: Pool) -> None:
    async with pool.connection() as connection:
        await connection.execute(b"SET enable_seqscan = off; SET enable_bitmapscan = off", prepare=False)
        plan = await rows(
            connection,
            "EXPLAIN SELECT position FROM memory_terms"
            " WHERE key = 1 AND created_at >= '-infinity' AND expires_at > now()"
            " ORDER BY created_at DESC, position DESC LIMIT 9",
        )
        await connection.execute(b"RESET enable_seqscan; RESET enable_bitmapscan", prepare=False)
    said = " ".join(row[0] for row in plan)
    assert "Index Only Scan Backward using memory_terms_newest" in said
    assert "Sort" not in said
