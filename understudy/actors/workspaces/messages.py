"""What can be asked about workspaces, who belongs to them, and what they let each other run.

Everything may be refused with `Unavailable`. Who is no member of a workspace, or not as much as something takes, is
refused with `Forbidden`, whether or not there is such a workspace, so that nobody can probe. A change is committed when
it is answered, and holds on this node from then on: for whoever was put out, with their next request.
"""

from datetime import datetime

import attrs

from understudy.actors.agents.messages import Author as Author
from understudy.runtime import Ask
from understudy.storage.records import Activity as Activity
from understudy.storage.records import Done as Done
from understudy.storage.records import Grant as Grant
from understudy.storage.records import Json as Json
from understudy.storage.records import Member as Member
from understudy.storage.records import MemberChange as MemberChange
from understudy.storage.records import Restrictions as Restrictions
from understudy.storage.records import Workspace as Workspace
from understudy.storage.records import WorkspaceChange as WorkspaceChange
from understudy.storage.records import WorkspaceRole as WorkspaceRole

WORKSPACES = "workspaces"
"""The address of the workspaces actor."""


@attrs.frozen
class WorkspaceView:
    """A workspace as one of its members sees it: with their own role."""

    workspace: Workspace
    role: WorkspaceRole

    @property
    def administers(self) -> bool:
        """Whether the member is an owner or an admin."""
        return self.role in {WorkspaceRole.OWNER, WorkspaceRole.ADMIN}

    def whose(self, uid: str) -> str | None:
        """Whose things the member *uid* may read, of what is each member's own: None for everybody's."""
        return None if self.administers else uid


@attrs.frozen
class WorkspaceDetail:
    """A workspace, and to its admins who belongs to it and the grants that it gave or was given; None to others."""

    view: WorkspaceView
    members: tuple[Member, ...] | None = None
    grants: tuple[Grant, ...] | None = None


@attrs.frozen
class ListWorkspaces(Ask[tuple[WorkspaceView, ...]]):
    """The workspaces the user belongs to, oldest membership first."""

    uid: str


@attrs.frozen
class ResolveWorkspace(Ask[WorkspaceView]):
    """The workspace a request is about, if the user may act in it with at least the role ``needs``.

    Without ``workspace_id`` it is the user's only one; with several, `Invalid` names ``X-Workspace-Id``. Memberships
    that were changed by another node may be believed for 30 s.
    """

    uid: str
    workspace_id: str | None = None
    needs: WorkspaceRole = WorkspaceRole.MEMBER


@attrs.frozen
class MembershipsChanged:
    """Tell: a user's memberships are not what they were; forget what was remembered of them."""

    uid: str


@attrs.frozen
class GetWorkspace(Ask[WorkspaceDetail]):
    """One workspace, as it is now."""

    uid: str
    workspace_id: str


@attrs.frozen
class CreateWorkspace(Ask[WorkspaceView]):
    """A new workspace, which the user owns. Refused with `Invalid`; `Conflict` when they have as many as they may."""

    uid: str
    name: str
    plan: str
    settings: Json = attrs.field(factory=dict)
    request_id: str | None = None


@attrs.frozen
class ChangeWorkspace(Ask[WorkspaceView]):
    """Another name, other settings, other restrictions; another plan, if an owner asks.

    Refused with `Invalid`; `Conflict` when a workspace of several members is to be personal.
    """

    author: Author
    change: WorkspaceChange


@attrs.frozen
class MemberSet:
    """A member, and what had to be changed for that."""

    member: Member
    change: MemberChange


@attrs.frozen
class SetMember(Ask[MemberSet]):
    """Let a user, named by id or by e-mail address, be a member in this role.

    Takes the role admin, and owner where an owner is made or touched. Refused with `NotFound` (nobody has this id or
    address); `Conflict` for the last owner, for a personal workspace, and when there is no room.
    """

    author: Author
    who: str
    role: WorkspaceRole


@attrs.frozen
class RemoveMember(Ask[None]):
    """Let a user be a member no more. As `SetMember`, but that everybody may leave. `NotFound`: they are none."""

    author: Author
    uid: str


@attrs.frozen
class GetActivity(Ask[Activity]):
    """What was done in the workspace today and in the days before, so many in all. Days are UTC's. For admins."""

    uid: str
    workspace_id: str
    days: int


@attrs.frozen
class PutGrant(Ask[tuple[Grant, bool]]):
    """Let the members of another workspace run an agent, or change how: the grant, and whether it is new.

    Refused with `NotFound` (the author's workspace has no such agent of its own, there is no such workspace); `Invalid`
    (it expires in the past, the workspaces are one); `Conflict` when there is no room.
    """

    author: Author
    receiver: str
    agent_id: str
    readonly: bool = True
    expires_at: datetime | None = None


@attrs.frozen
class RevokeGrant(Ask[None]):
    """Take a grant back, by its id or by receiver and agent; by its id, the receiver may give it back, too.

    Refused with `NotFound`.
    """

    author: Author
    which: str | tuple[str, str]
