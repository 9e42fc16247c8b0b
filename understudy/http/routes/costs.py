"""`/costs`: what a workspace spent."""

from collections.abc import Mapping

from quart import Blueprint

from understudy.actors.clock import utc_now
from understudy.actors.costs.messages import COSTS, GetSpending, Spent
from understudy.actors.costs.period import Period, period
from understudy.actors.costs.prices import in_dollars
from understudy.actors.workspaces.messages import WorkspaceRole
from understudy.http import schemas_money
from understudy.http.access import member
from understudy.http.decode import query
from understudy.http.operation import Auth, operation
from understudy.http.replies import Reply, json
from understudy.http.request import ApiRequest, this_request

routes = Blueprint("costs", __name__, url_prefix="/costs")

_ERRORS = ("FORBIDDEN", "RATE_LIMIT")
_EXAMPLE = {
    "workspaceId": "ws_5",
    "totalCost": 3.41,
    "byAgent": {"chad": 3.41},
    "byProvider": {"claude": 2.9, "groq": 0.51},
    "byMonth": [{"month": "2026-02", "cost": 1.1}, {"month": "2026-03", "cost": 2.31}],
    "unpriced": {},
}
_BREAKDOWN_EXAMPLE = {
    "meta": {
        "workspaceId": "ws_5",
        "months": 3,
        "startDate": "2026-01-01",
        "endDate": "2026-03-02",
        "generatedAt": "2026-03-02T09:10:00Z",
    },
    "totalCost": 3.41,
    "cachedSavings": 0.62,
    "byAgent": {"chad": 3.41},
    "byProvider": {"claude": 2.9, "groq": 0.51},
    "byModel": {"claude/claude-sonnet-4-5": 2.9, "groq/llama-3.3-70b-versatile": 0.51},
    "byUser": {"usr_9kq2": 3.41},
    "byTool": {"http_get": 0.4},
    "unpriced": {"custom/my-model": 51200},
}


@routes.get("")
@operation(
    "costs",
    Auth.WORKSPACE,
    query=schemas_money.CostsQuery,
    replies={200: schemas_money.Costs},
    reply_example=_EXAMPLE,
    headers=("X-Workspace-Id",),
    errors=_ERRORS,
)
async def costs() -> Reply:
    """Read what the workspace spent, month by month.

    Of the present month and those before it, `months` in all, UTC. Models that have no price are not free: their tokens
    are under `unpriced`.
    """
    request = this_request()
    workspace_id = (await member(request, WorkspaceRole.VIEWER)).workspace_id
    asked = query(request, schemas_money.CostsQuery)
    days = period(utc_now().date(), months=asked.months)
    spent = await _spent(request, workspace_id, days)
    shown = schemas_money.Costs(
        workspace_id=workspace_id,
        total_cost=in_dollars(spent.total),
        by_agent=_dollars(spent.by_agent),
        by_provider=_dollars(spent.by_provider),
        by_month=[
            schemas_money.MonthCost(month=f"{month:%Y-%m}", cost=in_dollars(spent.by_month.get(month, 0)))
            for month in days.months
        ],
        unpriced=dict(sorted(spent.unpriced.items())),
    )
    return json(shown)


@routes.get("/breakdown")
@operation(
    "costBreakdown",
    Auth.WORKSPACE,
    query=schemas_money.BreakdownQuery,
    replies={200: schemas_money.CostBreakdown},
    reply_example=_BREAKDOWN_EXAMPLE,
    headers=("X-Workspace-Id",),
    errors=_ERRORS,
)
async def breakdown() -> Reply:
    """Read what the workspace spent, and on what.

    `startDate` and `endDate` are days, both inclusive, UTC, at most 366; what is left out follows from `months`. What
    other users spent is shown to the roles admin and owner only.
    """
    request = this_request()
    caller = await member(request, WorkspaceRole.VIEWER)
    workspace_id = caller.workspace_id
    asked = query(request, schemas_money.BreakdownQuery)
    days = period(utc_now().date(), months=asked.months, start=asked.start_date, end=asked.end_date)
    spent = await _spent(request, workspace_id, days)
    by_user = {uid: cost for uid, cost in spent.by_user.items() if caller.whose in {None, uid}}
    shown = schemas_money.CostBreakdown(
        meta=schemas_money.CostsMeta(
            workspace_id=workspace_id,
            months=len(days.months),
            start_date=days.first,
            end_date=days.last,
            generated_at=utc_now(),
        ),
        total_cost=in_dollars(spent.total),
        cached_savings=in_dollars(spent.saved),
        by_agent=_dollars(spent.by_agent),
        by_provider=_dollars(spent.by_provider),
        by_model=_dollars(spent.by_model),
        by_user=_dollars(by_user),
        by_tool=_dollars(spent.by_tool),
        unpriced=dict(sorted(spent.unpriced.items())),
    )
    return json(shown)


async def _spent(request: ApiRequest, workspace_id: str, days: Period) -> Spent:
    return await request.ask(COSTS, GetSpending(workspace_id, days.first, days.last))


def _dollars(micros: Mapping[str, int]) -> dict[str, float]:
    return {name: in_dollars(cost) for name, cost in sorted(micros.items())}
