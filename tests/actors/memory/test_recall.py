"""What a prompt is told of the user, when it asks."""

import logging

import pytest

from tests.support.storage import START
from understudy.actors.memory.actor import memory_spec
from understudy.actors.memory.messages import MEMORY, Owner, Remember, UpdateProfile
from understudy.actors.memory.recall import Recall
from understudy.runtime import ActorSystem
from understudy.storage.memory import MemoryStore
from understudy.storage.records import SessionKey, User, Workspace

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
