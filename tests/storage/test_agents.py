"""What is promised of agents and their versions, whoever keeps the rows."""

from typing import Any

import attrs
import pytest
import trio

from tests.support.storage import START, Store, at
from understudy.storage.agents import MOST_AGENTS
from understudy.storage.errors import StoreConflict, Unstorable
from understudy.storage.records import Agent, AgentVersion, AuditEntry, new_id


def line(uid: str = "usr_1") -> AuditEntry:
    return AuditEntry(new_id("aud"), "agent.changed", "info", START, uid=uid)


def version(config: Any, seconds: float = 0) -> AgentVersion:
    return AgentVersion(new_id("agv"), 1, config, at(seconds), created_by="usr_1")


def agent(workspace_id: str | None, agent_id: str = "helper", config: Any = None) -> Agent:
    return Agent(new_id("agc"), workspace_id, agent_id, version(config or {"n": 0}), START, START)


async def made(store: Store, email: str = "mira@example.org", agent_id: str = "helper") -> Agent:
    _, workspace = await store.user(email)
    created = agent(workspace.id, agent_id)
    await store.repositories.agents.create(created, line())
    return created


def owner(of: Agent) -> str:
    assert of.workspace_id is not None
    return of.workspace_id


async def test_an_agent_is_read_as_it_was_made(store: Store) -> None:
    _, workspace = await store.user()
    config = {"displayName": "Ümläut \U0001f642", "model": {"temperature": 0.1, "fallbacks": [{}]}, "none": None}
    created = agent(workspace.id, config=config)
    await store.repositories.agents.create(created, line())
    assert await store.repositories.agents.find(workspace.id, "helper") == created


async def test_creating_the_same_agent_again_after_a_lost_answer_is_no_conflict(store: Store) -> None:
    _, workspace = await store.user()
    created, audit = agent(workspace.id), line()
    for _ in range(2):
        await store.repositories.agents.create(created, audit)
    assert (await store.repositories.agents.versions(workspace.id, "helper"))[1] == 1


async def test_an_id_is_free_in_another_workspace_and_taken_in_ones_own(store: Store) -> None:
    mine = await made(store)
    theirs = await made(store, "noor@example.org")
    with pytest.raises(StoreConflict) as refused:
        await store.repositories.agents.create(agent(owner(mine)), line())
    assert refused.value.what == "agent id"
    found = await store.repositories.agents.find(owner(mine), "helper")
    assert found is not None
    assert (found.key, theirs.key) == (mine.key, theirs.key)


async def test_of_many_that_create_one_agent_at_once_one_does(store: Store) -> None:
    _, workspace = await store.user()
    refusals = []

    async def create() -> None:
        try:
            await store.repositories.agents.create(agent(workspace.id), line())
        except StoreConflict as conflict:
            refusals.append(conflict.what)

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(create)
    assert refusals == ["agent id"] * 5


async def test_a_workspace_has_room_for_so_many_agents(store: Store) -> None:
    _, workspace = await store.user()
    for number in range(MOST_AGENTS):
        await store.repositories.agents.create(agent(workspace.id, f"a{number}"), line())
    with pytest.raises(StoreConflict) as refused:
        await store.repositories.agents.create(agent(workspace.id, "one-more"), line())
    assert refused.value.what == "number of agents"


async def test_another_workspaces_agent_cannot_be_seen_or_changed_by_any_query(store: Store) -> None:
    mine = await made(store)
    _, other = await store.user("noor@example.org")
    agents = store.repositories.agents
    assert await agents.find(other.id, "helper") is None
    assert await agents.list(other.id) == ()
    assert await agents.versions(other.id, "helper") == ((), 0)
    assert await agents.version(other.id, "helper", 1) is None
    assert await agents.revise(other.id, "helper", version({"n": 9}), line()) is None
    assert await agents.label(other.id, "helper", 1, "mine now", line()) is None
    assert not await agents.delete(other.id, "helper", line(), now=at(1))
    assert await agents.is_elsewhere(other.id, "helper")
    assert not await agents.is_elsewhere(owner(mine), "helper")
    assert await agents.find(owner(mine), "helper") == mine


async def test_a_global_agent_is_everybodys_to_see_and_nobodys_to_change(store: Store) -> None:
    _, workspace = await store.user()
    agents = store.repositories.agents
    shared = agent(None, "shared")
    await agents.create(shared, line())
    with pytest.raises(StoreConflict):
        await agents.create(agent(None, "shared"), line())
    assert await agents.find(workspace.id, "shared") == shared
    assert await agents.find("ws_nobody", "shared") == shared
    assert (await agents.versions(workspace.id, "shared"))[0] == (shared.current,)
    assert await agents.revise(workspace.id, "shared", version({"n": 9}), line()) is None
    assert await agents.label(workspace.id, "shared", 1, "mine now", line()) is None
    assert not await agents.delete(workspace.id, "shared", line(), now=at(1))
    assert not await agents.is_elsewhere(workspace.id, "shared")


async def test_an_own_agent_hides_the_global_one_of_its_name(store: Store) -> None:
    mine = await made(store, agent_id="b")
    agents = store.repositories.agents
    for name in ("c", "b", "a"):
        await agents.create(agent(None, name, {"global": True}), line())
    listed = await agents.list(owner(mine))
    assert [(each.id, each.workspace_id) for each in listed] == [("a", None), ("b", owner(mine)), ("c", None)]
    found = await agents.find(owner(mine), "b")
    assert found is not None
    assert found.key == mine.key
    assert (await agents.versions(owner(mine), "b"))[0] == (mine.current,)


async def test_each_change_is_a_version_and_no_change_is_none(store: Store) -> None:
    mine = await made(store)
    agents = store.repositories.agents
    for number in (1, 1, 2):
        await agents.revise(owner(mine), "helper", version({"n": number}, number), line())
    found = await agents.find(owner(mine), "helper")
    assert found is not None
    assert (found.current.version, found.current.config, found.updated_at) == (3, {"n": 2}, at(2))
    history, total = await agents.versions(owner(mine), "helper")
    assert [(each.version, each.config["n"]) for each in history] == [(3, 2), (2, 1), (1, 0)]
    assert total == 3
    page, total = await agents.versions(owner(mine), "helper", limit=1, offset=1)
    assert ([each.version for each in page], total) == ([2], 3)
    assert await agents.version(owner(mine), "helper", 2) == history[1]
    assert await agents.version(owner(mine), "helper", 4) is None


async def test_the_same_configuration_in_other_types_is_no_change(store: Store) -> None:
    _, workspace = await store.user()
    agents = store.repositories.agents
    await agents.create(agent(workspace.id, config={"tools": ("a", "b"), "t": 1}), line())
    same = await agents.revise(workspace.id, "helper", version({"t": 1.0, "tools": ["a", "b"]}), line())
    assert same is not None
    assert (same.current.version, same.current.config) == (1, {"tools": ["a", "b"], "t": 1})


async def test_a_change_made_twice_because_its_answer_was_lost_is_one_version(store: Store) -> None:
    mine = await made(store)
    agents = store.repositories.agents
    change, audit = version({"n": 1}), line()
    first = await agents.revise(owner(mine), "helper", change, audit, expected=mine.current.id)
    again = await agents.revise(owner(mine), "helper", change, audit, expected=mine.current.id)
    assert first == again
    assert (await agents.versions(owner(mine), "helper"))[1] == 2


async def test_of_many_changes_from_one_version_one_is_made(store: Store) -> None:
    mine = await made(store)
    agents = store.repositories.agents
    refusals = []

    async def change(number: int) -> None:
        try:
            await agents.revise(owner(mine), "helper", version({"n": number}), line(), expected=mine.current.id)
        except StoreConflict as conflict:
            refusals.append(conflict.what)

    async with trio.open_nursery() as nursery:
        for number in range(1, 7):
            nursery.start_soon(change, number)
    assert refusals == ["version"] * 5
    assert (await agents.versions(owner(mine), "helper"))[1] == 2


async def test_changes_from_no_version_in_particular_all_happen_one_after_the_other(store: Store) -> None:
    mine = await made(store)
    agents = store.repositories.agents
    async with trio.open_nursery() as nursery:
        for number in range(1, 7):
            nursery.start_soon(agents.revise, owner(mine), "helper", version({"n": number}), line())
    history, _ = await agents.versions(owner(mine), "helper")
    assert [each.version for each in history] == [7, 6, 5, 4, 3, 2, 1]
    assert sorted(each.config["n"] for each in history) == list(range(7))


async def test_a_deleted_agent_is_gone_and_its_id_free_for_one_that_knows_nothing_of_it(store: Store) -> None:
    mine = await made(store)
    agents = store.repositories.agents
    await agents.revise(owner(mine), "helper", version({"n": 1}), line())
    with pytest.raises(StoreConflict):
        await agents.delete(owner(mine), "helper", line(), now=at(1), expected=mine.current.id)
    audit = line()
    assert await agents.delete(owner(mine), "helper", audit, now=at(1))
    assert await agents.delete(owner(mine), "helper", audit, now=at(1))  # the same deletion, whose answer was lost
    assert not await agents.delete(owner(mine), "helper", line(), now=at(2))
    assert await agents.find(owner(mine), "helper") is None
    assert await agents.versions(owner(mine), "helper") == ((), 0)
    assert await agents.revise(owner(mine), "helper", version({"n": 2}), line()) is None
    reborn = agent(owner(mine))
    await agents.create(reborn, line())
    assert (await agents.versions(owner(mine), "helper"))[0] == (reborn.current,)
    with pytest.raises(StoreConflict):  # it is at version 1, as the other was, and yet it is another
        await agents.revise(owner(mine), "helper", version({"n": 3}), line(), expected=mine.current.id)


async def test_a_version_is_labelled_and_its_label_taken_away(store: Store) -> None:
    mine = await made(store)
    agents = store.repositories.agents
    labelled = await agents.label(owner(mine), "helper", 1, "stable", line())
    assert labelled == attrs.evolve(mine.current, label="stable")
    assert (await agents.versions(owner(mine), "helper"))[0] == (labelled,)
    assert await agents.label(owner(mine), "helper", 1, None, line()) == mine.current
    for number in (0, 2):
        assert await agents.label(owner(mine), "helper", number, "x", line()) is None


async def test_every_change_is_in_the_audit_log_with_its_version_and_no_refusal_is(store: Store) -> None:
    user, workspace = await store.user()
    agents, audit = store.repositories.agents, store.repositories.audit
    before = len(await audit.of_user(user.id))
    first = agent(workspace.id)
    await agents.create(first, line(user.id))
    await agents.revise(workspace.id, "helper", version({"n": 1}), line(user.id))
    await agents.revise(workspace.id, "helper", version({"n": 1}), line(user.id))
    with pytest.raises(StoreConflict):
        await agents.revise(workspace.id, "helper", version({"n": 2}), line(user.id), expected=first.current.id)
    await agents.label(workspace.id, "helper", 2, "x", line(user.id))
    await agents.label(workspace.id, "helper", 7, "x", line(user.id))
    await agents.delete(workspace.id, "helper", line(user.id), now=at(5))
    lines = await audit.of_user(user.id)
    assert [entry.metadata.get("version") for entry in lines[: len(lines) - before]] == [2, None, 2, None]
    assert (await audit.verify()).broken_at is None


async def test_an_agent_needs_its_workspace(store: Store) -> None:
    with pytest.raises(Unstorable):
        await store.repositories.agents.create(agent("ws_nobody"), line())
