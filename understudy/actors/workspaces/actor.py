"""The actor that knows which workspace a request is about, and through which workspaces are changed."""

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import datetime
from typing import Any, ClassVar, TypeVar

import attrs
import trio

from understudy.actors.agents.messages import AGENTS, GrantsChanged, WorkspaceChanged
from understudy.actors.clock import utc_now
from understudy.actors.errors import Detail, DomainError, Forbidden, Invalid
from understudy.actors.lru import Lru
from understudy.actors.metrics.messages import METRICS, CacheUsed
from understudy.actors.serving import Server
from understudy.actors.workspaces.keeper import Keeper
from understudy.actors.workspaces.messages import (
    WORKSPACES,
    Activity,
    ChangeWorkspace,
    CreateWorkspace,
    GetActivity,
    GetWorkspace,
    Grant,
    ListWorkspaces,
    MemberSet,
    MembershipsChanged,
    PutGrant,
    RemoveMember,
    ResolveWorkspace,
    RevokeGrant,
    SetMember,
    WorkspaceDetail,
    WorkspaceRole,
    WorkspaceView,
)
from understudy.actors.workspaces.ports import WorkspaceStores
from understudy.actors.workspaces.refusals import no_member, too_low
from understudy.runtime import ChildSpec, Deferred, MailboxFull, receive

MAX_AGE = 30.0
"""Seconds that a user's memberships are believed without asking the database again: another node may change them."""
REMEMBERED = 20_000
"""How many users' memberships are remembered at most."""
TELL_METRICS_EVERY = 5.0
TELL_AGENTS_WITHIN = 5.0
"""Seconds for which it is tried to tell agents that are too busy to hear it."""

_RANK = {role: rank for rank, role in enumerate(reversed(WorkspaceRole))}

R = TypeVar("R")

log = logging.getLogger(__name__)


@attrs.frozen
class _Known:
    views: tuple[WorkspaceView, ...]
    read_at: float


@attrs.frozen
class _TellMetrics:
    """Timer: say how the cache did."""


class Workspaces(Server):
    """Answers from what it read in the last 30 s; a refusal always comes from the database.

    What is changed here is forgotten here before the change is answered, and the agents are told.
    """

    mailbox_limit: ClassVar[int] = 10_000

    def __init__(
        self, stores: WorkspaceStores, now: Callable[[], datetime] = utc_now, providers: Collection[str] = ()
    ) -> None:
        self._stores = stores
        self._keeper = Keeper(stores, now, providers)
        self._known: Lru[str, _Known] = Lru(REMEMBERED)
        self._generation = 0
        self._hits = self._misses = 0
        self._told_hits = self._told_misses = 0

    async def started(self) -> None:
        """Begin to report."""
        self.every(TELL_METRICS_EVERY, _TellMetrics())

    @receive
    def list_workspaces(self, message: ListWorkspaces) -> Deferred[tuple[WorkspaceView, ...]]:
        """The user's workspaces, read anew: a list is looked at by people, who just changed something."""
        return self.answer(message, self._read, message.uid)

    @receive
    def resolve(self, message: ResolveWorkspace) -> WorkspaceView | Deferred[WorkspaceView]:
        """The workspace, when the user may act in it."""
        known = self._known.get(message.uid)
        if known is not None and trio.current_time() - known.read_at <= MAX_AGE:
            try:
                view = choose(known.views, message.workspace_id, message.needs)
            except (Forbidden, Invalid):
                pass  # they may have joined since: look again before saying no
            else:
                self._hits += 1
                return view
        self._misses += 1
        return self.answer(message, self._resolve, message.uid, message.workspace_id, message.needs)

    @receive
    def get(self, message: GetWorkspace) -> Deferred[WorkspaceDetail]:
        """One workspace."""
        return self.answer(message, self._get, message)

    @receive
    def activity(self, message: GetActivity) -> Deferred[Activity]:
        """What was done in a workspace."""
        return self.answer(message, self._activity, message)

    @receive
    def create(self, message: CreateWorkspace) -> Deferred[WorkspaceView]:
        """Make a workspace."""
        return self.answer(message, self._create, message)

    @receive
    def change(self, message: ChangeWorkspace) -> Deferred[WorkspaceView]:
        """Change a workspace."""
        return self.answer(message, self._change, message)

    @receive
    def set_member(self, message: SetMember) -> Deferred[MemberSet]:
        """Add a member, or give one another role."""
        return self.answer(message, self._set_member, message)

    @receive
    def remove_member(self, message: RemoveMember) -> Deferred[None]:
        """Remove a member."""
        return self.answer(message, self._remove_member, message)

    @receive
    def put_grant(self, message: PutGrant) -> Deferred[tuple[Grant, bool]]:
        """Give a grant, or change it."""
        return self.answer(message, self._regrant, message, self._keeper.put_grant)

    @receive
    def revoke_grant(self, message: RevokeGrant) -> Deferred[None]:
        """Take a grant back."""
        return self.answer(message, self._regrant, message, self._keeper.revoke_grant)

    @receive
    def forget(self, message: MembershipsChanged) -> None:
        """Read this user's memberships anew when they are next asked for."""
        self._forget(message.uid)

    @receive
    def tell_metrics(self, message: _TellMetrics) -> None:
        """Report the look-ups since the last time, if any."""
        hits, misses = self._hits - self._told_hits, self._misses - self._told_misses
        if hits or misses:
            self._told_hits, self._told_misses = self._hits, self._misses
            self.system.tell(METRICS, CacheUsed("memberships", hits, misses))

    def snapshot(self) -> Mapping[str, object]:
        """How much is remembered, and what it saved."""
        return {"known_users": len(self._known), "hits": self._hits, "misses": self._misses}

    async def _resolve(self, uid: str, workspace_id: str | None, needs: WorkspaceRole) -> WorkspaceView:
        return choose(await self._read(uid), workspace_id, needs)

    async def _read(self, uid: str) -> tuple[WorkspaceView, ...]:
        generation, read_at = self._generation, trio.current_time()
        memberships = await self._stores.workspaces.memberships(uid)
        views = tuple(WorkspaceView(m.workspace, m.role) for m in memberships)
        # A read that was under way when somebody's memberships changed may be from before: it is not kept.
        if views and generation == self._generation:
            self._known.put(uid, _Known(views, read_at))
        return views

    async def _get(self, message: GetWorkspace) -> WorkspaceDetail:
        view = await self._resolve(message.uid, message.workspace_id, WorkspaceRole.VIEWER)
        if _RANK[view.role] < _RANK[WorkspaceRole.ADMIN]:
            return WorkspaceDetail(view)
        members = await self._stores.workspaces.members(message.workspace_id)
        return WorkspaceDetail(view, members, await self._stores.grants.of_workspace(message.workspace_id))

    async def _activity(self, message: GetActivity) -> Activity:
        await self._resolve(message.uid, message.workspace_id, WorkspaceRole.ADMIN)
        return await self._keeper.activity(message.workspace_id, message.days)

    async def _create(self, message: CreateWorkspace) -> WorkspaceView:
        try:
            return WorkspaceView(await self._keeper.create(message), WorkspaceRole.OWNER)
        finally:
            self._forget(message.uid)

    async def _change(self, message: ChangeWorkspace) -> WorkspaceView:
        author = message.author
        try:
            workspace = await self._keeper.change(message)
        finally:
            # Whatever became of it, here and below: a change whose answer was lost may have been made.
            self._forget(author.uid)
            await self._tell_agents(WorkspaceChanged(author.workspace_id))
        view = await self._resolve(author.uid, author.workspace_id, WorkspaceRole.VIEWER)
        return WorkspaceView(workspace, view.role)

    async def _set_member(self, message: SetMember) -> MemberSet:
        try:
            done = await self._keeper.set_member(message)
        except DomainError:
            raise  # nothing was changed
        except BaseException:
            # It may have been, and whose memberships these are is not known: the address may be all we have.
            self._forget_everybody()
            raise
        self._forget(done.member.uid)
        return done

    async def _remove_member(self, message: RemoveMember) -> None:
        try:
            await self._keeper.remove_member(message)
        finally:
            self._forget(message.uid)

    async def _regrant(self, message: Any, change: Callable[[Any], Awaitable[R]]) -> R:
        try:
            done = await change(message)
        except DomainError:
            raise  # nothing was changed: nobody makes the agents forget what they know by being refused
        except BaseException:  # it may have been; the telling is shielded, and takes a bounded time
            await self._tell_agents(GrantsChanged())
            raise
        await self._tell_agents(GrantsChanged())
        return done

    def _forget(self, uid: str) -> None:
        self._generation += 1
        self._known.forget(uid)

    def _forget_everybody(self) -> None:
        self._generation += 1
        self._known.clear()

    async def _tell_agents(self, message: WorkspaceChanged | GrantsChanged) -> None:
        """See that agents hear of it before the change is answered. Shielded: the change has been made."""
        with trio.move_on_after(TELL_AGENTS_WITHIN, shield=True):
            while True:
                try:
                    self.system.tell(AGENTS, message)
                except MailboxFull as full:
                    await trio.sleep(full.retry_after)
                else:
                    return
        log.warning("agents did not hear of %s: they may believe the former state for 30 s", type(message).__name__)


def choose(views: tuple[WorkspaceView, ...], workspace_id: str | None, needs: WorkspaceRole) -> WorkspaceView:
    """The workspace that is meant, out of those the user belongs to; raises `Forbidden` or `Invalid`."""
    if workspace_id is None:
        if len(views) > 1:
            raise Invalid(
                "you belong to several workspaces: name one in the X-Workspace-Id header",
                details=(Detail("X-Workspace-Id", "required"),),
            )
        view = views[0] if views else None
    else:
        view = next((v for v in views if v.workspace.id == workspace_id), None)
    if view is None:
        raise no_member()
    if _RANK[view.role] < _RANK[needs]:
        raise too_low(needs, view.role)
    return view


def workspaces_spec(
    stores: WorkspaceStores, now: Callable[[], datetime] = utc_now, *, providers: Collection[str] = ()
) -> ChildSpec:
    """The child at `WORKSPACES`; *providers* are those that the node has, beside the ones known by name."""
    return ChildSpec(WORKSPACES, Workspaces, args=(stores, now, providers))
