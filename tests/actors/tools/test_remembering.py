"""Tools that remember: on the memory of whoever the turn is of."""

from typing import Any

import msgspec
import pytest

from tests.support.storage import START
from understudy.actors.memory.actor import memory_spec
from understudy.actors.memory_profiles.actor import memory_profiles_spec
from understudy.actors.memory_profiles.messages import (
    MEMORY_PROFILES,
    Author,
    CreateMemoryProfile,
    MemoryConfig,
    TiersEnabled,
)
from understudy.actors.tools.messages import ToolContext, ToolResult
from understudy.actors.tools.remembering import memory_tools
from understudy.actors.tools.toolbox import Toolbox
from understudy.runtime import ActorSystem
from understudy.storage.memory import MemoryStore
from understudy.storage.records import ToolCall, User, Workspace


@pytest.fixture
async def store() -> MemoryStore:
    store = MemoryStore()
    for name in ("mira", "noor"):
        workspace = Workspace(f"ws_{name}", "Personal", f"usr_{name}", "personal", START)
        await store.users.create(User(f"usr_{name}", f"{name}@example.org", "hash", START), workspace)
    return store


async def run(system: ActorSystem, name: str, who: str = "mira", **arguments: Any) -> ToolResult:
    context = ToolContext(f"ws_{who}", f"usr_{who}", "chad", "ses_1", "trn_1")
    call = ToolCall("tc_1", name, msgspec.json.encode(arguments).decode())
    return await Toolbox(memory_tools(system)).run(call, context)


async def test_what_is_written_is_found_by_its_owner_alone(store: MemoryStore) -> None:
    async with ActorSystem("memory tools") as system:
        await system.spawn(memory_spec(store.memories))
        assert (await run(system, "memory_write", content=" I like tea ")).content == "remembered: I like tea"
        assert (await run(system, "note_add", note="Tea at four")).content == "noted, as number 1: Tea at four"
        found = await run(system, "memory_search", query="tea", topK=5)
        assert found.ok
        assert "I like tea (note, " in found.content
        assert "Tea at four" in found.content
        assert (await run(system, "memory_search", "noor", query="tea")).content == "nothing that was remembered fits"
        lines = await store.audit.of_user("usr_mira")
        assert [(line.event, line.agent_id, line.session_id) for line in lines] == [
            ("memory.added", "chad", "ses_1")
        ] * 2


async def test_a_profile_is_patched_and_read_by_its_owner_alone(store: MemoryStore) -> None:
    async with ActorSystem("memory tools") as system:
        await system.spawn(memory_spec(store.memories))
        await run(system, "profile_update", patch={"name": "Mira", "old": 1})
        changed = await run(system, "profile_update", patch={"old": None})
        assert changed.content == 'the profile is now {"name":"Mira"}'
        assert (await run(system, "profile_get")).content == '{"name":"Mira"}'
        assert (await run(system, "profile_get", "noor")).content == "{}"


async def test_what_cannot_be_done_is_said_to_the_model(store: MemoryStore) -> None:
    async with ActorSystem("memory tools") as system:
        assert not (await run(system, "memory_search", query="tea")).ok  # there is no such actor yet
        await system.spawn(memory_spec(store.memories))
        for name, arguments in (
            ("memory_write", {"content": "  "}),
            ("memory_write", {"content": "x" * 2001}),
            ("memory_write", {"content": "x", "category": "gossip"}),
            ("memory_write", {"content": "x", "uid": "usr_noor"}),
            ("memory_search", {"query": "x", "topK": 0}),
            ("profile_update", {"patch": [1]}),
            ("profile_update", {"patch": {"a": "x" * 70_000}}),
        ):
            assert not (await run(system, name, **arguments)).ok
        store.tables.available = False
        away = await run(system, "memory_search", query="tea")
        assert (away.ok, away.content) == (False, "the database is away; try again")


async def test_what_is_told_to_a_workspace_is_known_to_its_members_and_told_as_a_fact(store: MemoryStore) -> None:
    async with ActorSystem("memory tools") as system:
        await system.spawn(memory_spec(store.memories))
        await run(system, "memory_write", content="my own tea")
        told = await run(system, "workspace_memory_write", content="All tea is green", type="decision")
        assert told.content == "everybody in the workspace knows now: All tea is green"
        colleague = ToolContext("ws_mira", "usr_noor", "chad", "ses_2", "trn_2")
        call = ToolCall("tc_1", "workspace_memory_search", '{"query": "tea"}')
        found = await Toolbox(memory_tools(system)).run(call, colleague)
        assert found.content.startswith("- All tea is green (decision, ")
        assert "my own" not in found.content
        assert (await run(system, "workspace_memory_search", "noor", query="tea")).content.startswith("nothing")
        assert not (await run(system, "workspace_memory_write", content="x", type="gossip")).ok
        assert [outgoing.item.topic for outgoing in store.tables.outbox.values()] == ["memory.propagated"]


async def test_what_an_agent_writes_expires_and_what_it_searches_is_by_its_memory_profile(store: MemoryStore) -> None:
    author = Author("ws_mira", "usr_mira")
    async with ActorSystem("memory tools") as system:
        await system.spawn(memory_spec(store.memories))
        await system.spawn(memory_profiles_spec(store.memory_profiles))
        config = MemoryConfig(ttl_days=3, tiers_enabled=TiersEnabled(daily=False))
        made = await system.ask(MEMORY_PROFILES, CreateMemoryProfile(author, "brief", None, config))
        context = ToolContext("ws_mira", "usr_mira", "chad", "ses_1", "trn_1", memory_profile_id=made.id)
        write = ToolCall("tc_1", "memory_write", '{"content": "I like tea"}')
        assert (await Toolbox(memory_tools(system)).run(write, context)).ok
        (entry,) = store.tables.memories.values()
        assert entry.expires_at is not None
        assert (entry.expires_at - entry.created_at).days == 3
        search = ToolCall("tc_2", "memory_search", '{"query": "tea"}')
        found = await Toolbox(memory_tools(system)).run(search, context)
        assert found.content == "nothing that was remembered fits"
        assert "I like tea" in (await run(system, "memory_search", query="tea")).content
