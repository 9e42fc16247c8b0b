"""Which workspace a request is about."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import cast

import attrs
import pytest
import trio
from trio.testing import MockClock

from understudy.actors.errors import Forbidden, Invalid, NotFound, Unavailable
from understudy.actors.workspaces.actor import workspaces_spec
from understudy.actors.workspaces.messages import (
    WORKSPACES,
    Author,
    ListWorkspaces,
    MembershipsChanged,
    ResolveWorkspace,
    SetMember,
    WorkspaceView,
)
from understudy.actors.workspaces.ports import WorkspaceStores
from understudy.runtime import ActorSystem
from understudy.storage.errors import StoreUnavailable
from understudy.storage.pool import Pool
from understudy.storage.records import Membership, User, Workspace, WorkspaceRole
from understudy.storage.repositories import Repositories

NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)
VIEWER, MEMBER, ADMIN, OWNER = (
    WorkspaceRole.VIEWER,
    WorkspaceRole.MEMBER,
    WorkspaceRole.ADMIN,
    WorkspaceRole.OWNER,
)


class Books:
    """Memberships in memory, which count how often they are read."""

    def __init__(self) -> None:
        self.roles: dict[str, dict[str, WorkspaceRole]] = {}
        self.reads = 0
        self.away = False

    async def memberships(self, uid: str) -> tuple[Membership, ...]:
        await trio.lowlevel.checkpoint()
        self.reads += 1
        if self.away:
            raise StoreUnavailable(retry_after=2.5)
        return tuple(
            Membership(Workspace(wid, "W", "usr_0", "personal", NOW), uid, role, NOW)
            for wid, role in self.roles.get(uid, {}).items()
        )


@attrs.frozen
class Shelf:
    """Books where a node has its repositories."""

    workspaces: Books


@pytest.fixture
def books() -> Books:
    return Books()


@pytest.fixture
async def system(books: Books) -> AsyncIterator[ActorSystem]:
    async with ActorSystem("test") as system:
        await system.spawn(workspaces_spec(cast(WorkspaceStores, Shelf(books))))
        yield system


async def resolve(
    system: ActorSystem, workspace_id: str | None = None, needs: WorkspaceRole = MEMBER, uid: str = "usr_1"
) -> WorkspaceView:
    with trio.fail_after(30):
        return await system.ask(WORKSPACES, ResolveWorkspace(uid, workspace_id, needs))


async def test_without_a_header_the_only_workspace_is_meant(system: ActorSystem, books: Books) -> None:
    books.roles["usr_1"] = {"ws_1": OWNER}
    assert (await resolve(system)).workspace.id == "ws_1"


async def test_without_a_header_and_with_two_workspaces_the_header_is_asked_for(
    system: ActorSystem, books: Books
) -> None:
    books.roles["usr_1"] = {"ws_1": OWNER, "ws_2": MEMBER}
    with pytest.raises(Invalid, match="X-Workspace-Id"):
        await resolve(system)
    assert (await resolve(system, "ws_2")).role is MEMBER


async def test_a_stranger_s_workspace_and_one_that_does_not_exist_look_the_same(
    system: ActorSystem, books: Books
) -> None:
    books.roles = {"usr_1": {"ws_1": OWNER}, "usr_2": {"ws_2": OWNER}}
    said = set()
    for workspace_id in ("ws_2", "ws_nowhere", ""):
        with pytest.raises(Forbidden) as info:
            await resolve(system, workspace_id)
        said.add(str(info.value))
    assert len(said) == 1


async def test_who_belongs_nowhere_is_forbidden_everywhere(system: ActorSystem) -> None:
    for workspace_id in (None, "ws_1"):
        with pytest.raises(Forbidden):
            await resolve(system, workspace_id)


@pytest.mark.parametrize("role", list(WorkspaceRole))
@pytest.mark.parametrize("needs", list(WorkspaceRole))
async def test_a_role_suffices_for_itself_and_all_below(
    system: ActorSystem, books: Books, role: WorkspaceRole, needs: WorkspaceRole
) -> None:
    books.roles["usr_1"] = {"ws_1": role}
    order = [VIEWER, MEMBER, ADMIN, OWNER]
    if order.index(role) >= order.index(needs):
        assert (await resolve(system, needs=needs)).role is role
    else:
        with pytest.raises(Forbidden, match=needs.value):
            await resolve(system, needs=needs)


async def test_the_database_is_asked_once_in_thirty_seconds(
    books: Books, autojump_clock: MockClock, system: ActorSystem
) -> None:
    with trio.fail_after(3600):
        books.roles["usr_1"] = {"ws_1": OWNER}
        for _ in range(5):
            await resolve(system)
        assert books.reads == 1
        await trio.sleep(31)
        await resolve(system)
        assert books.reads == 2


async def test_who_has_just_joined_need_not_wait_for_the_cache(system: ActorSystem, books: Books) -> None:
    books.roles["usr_1"] = {"ws_1": OWNER}
    await resolve(system)
    books.roles["usr_1"]["ws_2"] = MEMBER
    assert (await resolve(system, "ws_2")).role is MEMBER


async def test_who_was_put_out_is_out_as_soon_as_it_is_told(system: ActorSystem, books: Books) -> None:
    books.roles["usr_1"] = {"ws_1": MEMBER}
    await resolve(system)
    books.roles["usr_1"] = {}
    system.tell(WORKSPACES, MembershipsChanged("usr_1"))
    with pytest.raises(Forbidden):
        await resolve(system, "ws_1")


async def test_while_the_database_is_away_members_known_of_late_are_served_and_others_told_when_to_return(
    system: ActorSystem, books: Books
) -> None:
    books.roles["usr_1"] = {"ws_1": OWNER}
    await resolve(system)
    books.away = True
    await resolve(system)
    with pytest.raises(Unavailable) as info:
        await resolve(system, uid="usr_2")
    assert info.value.retry_after == 2.5


async def test_what_was_remembered_is_gone_with_the_actor(system: ActorSystem, books: Books) -> None:
    books.roles["usr_1"] = {"ws_1": MEMBER}
    await resolve(system)
    await system.kill(WORKSPACES)
    books.roles["usr_1"] = {}
    with pytest.raises(Forbidden):
        await resolve(system, "ws_1")


async def test_a_registered_user_s_workspace_is_found_in_the_real_database(pool: Pool) -> None:
    store = Repositories.on(pool)
    for number in (1, 2):
        user = User(f"usr_{number}", f"user{number}@example.org", "x", NOW)
        await store.users.create(user, Workspace(f"ws_{number}", "Personal", user.id, "personal", NOW))
    async with ActorSystem("test") as system:
        await system.spawn(workspaces_spec(store))
        assert (await resolve(system)).role is OWNER
        (view,) = await system.ask(WORKSPACES, ListWorkspaces("usr_2"))
        assert view.workspace.id == "ws_2"
        with pytest.raises(Forbidden):
            await resolve(system, "ws_2")


async def test_a_change_whose_outcome_is_unknown_is_taken_for_made_and_a_refused_one_for_nothing(pool: Pool) -> None:
    store = Repositories.on(pool)
    for number in (1, 2):
        user = User(f"usr_{number}", f"user{number}@example.org", "x", NOW)
        await store.users.create(user, Workspace(f"ws_{number}", "Team", user.id, "team", NOW))

    class Lossy:
        """Makes changes, and loses the answer when told to."""

        loses = False
        reads = 0

        def __getattr__(self, name: str) -> object:
            return getattr(store.workspaces, name)

        async def memberships(self, uid: str) -> tuple[Membership, ...]:
            self.reads += 1
            return await store.workspaces.memberships(uid)

        async def set_member(self, *args: object, **more: object) -> object:
            done = await store.workspaces.set_member(*args, **more)  # type: ignore[arg-type]
            if self.loses:
                raise StoreUnavailable
            return done

    lossy = Lossy()

    @attrs.frozen
    class Both:
        workspaces = lossy
        grants = store.grants

    async with ActorSystem("test") as system:
        await system.spawn(workspaces_spec(cast(WorkspaceStores, Both())))
        author = Author("ws_1", "usr_1")
        await system.ask(WORKSPACES, SetMember(author, "usr_2", ADMIN))
        await resolve(system, "ws_1", ADMIN, "usr_2")
        with pytest.raises(NotFound):
            await system.ask(WORKSPACES, SetMember(author, "nobody@example.org", VIEWER))
        reads = lossy.reads
        await resolve(system, "ws_1", ADMIN, "usr_2")
        assert lossy.reads == reads, "a refusal made it forget"
        lossy.loses = True
        with pytest.raises(Unavailable):
            await system.ask(WORKSPACES, SetMember(author, "user2@example.org", VIEWER))
        with pytest.raises(Forbidden):
            await resolve(system, "ws_1", ADMIN, "usr_2")
