"""What is promised of memory profiles, whoever keeps the rows."""

from typing import Any

import pytest
import trio

from tests.support.storage import START, Store, at
from understudy.storage.errors import StoreConflict
from understudy.storage.memory_profiles import MOST_PROFILES
from understudy.storage.records import AuditEntry, Workspace, new_id
from understudy.storage.remembered import MemoryProfile


def line() -> AuditEntry:
    return AuditEntry(new_id("aud"), "memory_profile.changed", "info", START)


def profile(workspace: Workspace, name: str, **more: Any) -> MemoryProfile:
    fields: dict[str, Any] = {"description": None, "config": {"ttlDays": 3}, "created_at": START, "updated_at": START}
    return MemoryProfile(new_id("mpr"), workspace.id, name, **fields | more)


async def test_profiles_are_kept_and_listed_by_name(store: Store) -> None:
    _, workspace = await store.user()
    profiles = store.repositories.memory_profiles
    wide, lean = profile(workspace, "wide"), profile(workspace, "lean", description="quick")
    for each in (wide, lean, lean):
        await profiles.create(each, line())
    assert await profiles.list(workspace.id) == (lean, wide)
    assert await profiles.find(workspace.id, lean.id) == lean
    changed = MemoryProfile(lean.id, workspace.id, "leaner", None, {"ttlDays": None}, START, at(9))
    assert await profiles.replace(changed, line()) == changed
    assert await profiles.find(workspace.id, lean.id) == changed


async def test_a_name_is_one_of_a_kind_in_its_workspace(store: Store) -> None:
    _, here = await store.user()
    _, there = await store.user("noor@example.org")
    profiles = store.repositories.memory_profiles
    lean, wide = profile(here, "lean"), profile(here, "wide")
    for each in (lean, wide, profile(there, "lean")):
        await profiles.create(each, line())
    for refused in (
        profiles.create(profile(here, "lean"), line()),
        profiles.replace(MemoryProfile(wide.id, here.id, "lean", None, {}, START, START), line()),
    ):
        with pytest.raises(StoreConflict) as caught:
            await refused
        assert caught.value.what == "memory profile name"
    assert await profiles.find(here.id, wide.id) == wide


async def test_of_many_that_take_the_last_place_at_once_one_does(store: Store) -> None:
    _, workspace = await store.user()
    profiles = store.repositories.memory_profiles
    for number in range(MOST_PROFILES - 1):
        await profiles.create(profile(workspace, f"p{number}"), line())
    refusals = []

    async def create(name: str) -> None:
        try:
            await profiles.create(profile(workspace, name), line())
        except StoreConflict as conflict:
            refusals.append(conflict.what)

    async with trio.open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(create, name)
    assert refusals == ["number of memory profiles"] * 2


async def test_an_agent_has_the_profile_last_given_to_it_until_that_is_deleted(store: Store) -> None:
    _, workspace = await store.user()
    profiles = store.repositories.memory_profiles
    lean, wide = profile(workspace, "lean"), profile(workspace, "wide")
    for each in (lean, wide):
        await profiles.create(each, line())
    assert await profiles.assigned(workspace.id, "chad") is None
    for each in (lean, wide):
        assert await profiles.assign(workspace.id, "chad", each.id, line(), now=START)
        assert await profiles.assigned(workspace.id, "chad") == each
    assert await profiles.assigned(workspace.id, "other") is None
    audit = line()
    assert await profiles.delete(workspace.id, wide.id, audit)
    assert await profiles.delete(workspace.id, wide.id, audit)  # the same request, its first answer lost
    assert not await profiles.delete(workspace.id, wide.id, line())
    assert await profiles.assigned(workspace.id, "chad") is None
    await profiles.assign(workspace.id, "chad", lean.id, line(), now=START)
    assert await profiles.assign(workspace.id, "chad", None, line(), now=START)
    assert await profiles.assigned(workspace.id, "chad") is None
    assert not await profiles.assign(workspace.id, "chad", "mpr_unknown", line(), now=START)


async def test_nobody_elses_profiles_are_seen_changed_or_given(store: Store) -> None:
    _, mine = await store.user()
    _, theirs = await store.user("noor@example.org")
    profiles = store.repositories.memory_profiles
    lean = profile(mine, "lean")
    await profiles.create(lean, line())
    assert await profiles.list(theirs.id) == ()
    assert await profiles.find(theirs.id, lean.id) is None
    stolen = MemoryProfile(lean.id, theirs.id, "stolen", None, {}, START, START)
    assert await profiles.replace(stolen, line()) is None
    assert not await profiles.delete(theirs.id, lean.id, line())
    assert not await profiles.assign(theirs.id, "chad", lean.id, line(), now=START)
    assert await profiles.find(mine.id, lean.id) == lean
