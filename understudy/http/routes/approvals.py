"""`/approvals`: tool calls that wait for somebody's consent."""

from quart import Blueprint

from understudy.actors.approvals.messages import (
    APPROVALS,
    Approval,
    ApprovalStatus,
    Decide,
    ListApprovals,
)
from understudy.actors.workspaces.messages import WorkspaceRole
from understudy.http import schemas_approvals
from understudy.http.access import member, once
from understudy.http.decode import optional_body, query
from understudy.http.operation import Auth, operation
from understudy.http.paging import next_link
from understudy.http.replies import Reply, json
from understudy.http.request import this_request

routes = Blueprint("approvals", __name__, url_prefix="/approvals")

_EXAMPLE = {
    "id": "apr_5c1e",
    "uid": "usr_71ab",
    "agentId": "ops-helper",
    "sessionId": "ses_71ab",
    "turnId": "trn_09fe",
    "toolCallId": "call_1",
    "tool": "shell_exec",
    "arguments": '{"command": "df -h"}',
    "status": "pending",
    "requestedAt": "2026-03-02T09:15:00Z",
    "expiresAt": "2026-03-02T09:20:00Z",
    "decidedAt": None,
    "decidedBy": None,
    "note": None,
}
_DECIDED = {**_EXAMPLE, "status": "approved", "decidedAt": "2026-03-02T09:16:00Z", "decidedBy": "usr_71ab"}
_HEADERS = ("X-Workspace-Id", "X-Idempotency-Key")
_ERRORS = ("FORBIDDEN", "NOT_FOUND", "CONFLICT", "RATE_LIMIT")


@routes.get("")
@operation(
    "listApprovals",
    Auth.WORKSPACE,
    query=schemas_approvals.ApprovalsQuery,
    replies={200: schemas_approvals.ApprovalList},
    reply_example={"approvals": [_EXAMPLE], "total": 1, "limit": 50, "offset": 0},
    headers=("X-Workspace-Id",),
    errors=("FORBIDDEN", "RATE_LIMIT"),
)
async def list_approvals() -> Reply:
    """List tool calls that wait for consent, newest first.

    Those of your own conversations; the roles admin and owner see the whole workspace's. `status` finds decided ones,
    which are kept for 30 days.
    """
    request = this_request()
    caller = await member(request, WorkspaceRole.VIEWER)
    asked = query(request, schemas_approvals.ApprovalsQuery)
    wanted = ListApprovals(
        caller.workspace_id,
        caller.whose,
        None if asked.status is schemas_approvals.ApprovalFilter.ALL else ApprovalStatus(asked.status.value),
        asked.limit,
        asked.offset,
    )
    page = await request.ask(APPROVALS, wanted)
    shown = schemas_approvals.ApprovalList(
        approvals=[_shown(approval) for approval in page.approvals],
        total=page.total,
        limit=asked.limit,
        offset=asked.offset,
    )
    return json(shown, headers=next_link(request, asked, page.total))


@routes.post("/<id>/approve")
@operation(
    "approve",
    Auth.WORKSPACE,
    body=schemas_approvals.Decision,
    replies={200: schemas_approvals.Approval},
    headers=_HEADERS,
    errors=_ERRORS,
    example={"note": "go ahead"},
    reply_example=_DECIDED,
)
async def approve(id: str) -> Reply:
    """Let a tool call run.

    Takes the person whose conversation it is, or the role admin. Answered once the decision is stored; one that was
    decided, has expired or was cancelled is 409.
    """
    return await _decide(id, approve=True)


@routes.post("/<id>/deny")
@operation(
    "deny",
    Auth.WORKSPACE,
    body=schemas_approvals.Decision,
    replies={200: schemas_approvals.Approval},
    headers=_HEADERS,
    errors=_ERRORS,
    example={"note": "not on a Friday"},
    reply_example={**_DECIDED, "status": "denied", "note": "not on a Friday"},
)
async def deny(id: str) -> Reply:
    """Refuse a tool call.

    The agent is told so, with the note, and goes on without it. Otherwise as approving.
    """
    return await _decide(id, approve=False)


async def _decide(approval_id: str, *, approve: bool) -> Reply:
    request = this_request()
    caller = await member(request)
    given = optional_body(request, schemas_approvals.Decision)
    wanted = Decide(caller.workspace_id, approval_id, approve, caller.uid, given.note, caller.whose, request.id)

    async def do() -> Reply:
        return json(_shown(await request.ask(APPROVALS, wanted)))

    return await once(request, caller.uid, do)


def _shown(approval: Approval) -> schemas_approvals.Approval:
    return schemas_approvals.Approval(
        id=approval.id,
        uid=approval.uid,
        agent_id=approval.agent_id,
        session_id=approval.session_id,
        turn_id=approval.turn_id,
        tool_call_id=approval.tool_call_id,
        tool=approval.tool,
        arguments=approval.arguments,
        status=approval.status.value,
        requested_at=approval.requested_at,
        expires_at=approval.expires_at,
        decided_at=approval.decided_at,
        decided_by=approval.decided_by,
        note=approval.note,
    )
