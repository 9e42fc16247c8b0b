"""Tenants, and who belongs to them."""

from datetime import datetime
from enum import StrEnum

import attrs

from understudy.storage.records.values import Json


class WorkspaceRole(StrEnum):
    """What a member may do, most first."""

    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"
    VIEWER = "viewer"


@attrs.frozen
class Restrictions:
    """All that agents may run on in a workspace; None is any, and nothing named is none."""

    providers: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None


ANYTHING = Restrictions()


@attrs.frozen
class Workspace:
    """A tenant. ``plan`` is personal, team or enterprise."""

    id: str
    name: str
    owner_id: str
    plan: str
    created_at: datetime
    settings: Json = attrs.field(factory=dict)
    restrictions: Restrictions = ANYTHING


@attrs.frozen
class Membership:
    """That a user belongs to a workspace, and as what."""

    workspace: Workspace
    uid: str
    role: WorkspaceRole
    joined_at: datetime


@attrs.frozen
class Member:
    """A member of a workspace, as its admins see them."""

    uid: str
    email: str
    name: str | None
    role: WorkspaceRole
    joined_at: datetime


class MemberChange(StrEnum):
    """What became of a wish to change who belongs to a workspace."""

    ADDED = "added"
    CHANGED = "changed"
    SAME = "same"
    REMOVED = "removed"


@attrs.frozen
class WorkspaceChange:
    """What is to be different of a workspace; None leaves it. A setting that is None is taken away."""

    name: str | None = None
    plan: str | None = None
    settings: Json = attrs.field(factory=dict)
    restrictions: Restrictions | None = None

    def applied_to(self, workspace: Workspace) -> Workspace:
        """The workspace as it would be."""
        settings = {key: value for key, value in {**workspace.settings, **self.settings}.items() if value is not None}
        return attrs.evolve(
            workspace,
            name=self.name if self.name is not None else workspace.name,
            plan=self.plan if self.plan is not None else workspace.plan,
            settings=settings,
            restrictions=self.restrictions if self.restrictions is not None else workspace.restrictions,
        )
