"""What is promised of what is learned of turns, whoever keeps the rows."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import attrs
import pytest

from tests.support.storage import START, Store, at, closed, opened
from understudy.storage.learning import LEFT_AFTER_A_DAY, STRENGTH_GAINED
from understudy.storage.records import (
    AuditEntry,
    Json,
    MemoryCategory,
    MemoryEntry,
    MemoryHits,
    MemoryTier,
    Session,
    Shelf,
    Usage,
    new_id,
)
from understudy.storage.remembered import Edge, Entity, EntityType, Lesson, Procedure, Relation, Scope
from understudy.storage.spending import Charge

NORTH = (1.0, *[0.0] * 255)


def line() -> AuditEntry:
    return AuditEntry(new_id("aud"), "memory.learned", "info", START)


def entry(session: Session, content: str, tier: MemoryTier = MemoryTier.DAILY, **more: Any) -> MemoryEntry:
    key = session.key
    fields: dict[str, Any] = {
        "category": MemoryCategory.NOTE,
        "embedder": "compass",
        "embedding": NORTH,
        "created_at": START,
    }
    return MemoryEntry(new_id("mem"), key.workspace_id, key.uid, tier, START.date(), content=content, **fields | more)


def thing(session: Session, name: str, fact: str = "", weight: float = 0.5) -> Entity:
    content = f"{name}: {fact}"
    return Entity(entry(session, content, MemoryTier.GRAPH, category="person", weight=weight), name, EntityType.PERSON)


def different(entries: Sequence[MemoryEntry], known: Sequence[str]) -> list[MemoryEntry]:
    said = set(known)
    return [each for each in entries if not (each.content in said or said.add(each.content))]  # type: ignore[func-returns-value]


def merged(before: Json, patch: Json) -> Json:
    return {**before, **patch}


async def ended(store: Store) -> tuple[Session, str]:
    """A session and a turn of it that has ended."""
    session = await store.session()
    return session, await another(store, session)


async def another(store: Store, session: Session) -> str:
    turn = new_id("trn")
    await store.write(opened(session, turn))
    await store.write(closed(session, turn))
    return turn


async def learn(store: Store, session: Session, turn: str, lesson: Lesson, **more: Any) -> int | None:
    given: dict[str, Any] = {"sift": different, "merge": merged, "most_a_day": 9, "now": START} | more
    key = session.key
    return await store.repositories.knowledge.learn(turn, key.workspace_id, key.uid, lesson, line(), **given)


async def search(store: Store, session: Session, text: str, now: datetime = START, **more: Any) -> MemoryHits:
    scope = Scope(session.key.workspace_id, session.key.uid, now)
    given: dict[str, Any] = {"embedder": "compass", "embedding": (), "limit": 9, "least": 0.5, "stale": 0.97}
    return await store.repositories.memories.search(scope, text=text, **given | more)


def texts(entries: Sequence[MemoryEntry]) -> list[str]:
    return [each.content for each in entries]


async def strengths(store: Store, session: Session, *names: str) -> list[float]:
    key = session.key
    known: Mapping[str, Entity] = await store.repositories.knowledge.entities(key.workspace_id, key.uid, names)
    return [round(known[name].entry.weight, 4) for name in names]


async def test_a_lesson_is_learned_once_and_all_of_it_is_found(store: Store) -> None:
    session, turn = await ended(store)
    key, knowledge = session.key, store.repositories.knowledge
    lesson = Lesson(
        daily=(entry(session, "I like tea"),),
        profile={"name": "Mira"},
        entities=(thing(session, "Anna", "leads sales"), thing(session, "Orion", "a project")),
        edges=(Edge("anna", "orion", Relation.PART_OF),),
        procedures=(
            Procedure(
                entry(session, "make tea: boil; pour", MemoryTier.PROCEDURAL, category="procedure"),
                "make tea",
                ("boil", "pour"),
            ),
        ),
    )
    assert not await knowledge.learned(turn)
    assert await learn(store, session, turn, lesson) == 5
    assert await knowledge.learned(turn)
    assert await learn(store, session, turn, lesson) is None
    profile = await store.repositories.memories.profile(key.uid)
    assert profile is not None
    assert profile.content == {"name": "Mira"}
    assert set(texts((await search(store, session, "tea")).by_words)) == {"I like tea", "make tea: boil; pour"}
    assert texts((await search(store, session, "Anna")).by_words) == ["Anna: leads sales"]


async def test_a_turn_that_is_gone_teaches_nothing(store: Store) -> None:
    session, _ = await ended(store)
    assert await learn(store, session, "trn_gone", Lesson(daily=(entry(session, "x"),))) is None
    assert (await search(store, session, "x")).by_words == ()


async def test_what_is_known_already_is_not_written_twice_and_a_day_has_an_end(store: Store) -> None:
    session, turn = await ended(store)
    key = session.key
    tea = (entry(session, "I like tea"), entry(session, "I like tea"))
    assert await learn(store, session, turn, Lesson(daily=tea)) == 1
    second = await another(store, session)
    more = tuple(entry(session, text) for text in ("I like tea", "b", "c", "d"))
    assert await learn(store, session, second, Lesson(daily=more), most_a_day=3) == 2
    shelf = Shelf(key.workspace_id, key.uid, MemoryTier.DAILY, START.date())
    assert texts(await store.repositories.memories.shelf(shelf)) == ["I like tea", "b", "c"]


async def test_a_profile_that_says_so_already_is_no_news(store: Store) -> None:
    session, turn = await ended(store)
    assert await learn(store, session, turn, Lesson(profile={"name": "Mira"})) == 1
    assert await learn(store, session, await another(store, session), Lesson(profile={"name": "Mira"})) == 0


async def test_what_learning_cost_joins_the_bill_once(store: Store) -> None:
    session, turn = await ended(store)
    charge = Charge("openai", "small", Usage(10, 5), START, 7)
    for _ in range(2):
        await learn(store, session, turn, Lesson(), charges=(charge,))
    spent = await store.repositories.costs.spent(session.key.workspace_id, at(-60), at(60))
    assert (spent.total, spent.by_model) == (7, {"openai/small": 7})


async def test_a_thing_that_is_mentioned_again_says_more_and_is_stronger(store: Store) -> None:
    session, turn = await ended(store)
    await learn(store, session, turn, Lesson(entities=(thing(session, "Anna", "leads sales"),)))
    again = Lesson(entities=(thing(session, "ANNA", "leads sales; likes tea"),))
    later = START + timedelta(days=1)
    assert await learn(store, session, await another(store, session), again, now=later) == 0
    assert texts((await search(store, session, "tea")).by_words) == ["ANNA: leads sales; likes tea"]
    assert await strengths(store, session, "anna") == [round(0.5 * LEFT_AFTER_A_DAY + STRENGTH_GAINED, 4)]


async def test_the_graph_is_walked_two_steps_from_what_is_found(store: Store) -> None:
    session, turn = await ended(store)
    names = ("Anna", "Boris", "Clara", "Dora")
    chain = tuple(
        Edge(a, b, Relation.RELATED_TO) for a, b in (("anna", "boris"), ("boris", "clara"), ("clara", "dora"))
    )
    await learn(store, session, turn, Lesson(entities=tuple(thing(session, name) for name in names), edges=chain))
    near = texts((await search(store, session, "Anna")).by_graph)
    assert near[0] == "Boris: "
    assert set(near) == {"Anna: ", "Boris: ", "Clara: "}
    assert (await search(store, session, "nobody")).by_graph == ()


async def test_use_strengthens_and_what_is_too_weak_is_let_go_of(store: Store) -> None:
    session, turn = await ended(store)
    key, knowledge = session.key, store.repositories.knowledge
    anna, orion = thing(session, "Anna"), thing(session, "Orion", weight=1.0)
    lesson = Lesson(entities=(anna, orion), edges=(Edge("anna", "orion", Relation.PART_OF),))
    await learn(store, session, turn, lesson)
    await knowledge.touch(key.workspace_id, "usr_other", [anna.entry.id], now=START)
    await knowledge.touch(key.workspace_id, key.uid, [anna.entry.id, orion.entry.id], now=START)
    assert await strengths(store, session, "anna", "orion") == [0.6, 1.0]
    assert await knowledge.let_go(START + timedelta(days=100)) == (0, 0)
    late = START + timedelta(days=140)  # 0.6 * 0.97 ** 140 < 0.01 < 1.0 * 0.97 ** 140
    assert await knowledge.let_go(late) == (1, 1)
    assert list(await knowledge.entities(key.workspace_id, key.uid, ["anna", "orion"])) == ["orion"]
    assert texts((await search(store, session, "Anna")).by_words) == []


async def test_nobody_elses_knowledge_is_seen_or_changed(store: Store) -> None:
    session, turn = await ended(store)
    stranger, _ = await ended(store)
    await learn(store, session, turn, Lesson(entities=(thing(session, "Anna", "secret"),)))
    knowledge = store.repositories.knowledge
    for workspace_id, uid in (
        (stranger.key.workspace_id, stranger.key.uid),
        (session.key.workspace_id, stranger.key.uid),
        (stranger.key.workspace_id, session.key.uid),
    ):
        assert await knowledge.entities(workspace_id, uid, ["anna"]) == {}
    assert (await search(store, stranger, "Anna secret")).by_words == ()


async def test_a_day_is_thinned_out(store: Store) -> None:
    session, _ = await ended(store)
    key = session.key
    for text in ("a", "b", "a"):
        await store.repositories.memories.add(entry(session, text), line(), most=9)
    knowledge = store.repositories.knowledge
    day = (key.workspace_id, key.uid, START.date())
    assert day in await knowledge.active(at(-60))
    assert await knowledge.active(at(60)) == ()
    assert day not in await knowledge.active(at(-60), after=day)
    assert day in await knowledge.active(at(-60), after=(day[0], day[1], day[2] - timedelta(days=1)))
    assert [await knowledge.thin_out(*day, different) for _ in range(2)] == [1, 0]
    shelf = Shelf(key.workspace_id, key.uid, MemoryTier.DAILY, START.date())
    assert texts(await store.repositories.memories.shelf(shelf)) == ["a", "b"]


async def test_vectors_are_kept_and_those_of_another_embedder_are_renewed(store: Store) -> None:
    index = store.repositories.memory_index
    a, b = b"a" * 32, b"b" * 32
    await index.keep("compass", {a: (1.0, 0.5)}, now=START)
    assert await index.kept("compass", [a, b], now=at(9)) == {a: (1.0, 0.5)}
    assert await index.kept("sextant", [a], now=START) == {}
    assert [await index.forget(at(seconds)) for seconds in (9, 10, 10)] == [0, 1, 0]

    session, _ = await ended(store)
    old, new = entry(session, "old", embedder="", embedding=()), entry(session, "new")
    for each in (old, new):
        await store.repositories.memories.add(each, line(), most=9)
    assert await index.outdated("compass", limit=9) == ((old.id, "old"),)
    assert await index.outdated("compass", limit=9, of=(old.workspace_id, old.uid)) == ((old.id, "old"),)
    assert await index.outdated("compass", limit=9, of=(old.workspace_id, "usr_else")) == ()
    assert await index.outdated("compass", limit=9, of=("ws_else", old.uid)) == ()
    assert (await search(store, session, "?", embedding=NORTH)).by_vector == (attrs.evolve(new, embedding=()),)
    assert await index.renew("compass", {old.id: ("something else", NORTH)}) == 0
    assert await index.renew("compass", {old.id: ("old", NORTH)}) == 1
    assert await index.outdated("compass", limit=9) == ()
    assert texts((await search(store, session, "?", embedding=NORTH)).by_vector or ()) == ["new", "old"]


@pytest.mark.parametrize("name", ["Anna", " anna ", "ANNA!"])
def test_a_name_has_one_form(name: str) -> None:
    assert Entity(None, name, EntityType.PERSON).key == "anna"  # type: ignore[arg-type]


async def test_what_is_written_down_of_a_conversation_is_kept_once_and_paid_once(store: Store) -> None:
    session, _ = await ended(store)
    knowledge, sessions, uid = store.repositories.knowledge, store.repositories.sessions, session.key.uid
    told = await sessions.messages(session.id, limit=9)
    first, last = told[0].id, told[-1].id
    assert await sessions.messages_between(session.id, first, last, uid=uid) == told
    assert await sessions.messages_between(session.id, first, first, uid=uid) == told[:1]
    assert await sessions.messages_between(session.id, first, last, uid="usr_eve") == ()
    assert await sessions.messages_between(session.id, first, "msg_nowhere", uid=uid) == ()
    tea, may = entry(session, "Mira likes tea"), entry(session, "The launch is in May")
    audit = attrs.evolve(line(), uid=uid, workspace_id=session.key.workspace_id)
    charge = Charge("claude", "x", Usage(3, 1), START, 2)
    more: dict[str, Any] = {"sift": different, "most_a_day": 9, "now": START, "charges": (charge,)}
    assert not await knowledge.written_down(last)
    assert await knowledge.write_down(last, (tea, may, tea), audit, **more) == 2
    assert await knowledge.written_down(last)
    assert await knowledge.write_down(last, (entry(session, "again"),), audit, **more) is None
    assert await knowledge.write_down("msg_nowhere", (tea,), audit, **more) is None
    spent = await store.repositories.costs.spent(session.key.workspace_id, START, at(1))
    assert spent.total == 2
