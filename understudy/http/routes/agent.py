"""The rest of `/agent`: reset a conversation, see what agents do."""

from quart import Blueprint

from understudy.actors.presence.messages import PRESENCE, ListPresence
from understudy.actors.session.messages import DIRECTORY, Reset, SessionKey
from understudy.actors.workspaces.messages import WorkspaceRole
from understudy.http import examples, schemas
from understudy.http.access import member, once
from understudy.http.decode import optional_body
from understudy.http.operation import Auth, operation
from understudy.http.replies import Reply, json
from understudy.http.request import this_request

routes = Blueprint("agent", __name__, url_prefix="/agent")


@routes.post("/reset")
@operation(
    "resetSession",
    Auth.WORKSPACE,
    body=schemas.Conversation,
    replies={200: schemas.ResetReply},
    reply_example={"ok": True, "archivedSessionId": "ses_60c2", "sessionId": "ses_71ab"},
    headers=("X-Workspace-Id", "X-Idempotency-Key"),
    errors=("FORBIDDEN", "NOT_FOUND", "CONFLICT", "RATE_LIMIT"),
    example={"agentId": "chad"},
)
async def reset() -> Reply:
    """Begin a conversation anew.

    The session so far is archived, and can still be read; a running turn is stopped first. The next message goes to the
    new session.
    """
    request = this_request()
    caller = await member(request)
    given = optional_body(request, schemas.Conversation)
    key = SessionKey(caller.workspace_id, caller.uid, given.agent_id, given.surface, given.surface_id)

    async def do() -> Reply:
        done = await request.ask(DIRECTORY, Reset(key))
        return json(
            schemas.ResetReply(ok=True, archived_session_id=done.archived_session_id, session_id=done.session_id)
        )

    return await once(request, caller.uid, do)


@routes.get("/presence")
@operation(
    "agentPresence",
    Auth.WORKSPACE,
    replies={200: schemas.PresenceReply},
    reply_example={
        "agents": [{"agentId": "chad", "state": "thinking", "sessionId": "ses_71ab", "since": "2026-03-02T09:10:00Z"}]
    },
    headers=("X-Workspace-Id",),
    errors=("FORBIDDEN", "RATE_LIMIT"),
)
async def presence() -> Reply:
    """See what agents do for you at the moment: idle, thinking, tool, streaming or awaiting_approval."""
    request = this_request()
    caller = await member(request, WorkspaceRole.VIEWER)
    found = await request.ask(PRESENCE, ListPresence(caller.uid, caller.workspace_id))
    agents = [
        schemas.AgentPresence(agent_id=p.agent_id, state=p.state, session_id=p.session_id, since=p.since) for p in found
    ]
    return json(schemas.PresenceReply(agents=agents))


@routes.get("/health")
@operation("agentHealth", Auth.PUBLIC, replies={200: schemas.Status}, reply_example=examples.STATUS)
async def health() -> Reply:
    """Say that the agent routes are there."""
    return json(schemas.Status())
