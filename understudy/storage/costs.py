"""What was spent."""

from collections.abc import Sequence
from datetime import datetime

from understudy.storage.records import Usage
from understudy.storage.repository import Repository
from understudy.storage.rowsecurity import Tenant
from understudy.storage.spending import AgentUse, Spent

_OF_WORKSPACE = "FROM billing_usage WHERE workspace_id = %s AND at >= %s AND at < %s"
# One walk over the rows for every way to add them up; which one a row is of is told by what it was grouped by.
_SUMS = f"""
SELECT GROUPING(agent_id, provider, model, uid, month), agent_id, provider, model, uid, month,
       coalesce(sum(cost), 0)::bigint, sum(saved)::bigint, count(*) - count(cost),
       coalesce(sum(prompt_tokens + completion_tokens) FILTER (WHERE cost IS NULL), 0)::bigint, count(cost)
FROM (SELECT *, date_trunc('month', at AT TIME ZONE 'UTC')::date AS month {_OF_WORKSPACE}) AS spent
GROUP BY GROUPING SETS ((), (agent_id), (provider), (provider, model), (uid), (month))
"""  # noqa: S608  # put together from constants only
# A call's share of what it cost to ask for it; shares are whole micro-dollars and add up.
_BY_TOOL = f"""
SELECT tool, sum(cost / cardinality(tools) + (place <= cost %% cardinality(tools))::integer)::bigint
FROM (SELECT * {_OF_WORKSPACE} AND cost IS NOT NULL) AS spent,
     unnest(tools) WITH ORDINALITY AS called(tool, place)
GROUP BY tool
"""  # noqa: S608  # put together from constants only
_OF_AGENT = """
SELECT count(b.turn_id), coalesce(sum(b.prompt_tokens), 0), coalesce(sum(b.completion_tokens), 0),
       coalesce(sum(b.cost), 0)::bigint,
       coalesce(sum(b.prompt_tokens + b.completion_tokens) FILTER (WHERE b.cost IS NULL), 0)
FROM unnest(%s::timestamptz[]) WITH ORDINALITY AS asked(since, place)
LEFT JOIN billing_usage b ON b.workspace_id = %s AND b.agent_id = %s AND b.at >= asked.since
GROUP BY asked.place ORDER BY asked.place
"""
_NOTHING, _AGENT, _PROVIDER, _MODEL, _USER, _MONTH = 0b11111, 0b01111, 0b10111, 0b10011, 0b11101, 0b11110


class CostRepository(Repository):
    """The bill: rows come with the end of their turn (see `understudy.storage.entries.TurnClosed`)."""

    async def spent(self, workspace_id: str, since: datetime, until: datetime) -> Spent:
        """What the workspace spent from *since* until just before *until*. Months are UTC's."""
        tenant = Tenant(workspace_id=workspace_id)
        total = saved = 0
        by: dict[int, dict[str, int]] = {grouping: {} for grouping in (_AGENT, _PROVIDER, _MODEL, _USER)}
        months, unpriced = {}, {}
        for grouping, agent, provider, model, uid, month, cost, kept, unknown, tokens, priced in await self._rows(
            _SUMS, workspace_id, since, until, tenant=tenant
        ):
            named = {_AGENT: agent, _PROVIDER: provider, _MODEL: f"{provider}/{model}", _USER: uid}
            if grouping == _NOTHING:
                total, saved = cost, kept or 0
            elif grouping == _MONTH:
                months[month] = cost
            elif priced or grouping != _MODEL:
                by[grouping][named[grouping]] = cost
            if grouping == _MODEL and unknown:
                unpriced[named[_MODEL]] = tokens
        tools: dict[str, int] = dict(await self._rows(_BY_TOOL, workspace_id, since, until, tenant=tenant))
        return Spent(
            total=total,
            saved=saved,
            by_agent=by[_AGENT],
            by_provider=by[_PROVIDER],
            by_model=by[_MODEL],
            by_user=by[_USER],
            by_tool=tools,
            by_month=months,
            unpriced=unpriced,
        )

    async def used_by_agent(self, workspace_id: str, agent_id: str, since: Sequence[datetime]) -> tuple[AgentUse, ...]:
        """What an agent used in a workspace since each of these times."""
        rows = await self._rows(
            _OF_AGENT, list(since), workspace_id, agent_id, tenant=Tenant(workspace_id=workspace_id)
        )
        return tuple(AgentUse(n, Usage(int(pt), int(ct)), cost, int(unpriced)) for n, pt, ct, cost, unpriced in rows)

    async def counter(self, scope: str, starts: datetime) -> tuple[int, int]:
        """How much of an allowance is used, and how much is reserved."""
        row = await self._row(
            "SELECT used, reserved FROM quota_counters WHERE scope = %s AND starts = %s", scope, starts
        )
        return (0, 0) if row is None else (int(row[0]), int(row[1]))

    async def prune_counters(self, before: datetime) -> int:
        """Forget allowances that began before then; returns how many.

        What lapsed by then in an allowance that nobody wants any more, of which nobody gives it back, goes with it.
        """
        await self._prune("quota_reservations", "lapses_at < %s", before)
        return await self._prune(
            "quota_counters",
            "starts < %s AND NOT EXISTS (SELECT FROM quota_reservations r"
            " WHERE r.scope = quota_counters.scope AND r.starts = quota_counters.starts)",
            before,
        )
