"""`/workspaces/{id}/grants`: agents that workspaces let each other run."""

from quart import Blueprint

from understudy.actors.workspaces.messages import (
    WORKSPACES,
    PutGrant,
    RevokeGrant,
)
from understudy.http import schemas_workspaces as shapes
from understudy.http.access import once
from understudy.http.decode import body, query
from understudy.http.errors import invalid
from understudy.http.operation import Auth, operation
from understudy.http.replies import Reply, json
from understudy.http.request import this_request
from understudy.http.routes.workspaces import ERRORS, GRANT_EXAMPLE, author_of
from understudy.http.show_workspaces import (
    grant_of,
)

routes = Blueprint("grants", __name__, url_prefix="/workspaces/<id>/grants")

_NEW_GRANT = {name: GRANT_EXAMPLE[name] for name in ("receivingWorkspaceId", "agentId", "expiresAt")}


@routes.post("")
@operation(
    "grantAgent",
    Auth.JWT,
    body=shapes.NewGrant,
    replies={201: shapes.Grant, 200: shapes.Grant},
    headers=("X-Idempotency-Key",),
    errors=(*ERRORS, "NOT_FOUND", "CONFLICT"),
    example=_NEW_GRANT,
    reply_example=GRANT_EXAMPLE,
)
async def grant_agent(id: str) -> Reply:
    """Let the members of another workspace run an agent of this one.

    What they use is billed to them. The same agent and workspace again change the grant. A `readonly` grant lets them
    talk to the agent, and not start sub-agents from it; no grant lets them change it. An agent of their own, or one of
    everybody's, keeps its name: the granted one is then not seen. Takes the role admin.
    """
    request = this_request()
    author = await author_of(request, id)
    given = body(request, shapes.NewGrant)
    wish = PutGrant(author, given.receiving_workspace_id, given.agent_id, given.readonly, given.expires_at)

    async def do() -> Reply:
        grant, is_new = await request.ask(WORKSPACES, wish)
        return json(grant_of(grant), 201 if is_new else 200)

    return await once(request, author.uid, do)


@routes.delete("")
@operation(
    "revokeGrant",
    Auth.JWT,
    body=shapes.GrantSelector,
    query=shapes.GrantSelector,
    replies={204: None},
    errors=(*ERRORS, "NOT_FOUND"),
    example={"receivingWorkspaceId": "ws_6", "agentId": "ops-helper"},
)
async def revoke_grant(id: str) -> Reply:
    """Take a grant back; the next turn is refused.

    It is named in the body or in the query: by `grantId`, or by `receivingWorkspaceId` and `agentId`. By its id, the
    workspace that received it may give it back, too. Takes the role admin.
    """
    request = this_request()
    author = await author_of(request, id)
    named = (body if request.payload.strip() else query)(request, shapes.GrantSelector)
    which: str | tuple[str, str]
    match named:
        case shapes.GrantSelector(grant_id=str(grant), receiving_workspace_id=None, agent_id=None):
            which = grant
        case shapes.GrantSelector(grant_id=None, receiving_workspace_id=str(receiver), agent_id=str(agent)):
            which = (receiver, agent)
        case _:
            raise invalid("grantId", "missing", "grantId: name the grant, or receivingWorkspaceId and agentId")
    await request.ask(WORKSPACES, RevokeGrant(author, which))
    return Reply(204)
