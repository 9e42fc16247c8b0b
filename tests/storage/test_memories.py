"""What is promised of memories, whoever keeps the rows."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import attrs
import pytest
import trio

from tests.support.storage import START, Store, at, closed, message, opened
from understudy.storage.entries import Published
from understudy.storage.errors import StoreConflict, Unstorable
from understudy.storage.migrate import load_migrations
from understudy.storage.pool import Pool
from understudy.storage.records import (
    AuditEntry,
    Json,
    MemoryCategory,
    MemoryEntry,
    MemoryHits,
    MemoryTier,
    Shelf,
    User,
    Workspace,
    new_id,
)
from understudy.storage.remembered import Scope
from understudy.storage.repositories import Repositories

Owner = tuple[User, Workspace]


def vector(*values: float) -> tuple[float, ...]:
    return (*values, *[0.0] * (256 - len(values)))


TOLD = Published("evt_1", "memory.propagated", None, b"{}", START)
NORTH, EAST = vector(1.0), vector(0.0, 1.0)


def line() -> AuditEntry:
    return AuditEntry(new_id("aud"), "memory.changed", "info", START)


def entry(owner: Owner, content: str, days: float = 0, **more: Any) -> MemoryEntry:
    user, workspace = owner
    written = at(days * 86400)
    given = {"tier": MemoryTier.DAILY, "category": MemoryCategory.NOTE, "embedder": "compass", "embedding": NORTH}
    return MemoryEntry(
        new_id("mem"), workspace.id, user.id, day=written.date(), content=content, created_at=written, **given | more
    )


def daily(owner: Owner, days: int = 0) -> Shelf:
    return Shelf(owner[1].id, owner[0].id, MemoryTier.DAILY, (START + timedelta(days=days)).date())


async def added(store: Store, *entries: MemoryEntry) -> None:
    for each in entries:
        await store.repositories.memories.add(each, line(), most=100)


async def found(store: Store, owner: Owner, text: str, *, least: float = 0.5, **more: Any) -> MemoryHits:
    about = {name: more.pop(name) for name in ("tiers", "faded", "besides", "now") if name in more}
    scope = attrs.evolve(Scope(owner[1].id, owner[0].id, START), **about)
    given: dict[str, Any] = {"text": text, "embedder": "compass", "embedding": NORTH, "limit": 50, "least": least}
    return await store.repositories.memories.search(scope, **given | {"stale": 0.97} | more)


def texts(entries: tuple[MemoryEntry, ...] | None) -> list[str]:
    assert entries is not None
    return [each.content for each in entries]


def setting(**values: object) -> Callable[[Json], Json]:
    return lambda before: {**before, **values}


async def test_a_profile_is_changed_from_what_it_was_and_read_as_it_was_written(store: Store) -> None:
    user, _ = await store.user()
    memories = store.repositories.memories
    assert await memories.profile(user.id) is None
    await memories.change_profile(user.id, setting(z="Ümläut \U0001f642", a=[1, None]), line(), now=at(1))
    changed = await memories.change_profile(user.id, setting(a={"deep": 0.1}), line(), now=at(2))
    assert (list(changed.content), changed.updated_at) == (["z", "a"], at(2))
    assert changed == await memories.profile(user.id)
    assert len(await store.repositories.audit.of_user("nobody")) == 0


async def test_changes_of_one_profile_at_once_all_count(store: Store) -> None:
    user, _ = await store.user()

    async def change(number: int) -> None:
        await store.repositories.memories.change_profile(user.id, setting(**{f"k{number}": number}), line(), now=START)

    async with trio.open_nursery() as nursery:
        for number in range(6):
            nursery.start_soon(change, number)
    profile = await store.repositories.memories.profile(user.id)
    assert profile is not None
    assert profile.content == {f"k{number}": number for number in range(6)}


async def test_a_change_that_is_refused_changes_nothing(store: Store) -> None:
    user, _ = await store.user()

    def refuse(_: Json) -> Json:
        raise StoreConflict("size")

    with pytest.raises(StoreConflict):
        await store.repositories.memories.change_profile(user.id, refuse, line(), now=START)
    assert await store.repositories.memories.profile(user.id) is None
    with pytest.raises(Unstorable):
        await store.repositories.memories.change_profile("usr_nobody", setting(a=1), line(), now=START)


async def test_entries_keep_their_order_and_days_come_newest_first(store: Store) -> None:
    mira = await store.user()
    first, second, later = entry(mira, "first"), entry(mira, "second"), entry(mira, "later", days=2)
    await added(store, first, later, second, entry(mira, "a note", tier=MemoryTier.NOTES))
    memories = store.repositories.memories
    assert await memories.shelf(daily(mira)) == tuple(attrs.evolve(each, embedding=()) for each in (first, second))
    assert texts(await memories.days(mira[1].id, mira[0].id, since=first.day)) == ["later", "first", "second"]
    assert texts(await memories.days(mira[1].id, mira[0].id, since=later.day)) == ["later"]
    assert texts(await memories.shelf(Shelf(mira[1].id, mira[0].id, MemoryTier.NOTES))) == ["a note"]


async def test_an_entry_is_added_once_and_only_while_there_is_room(store: Store) -> None:
    mira = await store.user()
    memories = store.repositories.memories
    one = entry(mira, "one")
    for _ in range(2):
        assert texts(await memories.add(one, line(), most=1)) == ["one"]
    with pytest.raises(StoreConflict):
        await memories.add(entry(mira, "two"), line(), most=1)
    assert texts(await memories.add(entry(mira, "tomorrow", days=1), line(), most=1)) == ["tomorrow"]


async def test_of_many_that_take_the_last_place_at_once_one_does(store: Store) -> None:
    mira = await store.user()
    refusals = []

    async def add() -> None:
        try:
            await store.repositories.memories.add(entry(mira, "me"), line(), most=1)
        except StoreConflict as conflict:
            refusals.append(conflict.what)

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(add)
    assert refusals == ["number of entries"] * 4


async def test_an_entry_is_deleted_by_its_place_or_its_id_and_once(store: Store) -> None:
    mira = await store.user()
    memories, shelf = store.repositories.memories, daily(mira)
    a, b, c = (entry(mira, name) for name in "abc")
    await added(store, a, b, c)
    audit = line()
    assert texts(await memories.remove(shelf, 1, audit)) == ["a", "c"]
    assert texts(await memories.remove(shelf, 1, audit)) == ["a", "c"]  # the same request, its first answer lost
    assert await memories.remove(shelf, 2, line()) is None
    assert await memories.remove(shelf, -1, line()) is None
    assert await memories.remove(shelf, b.id, line()) is None
    with pytest.raises(StoreConflict):
        await memories.remove(shelf, 0, line(), expected=(a.id, b.id, c.id))
    assert texts(await memories.remove(shelf, c.id, line(), expected=(a.id, c.id))) == ["a"]
    assert texts((await found(store, mira, "c")).by_vector) == ["a"]


async def test_an_entry_of_any_tier_is_forgotten_by_its_person_alone(store: Store) -> None:
    mira, noor = await store.user(), await store.user("noor@example.org")
    memories = store.repositories.memories
    thing = entry(mira, "Anna", tier=MemoryTier.NOTES)
    await added(store, thing)
    for workspace_id, uid in ((mira[1].id, noor[0].id), (noor[1].id, mira[0].id)):
        assert not await memories.forget(workspace_id, uid, thing.id, line())
    audit = line()
    assert [await memories.forget(mira[1].id, mira[0].id, thing.id, audit) for _ in range(2)] == [True, True]
    assert not await memories.forget(mira[1].id, mira[0].id, thing.id, line())
    assert (await found(store, mira, "Anna")).by_words == ()


async def test_nobody_elses_memories_are_seen_found_or_deleted(store: Store) -> None:
    mira, noor = await store.user(), await store.user("noor@example.org")
    secret = entry(mira, "the secret is tea")
    await added(store, secret)
    memories = store.repositories.memories
    for uid, workspace_id in ((noor[0].id, noor[1].id), (noor[0].id, mira[1].id), (mira[0].id, noor[1].id)):
        stranger = Shelf(workspace_id, uid, MemoryTier.DAILY, secret.day)
        assert await memories.shelf(stranger) == ()
        assert await memories.days(workspace_id, uid, since=secret.day) == ()
        assert await memories.remove(stranger, 0, line()) is None
        assert await memories.remove(stranger, secret.id, line()) is None
        hits = await memories.search(
            Scope(workspace_id, uid, START),
            text="secret tea",
            embedder="compass",
            embedding=NORTH,
            limit=9,
            least=0,
            stale=1,
        )
        assert hits == MemoryHits((), ())
    assert await memories.profile(noor[0].id) is None
    assert texts(await memories.shelf(daily(mira))) == ["the secret is tea"]


async def test_words_find_entries_with_any_of_them_and_the_best_first(store: Store) -> None:
    mira = await store.user()
    await added(store, entry(mira, "Coffee is for guests"), entry(mira, "I like green tea"), entry(mira, "Rain today"))
    assert texts((await found(store, mira, "what teas do I like? coffee?")).by_words) == [
        "I like green tea",
        "Coffee is for guests",
    ]
    assert (await found(store, mira, "what do I")).by_words == ()
    assert (await found(store, mira, "'(&|!:* \\")).by_words == ()


async def test_likeness_finds_what_points_the_same_way_by_the_same_embedder(store: Store) -> None:
    mira = await store.user()
    await added(
        store,
        entry(mira, "almost", embedding=vector(3.0, 1.0)),
        entry(mira, "exactly", embedding=vector(0.5)),
        entry(mira, "east", embedding=EAST),
        entry(mira, "nowhere", embedding=vector()),
        entry(mira, "strange", embedder="sextant", embedding=(1.0,)),
    )
    assert texts((await found(store, mira, "x")).by_vector) == ["exactly", "almost"]
    assert texts((await found(store, mira, "x", limit=1)).by_vector) == ["exactly"]
    assert (await found(store, mira, "x", embedding=vector())).by_vector == ()


async def test_faded_daily_entries_can_be_left_out_and_notes_do_not_fade(store: Store) -> None:
    mira = await store.user()
    await added(
        store, entry(mira, "old tea"), entry(mira, "new tea", days=9), entry(mira, "noted tea", tier=MemoryTier.NOTES)
    )
    hits = await found(store, mira, "tea", faded=at(5 * 86400))
    assert set(texts(hits.by_words)) == set(texts(hits.by_vector)) == {"new tea", "noted tea"}
    assert len((await found(store, mira, "tea")).by_words) == 3


async def test_a_server_without_pgvector_finds_by_words_and_says_so_until_it_has_it(pool: Pool) -> None:
    repositories = Repositories.on(pool)
    user = User(new_id("usr"), "mira@example.org", "hash", START)
    workspace = Workspace(new_id("ws"), "Personal", user.id, "personal", START)
    await repositories.users.create(user, workspace)
    async with pool.connection() as connection:
        await connection.execute("DROP EXTENSION vector CASCADE")
    await repositories.memories.add(entry((user, workspace), "green tea"), line(), most=9)

    async def search() -> MemoryHits:
        return await repositories.memories.search(
            Scope(workspace.id, user.id, START),
            text="tea",
            embedder="compass",
            embedding=NORTH,
            limit=9,
            least=0.5,
            stale=1,
        )

    hits = await search()
    assert (texts(hits.by_words), hits.by_vector) == (["green tea"], None)
    async with pool.connection() as connection:
        await connection.execute("CREATE EXTENSION vector")
    assert texts((await search()).by_vector) == ["green tea"]


async def test_a_role_that_may_not_add_pgvector_still_gets_its_tables(pool: Pool) -> None:
    (step,) = (each for each in load_migrations() if each.name == "0007_memory")
    async with pool.connection() as connection:
        for statement in (
            "DROP TABLE memory_entries, user_profiles CASCADE",
            "DROP EXTENSION vector CASCADE",
            "DROP ROLE IF EXISTS understudy_plain",
            "CREATE ROLE understudy_plain",
            "GRANT ALL ON SCHEMA public TO understudy_plain",
            "GRANT REFERENCES ON users, workspaces TO understudy_plain",
            "SET ROLE understudy_plain",
        ):
            await connection.execute(statement.encode())
        await connection.execute(step.sql.encode(), prepare=False)
        extension = await connection.execute(b"SELECT count(*) FROM pg_extension WHERE extname = 'vector'")
        assert await extension.fetchone() == (0,)
        rows = await connection.execute(b"SELECT count(*) FROM memory_entries")
        assert await rows.fetchone() == (0,)
        await connection.execute(b"RESET ROLE")
        await connection.execute(b"DROP OWNED BY understudy_plain")
        await connection.execute(b"DROP ROLE understudy_plain")


async def test_what_has_expired_is_not_found_and_then_deleted(store: Store) -> None:
    mira = await store.user()
    brief, lasting = entry(mira, "brief tea", expires_at=at(60)), entry(mira, "lasting tea")
    await added(store, brief, lasting)
    assert len((await found(store, mira, "tea", now=at(59))).by_words) == 2
    late = await found(store, mira, "tea", now=at(60))
    assert texts(late.by_words) == texts(late.by_vector) == ["lasting tea"]
    assert [await store.repositories.memories.expire(at(60)) for _ in range(2)] == [1, 0]
    assert texts(await store.repositories.memories.shelf(daily(mira))) == ["lasting tea"]


async def test_a_tier_that_is_left_out_is_not_searched(store: Store) -> None:
    mira = await store.user()
    await added(store, entry(mira, "daily tea"), entry(mira, "noted tea", tier=MemoryTier.NOTES))
    hits = await found(store, mira, "tea", tiers=frozenset({MemoryTier.NOTES}))
    assert texts(hits.by_words) == texts(hits.by_vector) == ["noted tea"]


async def test_what_a_workspace_shares_its_members_find_and_nobody_else(store: Store) -> None:
    mira, noor, vera = [await store.user(f"{name}@example.org") for name in ("mira", "noor", "vera")]
    shared = entry(mira, "ship the tea", tier=MemoryTier.WORKSPACE, category="decision")
    memories = store.repositories.memories
    for _ in range(2):
        await memories.share(shared, line(), TOLD, most=1)
    with pytest.raises(StoreConflict):
        await memories.share(entry(mira, "more", tier=MemoryTier.WORKSPACE), line(), TOLD, most=1)
    (told,) = await store.repositories.outbox.claim(9, now=START, lease=timedelta(seconds=1))
    assert told.id == TOLD.id
    colleague = (noor[0], mira[1])
    for reader in (mira, colleague):
        hits = await found(store, reader, "tea")
        assert texts(hits.by_words) == texts(hits.by_vector) == ["ship the tea"]
    for stranger in (vera, (mira[0], vera[1])):
        assert await found(store, stranger, "tea") == MemoryHits((), ())
    assert await memories.shelf(daily(mira)) == ()


async def test_what_was_said_is_found_by_its_person_and_not_the_session_that_asks(store: Store) -> None:
    session = await store.session()
    turn = opened(session, message=message(session, "trn_1", content="I like green tea"), turn_id="trn_1")
    await store.write(turn)
    await store.write(closed(session, "trn_1"))
    user = User(session.key.uid, "x@example.org", "hash", START)
    mine = (user, Workspace(session.key.workspace_id, "w", user.id, "personal", START))
    (said,) = (await found(store, mine, "which teas?")).said
    assert (said.content, said.tier, said.created_at) == ("I like green tea", MemoryTier.SESSION, START)
    assert (await found(store, mine, "tea", besides=session.id)).said == ()
    assert (await found(store, mine, "tea", tiers=frozenset({MemoryTier.DAILY}))).said == ()
    assert (await found(store, await store.user(), "tea")).said == ()


async def test_the_index_of_vectors_is_all_that_a_search_reads_of_them(pool: Pool) -> None:
    async with pool.connection() as connection:
        await connection.execute(b"SET enable_seqscan = off")
        cursor = await connection.execute(
            b"EXPLAIN SELECT id, position, near FROM memory_entries WHERE bucket = 1 AND near IS NOT NULL"
            b" AND tier = ANY ('{daily}') AND created_at > now() AND expires_at IS NULL ORDER BY position DESC LIMIT 9"
        )
        plan = " ".join(row[0] for row in await cursor.fetchall())
        await connection.execute(b"RESET enable_seqscan")
    assert "Index Only Scan Backward using memory_entries_near" in plan
    assert "Sort" not in plan
