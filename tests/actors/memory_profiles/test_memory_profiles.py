"""The actor that knows how each agent remembers: from what is at hand, and at once after a change."""

from collections.abc import AsyncIterator

import attrs
import pytest
import trio
from trio.testing import MockClock

from tests.support.storage import START
from understudy.actors.agents.actor import agents_spec
from understudy.actors.errors import Conflict, Invalid, NotFound, Unavailable
from understudy.actors.memory.recall import memory_config
from understudy.actors.memory_profiles.actor import MAX_AGE, memory_profiles_spec
from understudy.actors.memory_profiles.messages import (
    DEFAULTS,
    MEMORY_PROFILES,
    AssignMemoryProfile,
    Author,
    ChangeMemoryProfile,
    CreateMemoryProfile,
    DeleteMemoryProfile,
    MemoryConfig,
    ResolveMemory,
)
from understudy.runtime import ActorSystem
from understudy.storage.memory import MemoryStore
from understudy.storage.records import SessionKey, User, Workspace

MIRA = Author("ws_1", "usr_1")
RESOLVE = ResolveMemory("ws_1", "chad")
BRIEF = MemoryConfig(max_context_chunks=3)


@attrs.frozen
class Stage:
    system: ActorSystem
    store: MemoryStore

    async def made(self, name: str = "brief", config: MemoryConfig = BRIEF) -> str:
        return (await self.system.ask(MEMORY_PROFILES, CreateMemoryProfile(MIRA, name, None, config))).id

    async def assign(self, profile_id: str | None) -> None:
        await self.system.ask(MEMORY_PROFILES, AssignMemoryProfile(MIRA, "chad", profile_id))

    async def resolved(self, message: ResolveMemory = RESOLVE) -> MemoryConfig:
        return await self.system.ask(MEMORY_PROFILES, message)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    store = MemoryStore(lambda: START)
    for number in ("1", "2"):
        workspace = Workspace(f"ws_{number}", "Personal", f"usr_{number}", "personal", START)
        await store.users.create(User(f"usr_{number}", f"{number}@example.org", "hash", START), workspace)
    with trio.fail_after(3600):
        async with ActorSystem("memory profiles") as system:
            await system.spawn(agents_spec("builtin/rehearsal", store))
            await system.spawn(memory_profiles_spec(store.memory_profiles))
            yield Stage(system, store)


async def test_a_change_holds_at_once_and_another_nodes_within_half_a_minute(
    autojump_clock: MockClock, stage: Stage
) -> None:
    assert await stage.resolved() == DEFAULTS
    profile = await stage.made()
    await stage.assign(profile)
    assert await stage.resolved() == BRIEF
    wide = MemoryConfig(max_context_chunks=99)
    await stage.system.ask(MEMORY_PROFILES, ChangeMemoryProfile(MIRA, profile, config=wide))
    assert await stage.resolved() == wide
    stage.store.tables.memory_assignments.clear()  # as another node does
    assert await stage.resolved() == wide
    await trio.sleep(MAX_AGE + 1)
    assert await stage.resolved() == DEFAULTS


async def test_a_profile_that_is_deleted_is_nobodys(stage: Stage) -> None:
    profile = await stage.made()
    await stage.assign(profile)
    assert await stage.resolved() == BRIEF
    await stage.system.ask(MEMORY_PROFILES, DeleteMemoryProfile(MIRA, profile))
    assert await stage.resolved() == DEFAULTS
    for refused in (DeleteMemoryProfile(MIRA, profile), ChangeMemoryProfile(MIRA, profile)):
        with pytest.raises(NotFound):
            await stage.system.ask(MEMORY_PROFILES, refused)


async def test_what_an_agents_configuration_names_counts_while_nothing_is_assigned_and_only_here(stage: Stage) -> None:
    profile = await stage.made()
    assert await stage.resolved(ResolveMemory("ws_1", "chad", profile)) == BRIEF
    assert await stage.resolved(ResolveMemory("ws_2", "chad", profile)) == DEFAULTS
    await stage.assign(await stage.made("other", DEFAULTS))
    assert await stage.resolved(ResolveMemory("ws_1", "chad", profile)) == DEFAULTS


async def test_what_is_wrong_is_refused(stage: Stage) -> None:
    await stage.made()
    for name in ("", "  ", "x" * 101):
        with pytest.raises(Invalid):
            await stage.made(name)
    with pytest.raises(Conflict):
        await stage.made(" brief ")
    with pytest.raises(NotFound):
        await stage.assign("mpr_unknown")


async def test_without_the_store_what_is_at_hand_still_counts_and_a_turn_goes_by_the_defaults(stage: Stage) -> None:
    await stage.assign(await stage.made())
    assert await stage.resolved() == BRIEF
    stage.store.tables.available = False
    assert await stage.resolved() == BRIEF
    with pytest.raises(Unavailable):
        await stage.resolved(ResolveMemory("ws_2", "chad"))
    assert await memory_config(stage.system, SessionKey("ws_2", "usr_2", "chad", "chat", "main")) == DEFAULTS
