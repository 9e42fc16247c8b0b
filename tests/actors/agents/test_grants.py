"""Agents that run in a workspace they are not of, and on models that it allows."""

from datetime import timedelta

import pytest
import trio
import trio.testing

from tests.actors.agents.stage import MODEL, Node, running
from understudy.actors.agents.messages import AGENTS, DeleteAgent, GrantsChanged, ReplaceAgent, WorkspaceChanged
from understudy.actors.errors import Forbidden, ModelRestricted, Unavailable
from understudy.storage.records import AuditEntry, Grant, Restrictions, WorkspaceChange, new_id

SPAWN = {"enabled": True, "allowedTargets": ["chad"]}


def line(node: Node) -> AuditEntry:
    return AuditEntry(new_id("aud"), "test", "info", node.clock())


async def grant(node: Node, *, seconds: float | None = None, readonly: bool = True) -> Grant:
    """Mira's helper for Noor's workspace, for so many seconds; nobody is told."""
    now = node.clock()
    until = None if seconds is None else now + timedelta(seconds=seconds)
    wish = Grant(new_id("gr"), "ws_mira", "ws_noor", "helper", readonly, until, "usr_mira", now, now)
    given, _ = await node.store.grants.put(wish, "usr_mira", line(node))
    return given


async def restrict(node: Node, workspace_id: str, **lists: tuple[str, ...]) -> None:
    """As the workspaces actor does it."""
    change = WorkspaceChange(restrictions=Restrictions(**lists))
    await node.store.workspaces.change(workspace_id, f"usr_{workspace_id[3:]}", change, line(node))
    node.system.tell(AGENTS, WorkspaceChanged(workspace_id))


async def test_a_grant_ends_on_the_second_however_well_it_is_remembered() -> None:
    async with running() as node:
        await node.create()
        await grant(node, seconds=10)
        assert (await node.resolve("helper", "ws_noor")).workspace_name == "Noor"
        node.clock.advance(9.9)
        node.store.tables.available = False
        await node.resolve("helper", "ws_noor")  # remembered
        node.store.tables.available = True
        node.clock.advance(0.1)
        with pytest.raises(Forbidden):
            await node.resolve("helper", "ws_noor")
        await node.resolve("helper", "ws_mira")


async def test_a_grant_is_found_at_once_and_gone_at_once_when_told() -> None:
    async with running() as node:
        await node.create()
        with pytest.raises(Forbidden):
            await node.resolve("helper", "ws_noor")
        given = await grant(node)
        await node.resolve("helper", "ws_noor")
        await node.store.grants.revoke("ws_mira", "usr_mira", given.id, line(node))
        node.system.tell(AGENTS, GrantsChanged())
        with pytest.raises(Forbidden):
            await node.resolve("helper", "ws_noor")


async def test_a_look_up_under_way_when_a_grant_is_revoked_is_not_remembered() -> None:
    async with running() as node:
        await node.create()
        given = await grant(node)
        slow = trio.Event()
        find = node.store.workspaces.find

        async def held(workspace_id: str) -> object:
            await slow.wait()
            return await find(workspace_id)

        node.store.workspaces.find = held  # type: ignore[method-assign, assignment]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(node.resolve, "helper", "ws_noor")
            await trio.testing.wait_all_tasks_blocked()
            await node.store.grants.revoke("ws_mira", "usr_mira", given.id, line(node))
            node.system.tell(AGENTS, GrantsChanged())
            slow.set()
        with pytest.raises(Forbidden):
            await node.resolve("helper", "ws_noor")


async def test_what_its_owner_makes_of_an_agent_holds_wherever_it_was_granted() -> None:
    async with running() as node:
        await node.create()
        await grant(node)
        made = await node.resolve("helper", "ws_noor")
        document = (await node.create("other", displayName="Olga")).document
        await node.ask(ReplaceAgent(node.mira, "helper", document))
        changed = await node.resolve("helper", "ws_noor")
        assert (made.display_name, changed.display_name) == ("helper", "Olga")
        await node.ask(DeleteAgent(node.mira, "helper"))
        with pytest.raises(Exception, match="no such agent"):
            await node.resolve("helper", "ws_noor")


@pytest.mark.parametrize("readonly", [True, False])
async def test_what_is_granted_readonly_starts_no_sub_agents_where_it_was_granted(readonly: bool) -> None:
    async with running() as node:
        await node.create(spawn=SPAWN)
        await grant(node, readonly=readonly)
        assert (await node.resolve("helper", "ws_noor")).spawn.enabled is not readonly
        assert (await node.resolve("helper", "ws_mira")).spawn.enabled


async def test_a_granted_agent_runs_on_what_the_workspace_it_runs_in_allows() -> None:
    async with running() as node:
        await node.create()
        await grant(node)
        for _ in range(2):  # the second time it is remembered
            await node.resolve("helper", "ws_noor")
        await restrict(node, "ws_noor", providers=("claude",))
        with pytest.raises(ModelRestricted, match="openai"):
            await node.resolve("helper", "ws_noor")
        await node.resolve("helper", "ws_mira")
        await restrict(node, "ws_noor", models=(f"{MODEL['provider']}/{MODEL['modelId']}",))
        await node.resolve("helper", "ws_noor")


async def test_a_workspace_that_cannot_be_read_is_not_taken_for_one_without_restrictions() -> None:
    async with running() as node:
        await restrict(node, "ws_mira", providers=())
        node.store.tables.available = False
        with pytest.raises(Unavailable):
            await node.resolve("chad", "ws_mira")
