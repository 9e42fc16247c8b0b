"""What can be asked about workspaces and the caller's place in them."""

import attrs

from understudy.runtime import Ask
from understudy.storage.records import Workspace as Workspace
from understudy.storage.records import WorkspaceRole as WorkspaceRole

WORKSPACES = "workspaces"
"""The address of the workspaces actor."""


@attrs.frozen
class WorkspaceView:
    """A workspace as one of its members sees it: with their own role."""

    workspace: Workspace
    role: WorkspaceRole


@attrs.frozen
class ListWorkspaces(Ask[tuple[WorkspaceView, ...]]):
    """The workspaces the user belongs to, oldest membership first. Refused with `Unavailable`."""

    uid: str


@attrs.frozen
class ResolveWorkspace(Ask[WorkspaceView]):
    """The workspace a request is about, if the user may act in it with at least the role ``needs``.

    Without ``workspace_id`` it is the user's only one; with several, `Invalid` names ``X-Workspace-Id``. A workspace
    that does not exist and one that is not the user's are both `Forbidden`, so that nobody can probe; so is a role that
    does not suffice. Answers may be 30 s old. Refused with `Unavailable` when the database is away.
    """

    uid: str
    workspace_id: str | None = None
    needs: WorkspaceRole = WorkspaceRole.MEMBER


@attrs.frozen
class MembershipsChanged:
    """Tell: a user's memberships are not what they were; forget what was remembered of them."""

    uid: str
