"""What is promised of workspaces, members and grants, whoever keeps the rows."""

from typing import Any

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from tests.support.storage import NODE, START, Store, at, closed, opened, session_key
from understudy.storage.entries import MessagesAdded
from understudy.storage.errors import Missing, NotAllowed, StorageError, StoreConflict
from understudy.storage.membership import MOST_MEMBERS, PERSONAL, plan_membership, suffices
from understudy.storage.records import (
    Activity,
    Agent,
    AgentVersion,
    AuditEntry,
    Done,
    Grant,
    MemberChange,
    Message,
    Restrictions,
    Role,
    Usage,
    Workspace,
    WorkspaceChange,
    WorkspaceRole,
    new_id,
)
from understudy.storage.spending import Charge

VIEWER, MEMBER, ADMIN, OWNER = reversed(WorkspaceRole)
ROLES = st.sampled_from(WorkspaceRole)
PEOPLE = [f"usr_{number}" for number in range(5)]


@given(
    plan=st.sampled_from([PERSONAL, "team"]),
    roles=st.dictionaries(st.sampled_from(PEOPLE), ROLES),
    by=st.sampled_from(PEOPLE),
    uid=st.sampled_from(PEOPLE),
    role=st.none() | ROLES,
)
def test_whoever_asks_for_whatever_a_workspace_keeps_an_owner_and_nobody_rises_above_who_asked(
    plan: str, roles: dict[str, WorkspaceRole], by: str, uid: str, role: WorkspaceRole | None
) -> None:
    try:
        change = plan_membership(plan, roles, by, uid, role)
    except StorageError:
        return
    after = {**roles, uid: role} if role is not None else {k: v for k, v in roles.items() if k != uid}
    assert (OWNER in after.values()) or OWNER not in roles.values()
    assert by in roles
    assert suffices(roles[by], ADMIN) or (by == uid and role is None)
    if OWNER in {role, roles.get(uid)} and change is not MemberChange.SAME:
        assert roles[by] is OWNER
    if change is MemberChange.ADDED:
        assert plan != PERSONAL
    assert (change is MemberChange.SAME) == (after == roles)


def test_a_full_workspace_takes_nobody_more() -> None:
    roles = {f"usr_{number}": OWNER for number in range(MOST_MEMBERS)}
    with pytest.raises(StoreConflict, match="number of members"):
        plan_membership("team", roles, "usr_0", "usr_new", MEMBER)
    assert plan_membership("team", roles, "usr_0", "usr_1", MEMBER) is MemberChange.CHANGED


def line(**more: Any) -> AuditEntry:
    return AuditEntry(new_id("aud"), "workspace.changed", "info", START, **more)


async def team(store: Store, email: str = "mira@example.org") -> Workspace:
    user, _ = await store.user(email)
    workspace = Workspace(new_id("ws"), "Acme", user.id, "team", START)
    await store.repositories.workspaces.create(workspace, line())
    return workspace


async def agent(store: Store, workspace: Workspace, agent_id: str = "helper") -> Agent:
    made = Agent(new_id("agc"), workspace.id, agent_id, AgentVersion(new_id("agv"), 1, {"n": 0}, START), START, START)
    await store.repositories.agents.create(made, line())
    return made


def grant(giver: Workspace, receiver: Workspace, agent_id: str = "helper", **more: Any) -> Grant:
    fields = {"readonly": True, "expires_at": None, "created_by": giver.owner_id, "created_at": START}
    ids = (new_id("gr"), giver.id, receiver.id, agent_id)
    return Grant(*ids, **{**fields, "updated_at": START, **more})


async def test_a_workspace_is_read_as_it_was_made_and_changed(store: Store) -> None:
    workspaces, made = store.repositories.workspaces, await team(store)
    assert await workspaces.find(made.id) == made
    assert await workspaces.find("ws_nowhere") is None
    change = WorkspaceChange("New", "enterprise", {"a": [1, None], "b": None}, Restrictions(("claude",), ()))
    changed = await workspaces.change(made.id, made.owner_id, change, line())
    assert changed == attrs.evolve(
        made, name="New", plan="enterprise", settings={"a": [1, None]}, restrictions=Restrictions(("claude",), ())
    )
    assert await workspaces.find(made.id) == changed
    assert changed in [membership.workspace for membership in await workspaces.memberships(made.owner_id)]
    lifted = await workspaces.change(made.id, made.owner_id, WorkspaceChange(restrictions=Restrictions()), line())
    assert lifted.restrictions == Restrictions()
    assert (lifted.name, lifted.settings) == (changed.name, changed.settings)


async def test_the_owner_of_record_is_one_who_is_an_owner(store: Store) -> None:
    workspaces, made = store.repositories.workspaces, await team(store)
    noor, _ = await store.user("noor@example.org")
    await workspaces.set_member(made.id, made.owner_id, noor.id, OWNER, line(), now=at(1))
    await workspaces.remove_member(made.id, made.owner_id, made.owner_id, line())
    found = await workspaces.find(made.id)
    assert found is not None
    assert found.owner_id == noor.id
    assert [member.uid for member in await workspaces.members(made.id)] == [noor.id]


async def test_a_change_whose_answer_was_lost_is_not_made_twice_nor_refused(store: Store) -> None:
    workspaces, made = store.repositories.workspaces, await team(store)
    noor, _ = await store.user("noor@example.org")
    if not hasattr(workspaces, "_pool"):
        return  # in memory no answer is lost
    added, removed = line(), line()
    for _ in range(2):
        _, change = await workspaces.set_member(made.id, made.owner_id, noor.id, MEMBER, added, now=at(1))
        assert change is MemberChange.ADDED
    for _ in range(2):
        await workspaces.remove_member(made.id, noor.id, noor.id, removed)
    assert len(await workspaces.members(made.id)) == 1


async def test_who_has_left_finds_nothing_of_what_they_said_there_until_they_are_back(store: Store) -> None:
    made, (noor, home) = await team(store), await store.user("noor@example.org")
    workspaces, sessions = store.repositories.workspaces, store.repositories.sessions
    await workspaces.set_member(made.id, made.owner_id, noor.id, MEMBER, line(), now=START)
    for workspace in (made, home):
        begun, _ = await sessions.open(session_key(noor, workspace), START)
        claimed = await sessions.claim(begun.id, NODE)
        assert claimed is not None
        turn = opened(claimed)
        await store.write(turn)

    async def found() -> tuple[int, int, int]:
        (everything, _) = await sessions.list(None)
        mine = [each for each in everything if await sessions.get(each.id, uid=noor.id) is not None]
        return len(mine), (await sessions.list(noor.id))[1], len(await sessions.search_messages(noor.id, "hello"))

    assert await found() == (2, 2, 2)
    await workspaces.remove_member(made.id, noor.id, noor.id, line())
    assert await found() == (1, 1, 1)
    assert (await sessions.list(None, workspace_id=made.id))[1] == 1, "the workspace keeps it"
    await workspaces.set_member(made.id, made.owner_id, noor.id, VIEWER, line(), now=START)
    assert await found() == (2, 2, 2)


async def test_of_two_owners_that_leave_at_once_one_stays(store: Store) -> None:
    workspaces = store.repositories.workspaces
    for number in range(5):
        made = await team(store, f"mira{number}@example.org")
        noor, _ = await store.user(f"noor{number}@example.org")
        await workspaces.set_member(made.id, made.owner_id, noor.id, OWNER, line(), now=START)
        refused: list[str] = []

        async def leave(workspace_id: str, uid: str, refused: list[str]) -> None:
            try:
                await workspaces.remove_member(workspace_id, uid, uid, line())
            except StoreConflict as conflict:
                refused.append(conflict.what)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(leave, made.id, made.owner_id, refused)
            nursery.start_soon(leave, made.id, noor.id, refused)
        assert refused == ["last owner"]
        assert len(await workspaces.members(made.id)) == 1


async def test_who_is_nobody_in_a_workspace_changes_nothing_of_it(store: Store) -> None:
    made, others = await team(store), await team(store, "noor@example.org")
    await agent(store, made)
    workspaces, grants, eve = store.repositories.workspaces, store.repositories.grants, others.owner_id
    given, _ = await grants.put(grant(made, others), made.owner_id, line())
    for workspace_id in (made.id, "ws_nowhere"):
        with pytest.raises(NotAllowed):
            await workspaces.change(workspace_id, eve, WorkspaceChange(name="Eve's"), line())
        with pytest.raises(NotAllowed):
            await workspaces.set_member(workspace_id, eve, eve, MEMBER, line(), now=START)
        with pytest.raises(NotAllowed):
            await workspaces.set_member(workspace_id, eve, "usr_nobody", MEMBER, line(), now=START)
        with pytest.raises(NotAllowed):
            await workspaces.remove_member(workspace_id, eve, made.owner_id, line())
        with pytest.raises(NotAllowed):
            await grants.put(attrs.evolve(given, granting_workspace_id=workspace_id), eve, line())
        with pytest.raises(NotAllowed):
            await grants.revoke(workspace_id, eve, given.id, line())
    assert await workspaces.find(made.id) == made
    assert await grants.of_workspace(made.id) == (given,)


async def test_a_grant_counts_until_it_expires_and_is_then_purged(store: Store) -> None:
    made, others = await team(store), await team(store, "noor@example.org")
    helper, grants = await agent(store, made), store.repositories.grants
    given, is_new = await grants.put(grant(made, others, expires_at=at(60)), made.owner_id, line())
    assert is_new
    assert await grants.granted(others.id, "helper", now=at(59)) == (helper, given)
    assert await grants.all_granted(others.id, now=at(59)) == ((helper, given),)
    assert await grants.granted(others.id, "helper", now=at(60)) is None
    assert await grants.all_granted(others.id, now=at(60)) == ()
    assert await grants.granted(made.id, "helper", now=at(0)) is None
    assert await grants.purge_expired(before=at(60)) == 0
    assert await grants.purge_expired(before=at(61)) == 1
    assert await grants.of_workspace(others.id) == ()


async def test_a_grant_dies_with_its_agent(store: Store) -> None:
    made, others = await team(store), await team(store, "noor@example.org")
    await agent(store, made)
    grants = store.repositories.grants
    given, _ = await grants.put(grant(made, others), made.owner_id, line())
    await store.repositories.agents.delete(made.id, "helper", line(), now=at(1))
    assert await grants.granted(others.id, "helper", now=at(2)) is None
    again = await agent(store, made)
    assert await grants.granted(others.id, "helper", now=at(2)) is None
    renewed, is_new = await grants.put(grant(made, others), made.owner_id, line())
    assert (renewed.id, is_new) == (given.id, False)
    assert await grants.granted(others.id, "helper", now=at(2)) == (again, renewed)
    await store.repositories.agents.delete(made.id, "helper", line(), now=at(3))
    assert await grants.purge_expired(before=START) == 1


async def test_what_cannot_be_granted(store: Store) -> None:
    made, others = await team(store), await team(store, "noor@example.org")
    await agent(store, made)
    grants = store.repositories.grants
    for wish, what in (
        (grant(made, others, "nobody"), "agent"),
        (attrs.evolve(grant(made, others), receiving_workspace_id="ws_nowhere"), "workspace"),
    ):
        with pytest.raises(Missing, match=what):
            await grants.put(wish, made.owner_id, line())
    with pytest.raises(Missing, match="grant"):
        await grants.revoke(made.id, made.owner_id, (others.id, "helper"), line())


async def test_activity_is_of_the_workspace_and_the_time_that_are_asked_for(store: Store) -> None:
    user, workspace = await store.user()
    sessions = []
    for surface in ("main", "other"):
        begun, _ = await store.repositories.sessions.open(session_key(user, workspace, surface), START)
        claimed = await store.repositories.sessions.claim(begun.id, NODE)
        assert claimed is not None
        sessions.append(claimed)
    used, _ = sessions
    charge = Charge("openai", "gpt", Usage(10, 5), at(2), 70, tools=("clock", "clock"))
    await store.write(opened(used, "trn_1"))
    await store.write(closed(used, "trn_1", charges=(charge, attrs.evolve(charge, cost=None))))
    tool = Message(new_id("msg"), used.id, "trn_1", Role.TOOL, "12:00", START)
    await store.write(MessagesAdded(used.epoch, used.id, (tool,)))
    elsewhere = await store.session()
    await store.write(opened(elsewhere, "trn_2"))

    async def between(since: float, until: float) -> Activity:
        found: Activity = await store.repositories.workspaces.activity(workspace.id, since=at(since), until=at(until))
        return found

    assert await between(-10, 10) == Activity(
        active_sessions=2,
        sessions=2,
        messages=2,
        users=1,
        usage=Usage(20, 10),
        cost=70,
        tool_calls=4,
        by_agent={"chad": Done(2, 70)},
        daily={START.date(): Done(2, 70)},
    )
    nothing = Activity(0, 0, 0, 0, Usage(), 0, 0, {}, {})
    assert await between(100, 200) == nothing
    assert await between(-20, -10) == nothing
