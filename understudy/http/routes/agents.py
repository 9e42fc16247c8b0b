"""`/agents`: the agents of a workspace, and what they can do."""

from typing import Annotated

import attrs
import msgspec
from msgspec import UNSET, Meta
from quart import Blueprint

from understudy.actors.agents.messages import (
    AGENTS,
    AgentDocument,
    AgentView,
    Author,
    CreateAgent,
    DeleteAgent,
    GetAgent,
    ListAgents,
    ListCapabilities,
    ReplaceAgent,
)
from understudy.actors.workspaces.messages import WorkspaceRole
from understudy.http import schemas, schemas_agents
from understudy.http.access import member, once
from understudy.http.decode import body, query
from understudy.http.errors import invalid
from understudy.http.etag import check_if_match, tagged, with_tag
from understudy.http.operation import Auth, operation
from understudy.http.paging import next_link
from understudy.http.replies import Reply, json
from understudy.http.request import ApiRequest, this_request

routes = Blueprint("agents", __name__, url_prefix="/agents")

CACHE = "private, max-age=30"
VARY = "Authorization, X-Workspace-Id"

CONFIG_EXAMPLE = {
    "displayName": "Ops helper",
    "model": {"provider": "ollama", "modelId": "qwen2.5:7b", "maxOutputTokens": 2048, "temperature": 0.2},
    "systemPromptTemplate": "Help with operations. Today: {{date}}.",
    "tools": {"allow": ["datetime_now"], "deny": []},
}
AGENT_EXAMPLE = {"id": "ops-helper", **CONFIG_EXAMPLE}
READ_EXAMPLE = {
    **AGENT_EXAMPLE,
    "workspaceId": "ws_5",
    "version": 2,
    "source": "workspace",
    "createdAt": "2026-03-01T08:00:00Z",
    "updatedAt": "2026-03-02T08:00:00Z",
}
READ_ERRORS = ("NOT_FOUND", "RATE_LIMIT")
CHANGE_ERRORS = ("NOT_FOUND", "CONFLICT", "RATE_LIMIT")


class ListQuery(schemas.Wire, frozen=True):
    """Which agents; all without a limit."""

    limit: Annotated[int, Meta(ge=1, le=100)] | None = None
    offset: schemas.Offset = 0


@routes.post("")
@operation(
    "createAgent",
    Auth.WORKSPACE,
    body=schemas_agents.NewAgent,
    replies={201: schemas_agents.Agent},
    headers=("X-Workspace-Id", "X-Idempotency-Key"),
    errors=("CONFLICT", "RATE_LIMIT"),
    example=AGENT_EXAMPLE,
    reply_example={**READ_EXAMPLE, "version": 1},
)
async def create_agent() -> Reply:
    """Make an agent.

    It can be talked to at once, by its id. Takes the role admin. `systemPromptTemplate` may hold `{{date}}`,
    `{{time}}`, `{{timezone}}`, `{{user.id}}`, `{{user.profile.…}}`, `{{memory}}`, `{{agent.id}}`,
    `{{agent.displayName}}`, `{{workspace.id}}`, `{{workspace.displayName}}` and `{{#if name}}…{{else}}…{{/if}}`; a name
    that has no value is nothing.
    """
    request = this_request()
    author = await author_of(request)
    given = body(request, schemas_agents.NewAgent)

    async def do() -> Reply:
        shown = agent_shown(await request.ask(AGENTS, CreateAgent(author, given.id, _document(given))))
        return json(shown, 201, ((b"location", f"/agents/{given.id}".encode()), *with_tag(shown)))

    return await once(request, author.uid, do)


@routes.get("")
@operation(
    "listAgents",
    Auth.WORKSPACE,
    query=ListQuery,
    replies={200: schemas_agents.AgentList, 304: None},
    reply_example={"agents": [READ_EXAMPLE], "total": 1, "limit": None, "offset": 0},
    headers=("X-Workspace-Id", "If-None-Match"),
    errors=("RATE_LIMIT",),
)
async def list_agents() -> Reply:
    """List the agents of the workspace, those that are everybody's, and those that other workspaces granted to it.

    `source` says which is which. Without `limit` it is all of them.
    """
    request = this_request()
    workspace_id = (await member(request, WorkspaceRole.VIEWER)).workspace_id
    asked = query(request, ListQuery)
    page = await request.ask(AGENTS, ListAgents(workspace_id, asked.limit, asked.offset))
    agents = [agent_shown(agent) for agent in page.agents]
    shown = schemas_agents.AgentList(agents=agents, total=page.total, limit=asked.limit, offset=asked.offset)
    link = next_link(request, asked, page.total)
    return tagged(request, shown, headers=link, cache=CACHE, vary=VARY)


@routes.get("/<id>")
@operation(
    "getAgent",
    Auth.WORKSPACE,
    replies={200: schemas_agents.Agent, 304: None},
    headers=("X-Workspace-Id", "If-None-Match"),
    errors=READ_ERRORS,
    reply_example=READ_EXAMPLE,
)
async def get_agent(id: str) -> Reply:
    """Read an agent."""
    request = this_request()
    workspace_id = (await member(request, WorkspaceRole.VIEWER)).workspace_id
    return tagged(request, agent_shown(await request.ask(AGENTS, GetAgent(workspace_id, id))), cache=CACHE, vary=VARY)


@routes.get("/<id>/capabilities")
@operation(
    "agentCapabilities",
    Auth.WORKSPACE,
    replies={200: schemas_agents.AgentCapabilities},
    reply_example={
        "agentId": "ops-helper",
        "skills": [],
        "tools": [{"name": "datetime_now", "description": "The present date and time.", "source": "allow"}],
        "denied": [],
    },
    headers=("X-Workspace-Id",),
    errors=READ_ERRORS,
)
async def capabilities(id: str) -> Reply:
    """See which tools an agent may call, and why."""
    request = this_request()
    workspace_id = (await member(request, WorkspaceRole.VIEWER)).workspace_id
    found = await request.ask(AGENTS, ListCapabilities(workspace_id, id))
    tools = [
        schemas_agents.AgentCapability(name=tool.name, description=tool.description, source=tool.source)
        for tool in found.tools
    ]
    return json(
        schemas_agents.AgentCapabilities(agent_id=found.agent_id, skills=found.skills, tools=tools, denied=found.denied)
    )


@routes.put("/<id>")
@operation(
    "replaceAgent",
    Auth.WORKSPACE,
    body=schemas_agents.AgentReplacement,
    replies={200: schemas_agents.Agent},
    headers=("X-Workspace-Id", "If-Match"),
    errors=(*CHANGE_ERRORS, "PRECONDITION_FAILED"),
    example=AGENT_EXAMPLE,
    reply_example=READ_EXAMPLE,
)
async def replace_agent(id: str) -> Reply:
    """Give an agent another configuration.

    The body is the whole configuration; it becomes the next version, and holds from the next turn on. The same
    configuration again makes no version. Takes the role admin.
    """
    request = this_request()
    author = await author_of(request)
    given = body(request, schemas_agents.AgentReplacement)
    if given.id is not None and given.id != id:
        raise invalid("id", "differs_from_path", f"id: the path says {id!r}; an agent's id cannot be changed")
    expected = await expected_revision(request, author, id)
    changed = await request.ask(AGENTS, ReplaceAgent(author, id, _document(given), expected))
    shown = agent_shown(changed)
    return json(shown, headers=with_tag(shown))


@routes.delete("/<id>")
@operation(
    "deleteAgent",
    Auth.WORKSPACE,
    replies={204: None},
    headers=("X-Workspace-Id", "If-Match"),
    errors=("NOT_FOUND", "RATE_LIMIT", "PRECONDITION_FAILED"),
)
async def delete_agent(id: str) -> Reply:
    """Delete an agent.

    Its sessions can still be read. Takes the role admin.
    """
    request = this_request()
    author = await author_of(request)
    expected = await expected_revision(request, author, id)
    await request.ask(AGENTS, DeleteAgent(author, id, expected))
    return Reply(204)


async def author_of(request: ApiRequest) -> Author:
    """The caller, if they may change the workspace's agents."""
    caller = await member(request, WorkspaceRole.ADMIN)
    return Author(caller.workspace_id, caller.uid, request.id)


async def expected_revision(request: ApiRequest, author: Author, agent_id: str) -> str | None:
    """The revision that the change depends on, by ``If-Match``; None when it depends on none."""
    if "If-Match" not in request.headers:
        return None
    agent = await request.ask(AGENTS, GetAgent(author.workspace_id, agent_id))
    check_if_match(request, agent_shown(agent))
    return agent.revision


def _document(given: AgentDocument) -> AgentDocument:
    """The configuration without what else the request's body has."""
    return AgentDocument(**{name: getattr(given, name) for name in AgentDocument.__struct_fields__})


def agent_shown(agent: AgentView) -> schemas_agents.Agent:
    """What is shown of an agent, wherever one is."""
    return schemas_agents.Agent(
        id=agent.id,
        workspace_id=agent.workspace_id,
        version=agent.version,
        source=agent.source,
        created_at=agent.created_at,
        updated_at=agent.updated_at,
        grant=UNSET if (grant := agent.grant) is None else schemas_agents.AgentGrant(**attrs.asdict(grant)),
        **msgspec.structs.asdict(agent.document),
    )
