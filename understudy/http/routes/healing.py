"""`/admin/agents/{id}/resume`: let an agent run again that was paused for failing. For operators."""

from quart import Blueprint

from understudy.actors.healing.messages import HEALING, ResumeAgent
from understudy.actors.identity.messages import KeyScope
from understudy.http import schemas_approvals
from understudy.http.access import operator
from understudy.http.decode import optional_body
from understudy.http.operation import Auth, operation
from understudy.http.replies import Reply, json
from understudy.http.request import this_request

routes = Blueprint("healing", __name__, url_prefix="/admin/agents")


@routes.post("/<id>/resume")
@operation(
    "resumeAgent",
    Auth.KEY,
    scope=KeyScope.ADMIN_WRITE,
    body=schemas_approvals.ResumeRequest,
    replies={200: schemas_approvals.Resumed},
    example={"workspaceId": "ws_71ab"},
    reply_example={"ok": True, "agentId": "chad", "workspaces": ["ws_71ab"]},
)
async def resume(id: str) -> Reply:
    """Let a paused agent run again.

    An agent that failed several times in a row is paused in that workspace for a while; this ends it at once, in the
    workspace that is named or in all. Where it was not paused nothing is changed.
    """
    request = this_request()
    key = await operator(request, KeyScope.ADMIN_WRITE)
    given = optional_body(request, schemas_approvals.ResumeRequest)
    found = await request.node.ask(HEALING, ResumeAgent(id, given.workspace_id, key.name, request.id))
    return json(schemas_approvals.Resumed(ok=True, agent_id=id, workspaces=list(found)))
