"""The actor that knows which workspace a request is about."""

from collections.abc import Mapping
from typing import ClassVar

import attrs
import trio

from understudy.actors.errors import Detail, Forbidden, Invalid
from understudy.actors.lru import Lru
from understudy.actors.metrics.messages import METRICS, CacheUsed
from understudy.actors.serving import Server
from understudy.actors.workspaces.messages import (
    WORKSPACES,
    ListWorkspaces,
    MembershipsChanged,
    ResolveWorkspace,
    WorkspaceRole,
    WorkspaceView,
)
from understudy.actors.workspaces.ports import Memberships
from understudy.runtime import ChildSpec, Deferred, receive

MAX_AGE = 30.0
"""Seconds that a user's memberships are believed without asking the database again."""
REMEMBERED = 20_000
"""How many users' memberships are remembered at most."""
TELL_METRICS_EVERY = 5.0

_RANK = {role: rank for rank, role in enumerate(reversed(WorkspaceRole))}


@attrs.frozen
class _Known:
    views: tuple[WorkspaceView, ...]
    read_at: float


@attrs.frozen
class _TellMetrics:
    """Timer: say how the cache did."""


class Workspaces(Server):
    """Answers from what it read in the last 30 s; a refusal always comes from the database."""

    mailbox_limit: ClassVar[int] = 10_000

    def __init__(self, memberships: Memberships) -> None:
        self._memberships = memberships
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
        return self.answer(message, self._resolve, message)

    @receive
    def forget(self, message: MembershipsChanged) -> None:
        """Read this user's memberships anew when they are next asked for."""
        self._generation += 1
        self._known.forget(message.uid)

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

    async def _resolve(self, message: ResolveWorkspace) -> WorkspaceView:
        return choose(await self._read(message.uid), message.workspace_id, message.needs)

    async def _read(self, uid: str) -> tuple[WorkspaceView, ...]:
        generation, read_at = self._generation, trio.current_time()
        memberships = await self._memberships.memberships(uid)
        views = tuple(WorkspaceView(m.workspace, m.role) for m in memberships)
        # A read that was under way when somebody's memberships changed may be from before: it is not kept.
        if views and generation == self._generation:
            self._known.put(uid, _Known(views, read_at))
        return views


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
        raise Forbidden("you are not a member of this workspace")
    if _RANK[view.role] < _RANK[needs]:
        raise Forbidden(f"this takes the role {needs.value} in the workspace; yours is {view.role.value}")
    return view


def workspaces_spec(memberships: Memberships) -> ChildSpec:
    """The child at `WORKSPACES`."""
    return ChildSpec(WORKSPACES, Workspaces, args=(memberships,))
