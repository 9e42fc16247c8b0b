"""Who may change who belongs to a workspace: the rules, as a function of what the database says at that moment."""

from collections.abc import Mapping

from understudy.storage.encoding import encode
from understudy.storage.errors import Missing, NotAllowed, StoreConflict
from understudy.storage.records import Json, MemberChange, Workspace, WorkspaceRole

MOST_MEMBERS = 500
"""Members that a workspace may have: they are read in one go."""
MOST_MEMBERSHIPS = 200
"""Workspaces that a user may belong to: likewise."""
MOST_OWNED = 50
"""Workspaces that a user may own, by having made them."""

LARGEST_SETTINGS = 16 * 1024
"""Bytes of a workspace's settings, as JSON."""

PERSONAL = "personal"
"""The plan of a workspace that has one member."""

_ORDER = tuple(reversed(WorkspaceRole))


def suffices(role: WorkspaceRole | None, needs: WorkspaceRole) -> bool:
    """Whether *role* (None: not a member) may what *needs* may."""
    return role is not None and _ORDER.index(role) >= _ORDER.index(needs)


def plan_membership(
    plan: str, roles: Mapping[str, WorkspaceRole], by: str, uid: str, role: WorkspaceRole | None
) -> MemberChange:
    """What becomes of it when *by* wants *uid* to have *role* in a workspace with these members; None is to leave.

    Raises:
        NotAllowed: ``role`` (*by* is no admin, and is not the one who leaves); ``owners`` (an admin may neither make an
            owner nor touch one).
        Missing: ``member`` is not there to be removed.
        StoreConflict: ``last owner``; ``personal`` (the plan has one member); ``number of members``.
    """
    mine, theirs = roles.get(by), roles.get(uid)
    leaves = role is None and by == uid and mine is not None
    if not leaves and not suffices(mine, WorkspaceRole.ADMIN):
        raise NotAllowed("role")
    if role is None and theirs is None:
        raise Missing("member")
    if theirs is role:
        return MemberChange.SAME
    if mine is not WorkspaceRole.OWNER and WorkspaceRole.OWNER in {theirs, role}:
        raise NotAllowed("owners")
    if theirs is WorkspaceRole.OWNER and sum(each is WorkspaceRole.OWNER for each in roles.values()) == 1:
        raise StoreConflict("last owner")
    if theirs is not None:
        return MemberChange.REMOVED if role is None else MemberChange.CHANGED
    if plan == PERSONAL:
        raise StoreConflict("personal")
    if len(roles) >= MOST_MEMBERS:
        raise StoreConflict("number of members")
    return MemberChange.ADDED


def check_change(old: Workspace, new: Workspace, role: WorkspaceRole, members: int) -> None:
    """Raise what keeps somebody of this role from making the workspace *new*, when it has so many members.

    Raises:
        NotAllowed: ``plan``, which only owners choose.
        StoreConflict: ``members`` (a personal workspace has one); ``size of settings``.
    """
    if new.plan != old.plan and role is not WorkspaceRole.OWNER:
        raise NotAllowed("plan")
    if new.plan == PERSONAL != old.plan and members > 1:
        raise StoreConflict("members")
    check_size(new.settings)


def check_size(settings: Json) -> None:
    """Raise `StoreConflict` (``size of settings``) when there is more of them than is kept."""
    if len(encode(settings)) > LARGEST_SETTINGS:
        raise StoreConflict("size of settings")
