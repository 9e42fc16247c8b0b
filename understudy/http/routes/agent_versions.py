"""`/agents/{id}/versions`: every version an agent had."""

from typing import Annotated, Any

from msgspec import Meta
from quart import Blueprint

from understudy.actors.agents.messages import (
    AGENTS,
    GetVersion,
    LabelVersion,
    ListVersions,
    RollBack,
    VersionView,
)
from understudy.actors.workspaces.messages import WorkspaceRole
from understudy.http import schemas, schemas_agents
from understudy.http.access import member, once
from understudy.http.decode import body, query
from understudy.http.etag import with_tag
from understudy.http.operation import Auth, operation
from understudy.http.paging import next_link
from understudy.http.replies import Reply, json
from understudy.http.request import this_request
from understudy.http.routes.agents import (
    CHANGE_ERRORS,
    CONFIG_EXAMPLE,
    READ_ERRORS,
    READ_EXAMPLE,
    agent_shown,
    author_of,
    expected_revision,
)

routes = Blueprint("agent_versions", __name__, url_prefix="/agents/<id>/versions")

_VERSION_EXAMPLE = {
    "version": 3,
    "label": None,
    "createdBy": "usr_71ab",
    "createdAt": "2026-03-02T08:00:00Z",
    "current": True,
}


class VersionsQuery(schemas.Wire, frozen=True):
    """Which versions."""

    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    offset: schemas.Offset = 0


@routes.get("")
@operation(
    "listAgentVersions",
    Auth.WORKSPACE,
    query=VersionsQuery,
    replies={200: list[schemas_agents.AgentVersionEntry]},
    reply_example=[_VERSION_EXAMPLE],
    headers=("X-Workspace-Id",),
    errors=READ_ERRORS,
)
async def list_versions(id: str) -> Reply:
    """List an agent's versions, newest first; the present one is among them."""
    request = this_request()
    workspace_id = (await member(request, WorkspaceRole.VIEWER)).workspace_id
    asked = query(request, VersionsQuery)
    page = await request.ask(AGENTS, ListVersions(workspace_id, id, asked.limit, asked.offset))
    link = next_link(request, asked, page.total)
    return json([schemas_agents.AgentVersionEntry(**_entry(version)) for version in page.versions], headers=link)


@routes.get("/<int:version>")
@operation(
    "getAgentVersion",
    Auth.WORKSPACE,
    replies={200: schemas_agents.AgentVersionDetail},
    reply_example={**_VERSION_EXAMPLE, "agentId": "ops-helper", "config": CONFIG_EXAMPLE},
    headers=("X-Workspace-Id",),
    errors=READ_ERRORS,
)
async def get_version(id: str, version: int) -> Reply:
    """Read one version of an agent."""
    request = this_request()
    workspace_id = (await member(request, WorkspaceRole.VIEWER)).workspace_id
    return json(_detail(id, await request.ask(AGENTS, GetVersion(workspace_id, id, version))))


@routes.post("/<int:version>/rollback")
@operation(
    "rollBackAgent",
    Auth.WORKSPACE,
    replies={200: schemas_agents.Agent},
    headers=("X-Workspace-Id", "X-Idempotency-Key", "If-Match"),
    errors=(*CHANGE_ERRORS, "PRECONDITION_FAILED"),
    reply_example=READ_EXAMPLE,
)
async def roll_back(id: str, version: int) -> Reply:
    """Make an agent what it was.

    The old configuration becomes a new version, labelled with where it is from; the history loses nothing. Takes the
    role admin.
    """
    request = this_request()
    author = await author_of(request)

    async def do() -> Reply:
        expected = await expected_revision(request, author, id)
        shown = agent_shown(await request.ask(AGENTS, RollBack(author, id, version, expected)))
        return json(shown, headers=with_tag(shown))

    return await once(request, author.uid, do)


@routes.patch("/<int:version>")
@operation(
    "labelAgentVersion",
    Auth.WORKSPACE,
    body=schemas_agents.VersionLabel,
    replies={200: schemas_agents.AgentVersionDetail},
    reply_example={
        **_VERSION_EXAMPLE,
        "label": "before the move",
        "agentId": "ops-helper",
        "config": CONFIG_EXAMPLE,
    },
    headers=("X-Workspace-Id",),
    errors=("NOT_FOUND", "CONFLICT", "RATE_LIMIT"),
    example={"label": "before the move"},
)
async def label_version(id: str, version: int) -> Reply:
    """Give a version a label, or take it away.

    Takes the role admin.
    """
    request = this_request()
    author = await author_of(request)
    given = body(request, schemas_agents.VersionLabel)
    labelled = await request.ask(AGENTS, LabelVersion(author, id, version, given.label))
    return json(_detail(id, labelled))


def _entry(version: VersionView) -> dict[str, Any]:
    return {
        "version": version.version,
        "label": version.label,
        "created_by": version.created_by,
        "created_at": version.created_at,
        "current": version.current,
    }


def _detail(agent_id: str, version: VersionView) -> schemas_agents.AgentVersionDetail:
    return schemas_agents.AgentVersionDetail(agent_id=agent_id, config=version.document, **_entry(version))
