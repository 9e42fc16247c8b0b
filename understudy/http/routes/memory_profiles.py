"""`/memory-profiles`: how the agents of a workspace remember."""

from quart import Blueprint

from understudy.actors.memory_profiles.messages import (
    MEMORY_PROFILES,
    AssignMemoryProfile,
    Assignment,
    Author,
    ChangeMemoryProfile,
    CreateMemoryProfile,
    DeleteMemoryProfile,
    GetAssignment,
    GetMemoryProfile,
    ListMemoryProfiles,
    MemoryProfileView,
)
from understudy.actors.workspaces.messages import WorkspaceRole
from understudy.http import schemas_memory_profiles as shapes
from understudy.http.access import member, once
from understudy.http.decode import body
from understudy.http.operation import Auth, operation
from understudy.http.replies import Reply, json
from understudy.http.request import ApiRequest, this_request

routes = Blueprint("memory_profiles", __name__, url_prefix="/memory-profiles")

_CONFIG = {
    "tiersEnabled": {"session": True, "daily": True, "profile": True, "graph": False, "procedural": False},
    "ttlDays": 90,
    "maxContextChunks": 8,
    "minRelevanceScore": 0.4,
    "extract": True,
    "systemPromptSuffix": "Answer briefly.",
}
_NEW = {"name": "lean", "description": "For quick answers", "config": _CONFIG}
_PROFILE = {
    "id": "mpr_5qd0b1aX",
    "workspaceId": "ws_5",
    **_NEW,
    "createdAt": "2026-03-02T08:00:00Z",
    "updatedAt": "2026-03-02T08:00:00Z",
}
_ASSIGNMENT = {"agentId": "chad", "profile": _PROFILE, "effective": _CONFIG}


@routes.post("")
@operation(
    "createMemoryProfile",
    Auth.WORKSPACE,
    body=shapes.NewMemoryProfile,
    replies={201: shapes.MemoryProfile},
    headers=("X-Workspace-Id", "X-Idempotency-Key"),
    errors=("CONFLICT", "RATE_LIMIT"),
    example=_NEW,
    reply_example=_PROFILE,
)
async def create_profile() -> Reply:
    """Make a memory profile.

    Its name is one of a kind in the workspace, which has at most 100. What `config` leaves out has its default: all
    tiers on, no `ttlDays`, 20 chunks, a score of 0.5. Takes the role admin.
    """
    request = this_request()
    author = await _author(request)
    given = body(request, shapes.NewMemoryProfile)

    async def do() -> Reply:
        asked = CreateMemoryProfile(author, given.name, given.description, given.config)
        made = await request.ask(MEMORY_PROFILES, asked)
        return json(_profile(made), 201, ((b"location", f"/memory-profiles/{made.id}".encode()),))

    return await once(request, author.uid, do)


@routes.get("")
@operation(
    "listMemoryProfiles",
    Auth.WORKSPACE,
    replies={200: shapes.MemoryProfileList},
    headers=("X-Workspace-Id",),
    errors=("RATE_LIMIT",),
    reply_example={"profiles": [_PROFILE]},
)
async def list_profiles() -> Reply:
    """List the memory profiles of the workspace, by name."""
    request = this_request()
    workspace_id = (await member(request, WorkspaceRole.VIEWER)).workspace_id
    found = await request.ask(MEMORY_PROFILES, ListMemoryProfiles(workspace_id))
    return json(shapes.MemoryProfileList(profiles=[_profile(each) for each in found]))


@routes.put("/agents/<agentId>/memory-profile")
@operation(
    "assignMemoryProfile",
    Auth.WORKSPACE,
    body=shapes.ProfileChoice,
    replies={200: shapes.AgentMemoryProfile},
    headers=("X-Workspace-Id",),
    errors=("NOT_FOUND", "RATE_LIMIT"),
    example={"profileId": "mpr_5qd0b1aX"},
    reply_example=_ASSIGNMENT,
)
async def assign_profile(agentId: str) -> Reply:  # noqa: N803  # the contract's name for it
    """Give an agent a memory profile, or with null take it away.

    It holds in this workspace, also for agents that are everybody's, from the next turn on. It goes before the
    `memoryProfileId` of the agent's own configuration. Takes the role admin.
    """
    request = this_request()
    author = await _author(request)
    given = body(request, shapes.ProfileChoice)
    asked = AssignMemoryProfile(author, agentId, given.profile_id)
    return json(_assignment(agentId, await request.ask(MEMORY_PROFILES, asked)))


@routes.get("/agents/<agentId>/memory-profile")
@operation(
    "getAgentMemoryProfile",
    Auth.WORKSPACE,
    replies={200: shapes.AgentMemoryProfile},
    headers=("X-Workspace-Id",),
    errors=("NOT_FOUND", "RATE_LIMIT"),
    reply_example=_ASSIGNMENT,
)
async def get_assignment(agentId: str) -> Reply:  # noqa: N803  # the contract's name for it
    """See how an agent remembers.

    `profile` is null for an agent that has none; `effective` is what holds all the same.
    """
    request = this_request()
    workspace_id = (await member(request, WorkspaceRole.VIEWER)).workspace_id
    return json(_assignment(agentId, await request.ask(MEMORY_PROFILES, GetAssignment(workspace_id, agentId))))


@routes.get("/<id>")
@operation(
    "getMemoryProfile",
    Auth.WORKSPACE,
    replies={200: shapes.MemoryProfile},
    headers=("X-Workspace-Id",),
    errors=("NOT_FOUND", "RATE_LIMIT"),
    reply_example=_PROFILE,
)
async def get_profile(id: str) -> Reply:
    """Read a memory profile."""
    request = this_request()
    workspace_id = (await member(request, WorkspaceRole.VIEWER)).workspace_id
    return json(_profile(await request.ask(MEMORY_PROFILES, GetMemoryProfile(workspace_id, id))))


@routes.put("/<id>")
@operation(
    "updateMemoryProfile",
    Auth.WORKSPACE,
    body=shapes.MemoryProfileChange,
    replies={200: shapes.MemoryProfile},
    headers=("X-Workspace-Id",),
    errors=("NOT_FOUND", "CONFLICT", "RATE_LIMIT"),
    example={"config": {"maxContextChunks": 8}},
    reply_example=_PROFILE,
)
async def update_profile(id: str) -> Reply:
    """Change a memory profile.

    What the body does not name stays; a `config` is complete: what it leaves out has its default. It holds from the
    next turn on of each agent that has the profile. Takes the role admin.
    """
    request = this_request()
    author = await _author(request)
    given = body(request, shapes.MemoryProfileChange)
    asked = ChangeMemoryProfile(author, id, given.name, given.description, given.config)
    return json(_profile(await request.ask(MEMORY_PROFILES, asked)))


@routes.delete("/<id>")
@operation(
    "deleteMemoryProfile",
    Auth.WORKSPACE,
    replies={204: None},
    headers=("X-Workspace-Id",),
    errors=("NOT_FOUND", "RATE_LIMIT"),
)
async def delete_profile(id: str) -> Reply:
    """Delete a memory profile.

    Agents that had it remember by the defaults. Takes the role admin.
    """
    request = this_request()
    author = await _author(request)
    await request.ask(MEMORY_PROFILES, DeleteMemoryProfile(author, id))
    return Reply(204)


async def _author(request: ApiRequest) -> Author:
    """The caller, if they may change the workspace's profiles."""
    caller = await member(request, WorkspaceRole.ADMIN)
    return Author(caller.workspace_id, caller.uid, request.id)


def _profile(view: MemoryProfileView) -> shapes.MemoryProfile:
    return shapes.MemoryProfile(
        id=view.id,
        workspace_id=view.workspace_id,
        name=view.name,
        description=view.description,
        config=view.config,
        created_at=view.created_at,
        updated_at=view.updated_at,
    )


def _assignment(agent_id: str, found: Assignment) -> shapes.AgentMemoryProfile:
    profile = _profile(found.profile) if found.profile is not None else None
    return shapes.AgentMemoryProfile(agent_id=agent_id, profile=profile, effective=found.effective)
