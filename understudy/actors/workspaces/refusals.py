"""What storage's no means to whoever asked for a change of a workspace."""

from understudy.actors.errors import Conflict, Detail, DomainError, Forbidden, Invalid, NotFound
from understudy.storage.errors import Missing, NotAllowed, StoreConflict
from understudy.storage.grants import MOST_GRANTS
from understudy.storage.membership import LARGEST_SETTINGS, MOST_MEMBERS, MOST_MEMBERSHIPS, MOST_OWNED
from understudy.storage.records import WorkspaceRole


def no_member() -> Forbidden:
    """The same words for a stranger's workspace and for one that does not exist."""
    return Forbidden("you are not a member of this workspace")


def too_low(needs: WorkspaceRole, role: WorkspaceRole) -> Forbidden:
    """A member whose role does not suffice."""
    return Forbidden(f"this takes the role {needs.value} in the workspace; yours is {role.value}")


def refused(error: NotAllowed | Missing | StoreConflict) -> DomainError:
    """The refusal for what the database said."""
    match error, error.what:
        case NotAllowed(), "owners":
            return Forbidden("only an owner can make somebody an owner, or change or remove one")
        case NotAllowed(), "plan":
            return Forbidden("only an owner can choose another plan", details=(Detail("plan", "owner_only"),))
        case NotAllowed(), _:
            return Forbidden("this takes the role admin in the workspace")
        case Missing(), what:
            return NotFound(_MISSING.get(what, f"there is no such {what}"))
        case _, "size of settings":
            said = f"settings: they have at most {LARGEST_SETTINGS // 1024} KB"
            return Invalid(said, details=(Detail("settings", "too_long", LARGEST_SETTINGS),))
        case _, what:
            return Conflict(_CONFLICTS.get(what, f"{what}: not as things stand"))


_MISSING = {
    "user": "there is no user with this id or e-mail address",
    "member": "they are not a member of this workspace",
    "agent": "this workspace has no such agent of its own",
    "workspace": "there is no such workspace to receive the grant",
    "grant": "there is no such grant",
}
_CONFLICTS = {
    "last owner": "a workspace has an owner: make somebody else one first",
    "personal": "a personal workspace has one member; choose the plan team first",
    "members": "a personal workspace has one member; remove the others first",
    "number of workspaces": f"you own {MOST_OWNED} workspaces, which is as many as one may",
    "number of members": f"a workspace has at most {MOST_MEMBERS} members",
    "number of memberships": f"one may belong to at most {MOST_MEMBERSHIPS} workspaces",
    "number of grants given": f"a workspace gives at most {MOST_GRANTS} grants: revoke one first",
    "number of grants received": f"a workspace is given at most {MOST_GRANTS} grants",
}
