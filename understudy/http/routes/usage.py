"""`/agents/{id}/usage`: how much of what an agent may use is left."""

from datetime import datetime

from quart import Blueprint

from understudy.actors.agents.document import quotas_of
from understudy.actors.agents.messages import AGENTS, GetAgent
from understudy.actors.costs.messages import COSTS, AgentUse, GetAgentUsage, QuotaUse
from understudy.actors.costs.prices import in_dollars
from understudy.actors.workspaces.messages import WorkspaceRole
from understudy.http import schemas_money
from understudy.http.access import member
from understudy.http.operation import Auth, operation
from understudy.http.replies import Reply, json
from understudy.http.request import this_request
from understudy.http.schemas_money import QuotaUnit

routes = Blueprint("usage", __name__, url_prefix="/agents")

_USE = {
    "inferences": 3,
    "promptTokens": 2600,
    "completionTokens": 400,
    "totalTokens": 3000,
    "unpricedTokens": 0,
    "costUsd": 0.0138,
}
_EXAMPLE = {
    "agentId": "ops-helper",
    "workspaceId": "ws_5",
    "quotas": [
        {
            "quota": "tokens-per-day",
            "unit": "tokens",
            "limit": 1_000_000,
            "used": 3000,
            "reserved": 4100,
            "remaining": 992_900,
            "renewsAt": "2026-03-03T00:00:00Z",
        }
    ],
    "usage": {
        "hour": {"since": "2026-03-02T09:00:00Z", **_USE},
        "day": {"since": "2026-03-02T00:00:00Z", **_USE},
        "month": {"since": "2026-03-01T00:00:00Z", **_USE},
    },
}


@routes.get("/<id>/usage")
@operation(
    "agentUsage",
    Auth.WORKSPACE,
    replies={200: schemas_money.UsageOfAgent},
    reply_example=_EXAMPLE,
    headers=("X-Workspace-Id",),
    errors=("FORBIDDEN", "NOT_FOUND", "RATE_LIMIT"),
)
async def usage(id: str) -> Reply:
    """See how much of its quotas an agent has used in the workspace, and when they renew.

    `reserved` is what turns under way may need; it becomes `used`, or is given back, when they end. A quota counts the
    turns that began while the agent had it. `usage` counts all its inferences, with or without quotas; hours, days and
    months are UTC's. An agent without limits has no `quotas`.
    """
    request = this_request()
    workspace_id = (await member(request, WorkspaceRole.VIEWER)).workspace_id
    agent = await request.ask(AGENTS, GetAgent(workspace_id, id))
    found = await request.ask(COSTS, GetAgentUsage(workspace_id, id, quotas_of(agent.document)))
    hour, day, month = map(_use, found.began, (found.hour, found.day, found.month))
    shown = schemas_money.UsageOfAgent(
        agent_id=id,
        workspace_id=workspace_id,
        quotas=[_quota(quota) for quota in found.quotas],
        usage=schemas_money.AgentUses(hour=hour, day=day, month=month),
    )
    return json(shown)


def _quota(quota: QuotaUse) -> schemas_money.AgentQuota:
    def shown(amount: int) -> int | float:
        return in_dollars(amount) if quota.money else amount

    return schemas_money.AgentQuota(
        quota=quota.name,
        unit=QuotaUnit.USD if quota.money else QuotaUnit.TOKENS,
        limit=shown(quota.most),
        used=shown(quota.used),
        reserved=shown(quota.reserved),
        remaining=shown(quota.remaining),
        renews_at=quota.renews_at,
    )


def _use(since: datetime, use: AgentUse) -> schemas_money.AgentUse:
    return schemas_money.AgentUse(
        since=since,
        inferences=use.inferences,
        prompt_tokens=use.usage.prompt_tokens,
        completion_tokens=use.usage.completion_tokens,
        total_tokens=use.usage.total_tokens,
        unpriced_tokens=use.unpriced,
        cost_usd=in_dollars(use.cost),
    )
