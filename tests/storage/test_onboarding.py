"""What users begin with: whole, once, and again when it is asked for. In memory and on PostgreSQL."""

from typing import Any

import attrs
import pytest
import trio

from tests.support.storage import START, Store, at
from understudy.storage.errors import Missing, StoreConflict
from understudy.storage.membership import MOST_OWNED
from understudy.storage.oversight import Onboarded, Onboarding
from understudy.storage.records import (
    Agent,
    AgentVersion,
    AuditEntry,
    Workspace,
    WorkspaceChange,
    WorkspaceRole,
    new_id,
)


def agent(name: str) -> Agent:
    version = AgentVersion(new_id("agv"), 1, {"name": name}, START)
    return Agent(new_id("agc"), None, name, version, START, START)


def wish(uid: str, *agents: str, **more: Any) -> Onboarding:
    workspace = Workspace(new_id("ws"), "My workspace", uid, "personal", at(1))
    return attrs.evolve(Onboarding(uid, workspace, tuple(map(agent, agents)), at(1)), **more)


def line(uid: str) -> AuditEntry:
    return AuditEntry(new_id("aud"), "onboarding.completed", "info", at(1), uid=uid)


async def own_agents(store: Store, workspace_id: str) -> list[str]:
    return [found.id for found in await store.repositories.agents.list(workspace_id) if found.workspace_id]


async def test_the_workspace_that_came_with_the_account_is_set_up_once(store: Store) -> None:
    user, workspace = await store.user()
    onboard = store.repositories.onboarding.onboard
    first = line(user.id)
    wished = wish(user.id, "assistant", "coder", name="Lighthouse", plan="team", profile={"name": "Mira"})
    for _ in range(2):  # the second: our own first attempt, whose answer was lost
        done = await onboard(wished, first)
        assert (done.created, done.workspace.id) == (True, workspace.id)
        assert (done.workspace.name, done.workspace.plan) == ("Lighthouse", "team")
    assert await own_agents(store, workspace.id) == ["assistant", "coder"]
    profile = await store.repositories.memories.profile(user.id)
    assert profile is not None
    assert profile.content == {"name": "Mira"}
    again = await onboard(wish(user.id, "researcher", profile={"name": "other"}), line(user.id))
    assert again == Onboarded(done.workspace, created=False)
    assert await own_agents(store, workspace.id) == ["assistant", "coder"]
    (told,) = await store.repositories.audit.of_user(user.id)
    assert (told.workspace_id, told.metadata["agents"]) == (workspace.id, ["assistant", "coder"])


async def test_a_workspace_that_has_several_members_does_not_become_personal(store: Store) -> None:
    user, workspace = await store.user()
    friend, _ = await store.user("luca@example.org")
    workspaces, onboard = store.repositories.workspaces, store.repositories.onboarding.onboard
    await workspaces.change(workspace.id, user.id, WorkspaceChange(plan="team"), line(user.id))
    await workspaces.set_member(workspace.id, user.id, friend.id, WorkspaceRole.MEMBER, line(user.id), now=at(1))
    with pytest.raises(StoreConflict, match="members"):
        await onboard(wish(user.id, "assistant", plan="personal"), line(user.id))
    assert await own_agents(store, workspace.id) == []
    done = await onboard(wish(user.id, "assistant", name="Lighthouse"), line(user.id))
    assert (done.created, done.workspace.name, done.workspace.plan) == (True, "Lighthouse", "team")


async def test_force_makes_another_workspace_and_that_is_what_there_is_then(store: Store) -> None:
    user, workspace = await store.user()
    onboard = store.repositories.onboarding.onboard
    await onboard(wish(user.id, "assistant"), line(user.id))
    forced = await onboard(wish(user.id, "assistant", force=True), line(user.id))
    assert forced.created
    assert forced.workspace.id != workspace.id
    assert (await onboard(wish(user.id), line(user.id))).workspace == forced.workspace
    assert len(await store.repositories.workspaces.memberships(user.id)) == 2


async def test_who_has_made_something_of_it_is_answered_with_that(store: Store) -> None:
    user, workspace = await store.user()
    made = attrs.evolve(agent("mine"), workspace_id=workspace.id)
    await store.repositories.agents.create(made, line(user.id))
    done = await store.repositories.onboarding.onboard(wish(user.id, "assistant"), line(user.id))
    assert done == Onboarded(workspace, created=False)
    assert await own_agents(store, workspace.id) == ["mine"]


async def test_of_many_who_ask_at_once_one_is_set_up(store: Store) -> None:
    user, workspace = await store.user()
    done: list[Onboarded] = []

    async def ask() -> None:
        done.append(await store.repositories.onboarding.onboard(wish(user.id, "assistant"), line(user.id)))

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(ask)
    assert sorted(each.created for each in done) == [False] * 5 + [True]
    assert {each.workspace.id for each in done} == {workspace.id}
    assert await own_agents(store, workspace.id) == ["assistant"]


async def test_nobody_gets_nothing_and_nobody_gets_workspaces_without_number(store: Store) -> None:
    onboard = store.repositories.onboarding.onboard
    with pytest.raises(Missing):
        await onboard(wish("usr_nobody"), line("usr_nobody"))
    user, _ = await store.user()
    for _ in range(MOST_OWNED - 1):
        await onboard(wish(user.id, force=True), line(user.id))
    with pytest.raises(StoreConflict):
        await onboard(wish(user.id, force=True), line(user.id))
