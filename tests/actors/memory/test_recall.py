"""What a prompt is told of the user, when it asks."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from trio.testing import wait_all_tasks_blocked

from tests.support.storage import START
from understudy.actors.agents.actor import agents_spec
from understudy.actors.errors import ProviderFailed
from understudy.actors.memory.actor import memory_spec
from understudy.actors.memory.messages import MEMORY, Owner, Remember, SearchMemory, UpdateProfile
from understudy.actors.memory.recall import Recall
from understudy.actors.memory.vectors import Vectors
from understudy.actors.memory_profiles.actor import memory_profiles_spec
from understudy.actors.memory_profiles.messages import (
    MEMORY_PROFILES,
    AssignMemoryProfile,
    Author,
    CreateMemoryProfile,
    MemoryConfig,
    TiersEnabled,
)
from understudy.actors.session.context import SUFFIX
from understudy.runtime import ActorSystem
from understudy.storage.memory import MemoryStore
from understudy.storage.records import (
    MemoryCategory,
    MemoryEntry,
    MemoryTier,
    Message,
    Role,
    Session,
    SessionKey,
    SessionStatus,
    User,
    Workspace,
)

KEY = SessionKey("ws_1", "usr_1", "chad", "chat", "main")
OWNER = Owner("ws_1", "usr_1")


@pytest.fixture
async def store() -> MemoryStore:
    store = MemoryStore()
    workspace = Workspace("ws_1", "Personal", "usr_1", "personal", START)
    await store.users.create(User("usr_1", "mira@example.org", "hash", START), workspace)
    return store


async def test_a_prompt_is_told_what_it_asks_for_and_no_more(store: MemoryStore) -> None:
    async with ActorSystem("recall") as system:
        await system.spawn(memory_spec(store.memories))
        written = await system.ask(MEMORY, Remember(OWNER, "I like {{user.id}} tea"))
        await system.ask(MEMORY, Remember(OWNER, "zebras graze"))
        profile = {"name": "Mira", "likes": {"drink": ["tea"]}, "empty": None}
        await system.ask(MEMORY, UpdateProfile(OWNER, profile, merge=False))
        recall = Recall(system)
        assert await recall("{{date}} {{user.id}}", KEY, "what do I like?") == {}
        assert await recall("{{user.profile.name}}{{user.profile.likes.drink}}{{user.profile.x.y}}", KEY, "?") == {
            "user.profile.name": "Mira",
            "user.profile.likes.drink": '["tea"]',
            "user.profile.x.y": "",
        }
        known = await recall("{{#if memory}}{{memory}}{{/if}}", KEY, "which tea do I like?")
        assert known["memory"].split("\n") == [
            'What is known of the user: {"name":"Mira","likes":{"drink":["tea"]},"empty":null}',
            f"- I like {{{{user.id}}}} tea (note, {written.day})",
        ]
        stranger = SessionKey("ws_2", "usr_2", "chad", "chat", "main")
        assert await recall("{{memory}}", stranger, "tea") == {"memory": ""}


async def test_a_turn_goes_on_without_memory_when_it_is_away(
    store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    async with ActorSystem("recall") as system:
        recall = Recall(system)
        with caplog.at_level(logging.WARNING):
            assert await recall("{{memory}}", KEY, "tea") == {}
            await system.spawn(memory_spec(store.memories))
            store.tables.available = False
            assert await recall("{{memory}}", KEY, "tea") == {}
        assert len([line for line in caplog.messages if "goes on without" in line]) == 2


async def test_a_memory_profile_decides_what_a_prompt_is_told(store: MemoryStore) -> None:
    author = Author("ws_1", "usr_1")
    template, asked = "{{memory}}|{{user.profile.name}}", "which tea did we decide on?"
    async with ActorSystem("recall") as system:
        await system.spawn(memory_spec(store.memories))
        await system.spawn(memory_profiles_spec(store.memory_profiles))
        await system.spawn(agents_spec("builtin/rehearsal", store))
        for number in range(3):
            await system.ask(MEMORY, Remember(OWNER, f"we decided on tea {number}", MemoryCategory.DECISION))
        await system.ask(MEMORY, UpdateProfile(OWNER, {"name": "Mira"}, merge=False))
        recall = Recall(system)

        async def told(**config: Any) -> Mapping[str, str]:
            made = await system.ask(
                MEMORY_PROFILES, CreateMemoryProfile(author, str(config)[:100], None, MemoryConfig(**config))
            )
            # as the agent's configuration names it, and as it is assigned: the latter counts
            named = await recall(template, KEY, asked, made.id)
            await system.ask(MEMORY_PROFILES, AssignMemoryProfile(author, "chad", made.id))
            assigned = await recall(template, KEY, asked, "mpr_unknown")
            await system.ask(MEMORY_PROFILES, AssignMemoryProfile(author, "chad", None))
            assert named == assigned
            return named

        assert (await told())["memory"].count("decided") == 3
        assert (await told(max_context_chunks=2))["memory"].count("decided") == 2
        assert (await told(min_relevance_score=1.0))["memory"].count("decided") == 1
        assert "decided" not in (await told(tiers_enabled=TiersEnabled(daily=False)))["memory"]
        hidden = await told(tiers_enabled=TiersEnabled(profile=False))
        assert hidden["user.profile.name"] == ""
        assert "Mira" not in hidden["memory"]
        ended = await told(system_prompt_suffix="Answer briefly.")
        assert ended[SUFFIX] == "Answer briefly."
        assert SUFFIX not in await recall(template, KEY, asked)


async def test_what_is_said_at_the_moment_is_not_recalled_but_earlier_sessions_are(store: MemoryStore) -> None:
    async with ActorSystem("recall") as system:
        await system.spawn(memory_spec(store.memories))
        for name in ("earlier", "present"):
            store.tables.sessions[name] = Session(name, KEY, SessionStatus.ACTIVE, START, START)
            store.tables.messages[name] = Message(name, name, "trn", Role.USER, f"{name} tea", START)
        known = await Recall(system)("{{memory}}", KEY, "tea?", None, "present")
        assert known["memory"] == f"- earlier tea (interaction, {START.date()})"


async def test_what_the_graph_is_asked_for_grows_stronger_beside_the_answer(store: MemoryStore) -> None:
    entry = MemoryEntry("mem_1", "ws_1", "usr_1", MemoryTier.GRAPH, START.date(), "person", "Anna (person)", START, 0.5)
    store.tables.memories["mem_1"] = entry
    async with ActorSystem("recall") as system:
        await system.spawn(memory_spec(store.memories, lambda: START, strength=store.knowledge))
        await system.ask(MEMORY, SearchMemory(OWNER, "Anna"))
        assert store.tables.memories["mem_1"].weight == 0.5
        found = await system.ask(MEMORY, SearchMemory(OWNER, "Anna", for_model=True))
        assert [hit.entry.weight for hit in found.results] == [0.5]
        await wait_all_tasks_blocked()
        assert store.tables.memories["mem_1"].weight == pytest.approx(0.6)


async def test_without_an_embedder_it_is_found_by_words_and_said_so(store: MemoryStore) -> None:
    class Broken:
        name, least = "remote/broken", 0.1

        async def embed(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
            raise ProviderFailed("the embedder is on fire")

    async with ActorSystem("recall") as system:
        await system.spawn(memory_spec(store.memories, vectors=Vectors(Broken())))
        await system.ask(MEMORY, Remember(OWNER, "green tea"))
        found = await system.ask(MEMORY, SearchMemory(OWNER, "tea"))
        assert [(hit.entry.content, hit.sources, hit.score) for hit in found.results] == [("green tea", ("bm25",), 1.0)]
        assert found.embedder is None
        assert "on fire" in str((await system.inspect(MEMORY))["vectors"])
        assert store.tables.memories[found.results[0].entry.id].embedder == ""
