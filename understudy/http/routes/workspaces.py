"""`/workspaces`: where the caller belongs, who else does, and what they let each other run."""

from typing import Annotated, Any

from msgspec import UNSET, Meta
from quart import Blueprint

from understudy.actors.workspaces.messages import (
    WORKSPACES,
    Author,
    ChangeWorkspace,
    CreateWorkspace,
    GetActivity,
    GetWorkspace,
    ListWorkspaces,
    MemberChange,
    RemoveMember,
    ResolveWorkspace,
    Restrictions,
    SetMember,
    WorkspaceChange,
    WorkspaceRole,
)
from understudy.http import schemas
from understudy.http import schemas_workspaces as shapes
from understudy.http.access import once, user
from understudy.http.decode import body, query
from understudy.http.errors import invalid
from understudy.http.operation import Auth, operation
from understudy.http.replies import Reply, json
from understudy.http.request import ApiRequest, this_request
from understudy.http.show_workspaces import (
    detail_of,
    member_of,
    restrictions_of,
    stats_of,
    workspace_of,
)

routes = Blueprint("workspaces", __name__, url_prefix="/workspaces")

NO_SETTINGS = frozenset({"name", "plan", "settings", *schemas.Workspace.__struct_encode_fields__}) | frozenset(
    shapes.WorkspaceDetail.__struct_encode_fields__
)
"""Names in a change that are no settings: who sends back what they read has changed none of these."""

_WORKSPACE = {
    "id": "ws_5",
    "name": "Acme support",
    "ownerId": "usr_71ab",
    "plan": "team",
    "createdAt": 1772438400000,
    "settings": {"timezone": "Europe/Vienna"},
    "yourRole": "owner",
}
_MEMBER = {
    "uid": "usr_71ab",
    "email": "mira@example.org",
    "name": "Mira",
    "role": "member",
    "joinedAt": "2026-03-02T08:00:00Z",
}
GRANT_EXAMPLE = {
    "receivingWorkspaceId": "ws_6",
    "agentId": "ops-helper",
    "expiresAt": "2027-01-01T00:00:00Z",
    "id": "gr_5qd0b1aX",
    "grantingWorkspaceId": "ws_5",
    "readonly": True,
    "createdBy": "usr_71ab",
    "createdAt": "2026-03-02T08:00:00Z",
    "updatedAt": "2026-03-02T08:00:00Z",
}
_RESTRICTIONS = {"allowedProviders": ["claude", "ollama"], "allowedModels": None}
_STATS = {
    "workspaceId": "ws_5",
    "days": 30,
    "sessions": {"active": 4, "total": 61},
    "messages": 812,
    "activeUsers": 3,
    "tokens": {"prompt": 910233, "completion": 120411},
    "costUsd": 7.31,
    "toolCalls": 214,
    "byAgent": [{"agentId": "chad", "messages": 640, "costUsd": 5.9}],
    "daily": [{"date": "2026-03-01", "messages": 30, "costUsd": 0.22}],
}
ERRORS = ("FORBIDDEN", "RATE_LIMIT")


class StatsQuery(schemas.Wire, frozen=True):
    """How many days."""

    days: Annotated[int, Meta(ge=1, le=365)] = 30


@routes.post("")
@operation(
    "createWorkspace",
    Auth.JWT,
    body=shapes.NewWorkspace,
    replies={201: schemas.Workspace},
    headers=("X-Idempotency-Key",),
    errors=("CONFLICT", "RATE_LIMIT"),
    example={"name": "Acme support", "plan": "team", "settings": {"timezone": "Europe/Vienna"}},
    reply_example=_WORKSPACE,
)
async def create_workspace() -> Reply:
    """Make a workspace, which you own.

    On the plan `personal` you are its only member; on `team` and `enterprise` there may be others.
    """
    request = this_request()
    principal = await user(request)
    given = body(request, shapes.NewWorkspace)

    async def do() -> Reply:
        settings = {} if given.settings is UNSET else given.settings
        new = CreateWorkspace(principal.uid, given.name, given.plan.value, settings, request.id)
        view = await request.ask(WORKSPACES, new)
        return json(workspace_of(view), 201, ((b"location", f"/workspaces/{view.workspace.id}".encode()),))

    return await once(request, principal.uid, do)


@routes.get("")
@operation("listWorkspaces", Auth.JWT, replies={200: schemas.WorkspaceList}, reply_example={"workspaces": [_WORKSPACE]})
async def list_workspaces() -> Reply:
    """List the workspaces you belong to, oldest membership first."""
    request = this_request()
    principal = await user(request)
    views = await request.ask(WORKSPACES, ListWorkspaces(principal.uid))
    return json(schemas.WorkspaceList(workspaces=[workspace_of(view) for view in views]))


@routes.get("/<id>")
@operation(
    "getWorkspace",
    Auth.JWT,
    replies={200: shapes.WorkspaceDetail},
    errors=ERRORS,
    reply_example={**_WORKSPACE, **_RESTRICTIONS, "members": [_MEMBER], "grants": [GRANT_EXAMPLE]},
)
async def get_workspace(id: str) -> Reply:
    """Read a workspace that you belong to.

    Owners and admins also see its members, its restrictions, and the grants that it gave and was given.
    """
    request = this_request()
    author = await author_of(request, id, WorkspaceRole.VIEWER)
    return json(detail_of(await request.ask(WORKSPACES, GetWorkspace(author.uid, id))))


@routes.put("/<id>/settings")
@operation(
    "changeWorkspace",
    Auth.JWT,
    body=shapes.SettingsChange,
    replies={200: schemas.Workspace},
    errors=(*ERRORS, "CONFLICT"),
    example={"name": "Acme support", "timezone": "Europe/Vienna"},
    reply_example=_WORKSPACE,
)
async def change_workspace(id: str) -> Reply:
    """Change a workspace's name, plan or settings.

    What the body does not name stays, and a setting that is null is taken away. Settings have at most 16 KB;
    `timezone` (of the IANA database) is the one by which its agents tell the time, and after `retentionDays` without a
    word a conversation is deleted. Takes the role admin, and owner for another plan; a workspace of several members
    cannot become `personal`.
    """
    request = this_request()
    author = await author_of(request, id)
    given = body(request, shapes.SettingsChange)
    others = {key: value for key, value in body(request, dict[str, Any]).items() if key not in NO_SETTINGS}
    change = WorkspaceChange(
        name=None if given.name is UNSET else given.name,
        plan=None if given.plan is UNSET else given.plan.value,
        settings=others if given.settings is UNSET else {**given.settings, **others},
    )
    return json(workspace_of(await request.ask(WORKSPACES, ChangeWorkspace(author, change))))


@routes.post("/<id>/members")
@operation(
    "setMember",
    Auth.JWT,
    body=shapes.NewMember,
    replies={201: shapes.Member, 200: shapes.Member},
    headers=("X-Idempotency-Key",),
    errors=(*ERRORS, "NOT_FOUND", "CONFLICT"),
    example={"email": "mira@example.org", "role": "member"},
    reply_example=_MEMBER,
)
async def set_member(id: str) -> Reply:
    """Make somebody a member, or give a member another role.

    They are named by `uid` or by `email`, and must have an account. Takes the role admin; only an owner makes an owner
    or changes one, and the last owner stays one.
    """
    request = this_request()
    author = await author_of(request, id)
    given = body(request, shapes.NewMember)
    if (given.uid is None) is (given.email is None):
        raise invalid("uid", "missing" if given.uid is None else "not_alone", "uid: name the user by uid or by email")
    who = given.uid if given.uid is not None else given.email
    if who is None or ("@" in who) is not (given.email is not None):
        raise invalid("email" if given.email is not None else "uid", "invalid_value")
    named = who

    async def do() -> Reply:
        done = await request.ask(WORKSPACES, SetMember(author, named, given.role))
        return json(member_of(done.member), 201 if done.change is MemberChange.ADDED else 200)

    return await once(request, author.uid, do)


@routes.delete("/<id>/members/<uid>")
@operation("removeMember", Auth.JWT, replies={204: None}, errors=(*ERRORS, "NOT_FOUND", "CONFLICT"))
async def remove_member(id: str, uid: str) -> Reply:
    """Remove a member, or leave.

    It holds from their next request on. Takes the role admin, and owner to remove an owner; everybody may remove
    themselves, but for the last owner.
    """
    request = this_request()
    author = await author_of(request, id, WorkspaceRole.VIEWER)
    await request.ask(WORKSPACES, RemoveMember(author, uid))
    return Reply(204)


@routes.get("/<id>/stats")
@operation(
    "workspaceStats",
    Auth.JWT,
    query=StatsQuery,
    replies={200: shapes.WorkspaceStats},
    errors=ERRORS,
    reply_example=_STATS,
)
async def workspace_stats(id: str) -> Reply:
    """See what was done in the workspace, and what it cost.

    `days` counts today, by UTC. Takes the role admin.
    """
    request = this_request()
    author = await author_of(request, id)
    asked = query(request, StatsQuery)
    return json(stats_of(id, asked.days, await request.ask(WORKSPACES, GetActivity(author.uid, id, asked.days))))


@routes.put("/<id>/restrictions")
@operation(
    "restrictWorkspace",
    Auth.JWT,
    body=shapes.Restrictions,
    replies={200: shapes.Restrictions},
    errors=ERRORS,
    example=_RESTRICTIONS,
    reply_example=_RESTRICTIONS,
)
async def restrict_workspace(id: str) -> Reply:
    """Say on which providers and models agents may run in the workspace.

    null, or a list that is left out, is any; an empty list is none. It holds for every turn that begins from now on:
    one on a model that is not allowed is refused (`MODEL_RESTRICTED`), and fallbacks that are not are never asked.
    A provider that there is not is refused, since it would match nothing. Takes the role admin.
    """
    request = this_request()
    author = await author_of(request, id)
    given = body(request, shapes.Restrictions)
    providers, models = (
        None if names is None else tuple(dict.fromkeys(names))
        for names in (given.allowed_providers, given.allowed_models)
    )
    change = WorkspaceChange(restrictions=Restrictions(providers, models))
    restrictions = (await request.ask(WORKSPACES, ChangeWorkspace(author, change))).workspace.restrictions
    return json(restrictions_of(restrictions))


async def author_of(request: ApiRequest, workspace_id: str, needs: WorkspaceRole = WorkspaceRole.ADMIN) -> Author:
    """The caller, if they may act in the workspace of the path as *needs*."""
    principal = await user(request)
    await request.ask(WORKSPACES, ResolveWorkspace(principal.uid, workspace_id, needs))
    request.tenant = workspace_id
    request.log_fields = {"uid": principal.uid, "workspace": workspace_id}
    return Author(workspace_id, principal.uid, request.id)
