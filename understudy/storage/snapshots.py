"""The bill, day by day: what was billed is added up once a day is over, and then read instead of its many rows."""

from datetime import UTC, date, datetime, time, timedelta

from understudy.storage.records import Usage
from understudy.storage.repository import Repository
from understudy.storage.spending import DailyCost

_TAKE = """
INSERT INTO cost_snapshots
    (day, workspace_id, agent_id, provider, model, inferences, prompt_tokens, completion_tokens, cost, saved, unpriced,
     taken_at)
SELECT (at AT TIME ZONE 'UTC')::date, workspace_id, agent_id, provider, model, count(*), sum(prompt_tokens),
       sum(completion_tokens), coalesce(sum(cost), 0), sum(saved),
       coalesce(sum(prompt_tokens + completion_tokens) FILTER (WHERE cost IS NULL), 0), %(now)s
FROM billing_usage
WHERE at >= %(since)s AND at < %(until)s
  AND (%(workspace)s::text IS NULL OR workspace_id = %(workspace)s)
  AND EXISTS (SELECT FROM workspaces WHERE id = workspace_id)
GROUP BY 1, 2, 3, 4, 5
ON CONFLICT (workspace_id, day, agent_id, provider, model) DO UPDATE
SET inferences = excluded.inferences, prompt_tokens = excluded.prompt_tokens,
    completion_tokens = excluded.completion_tokens, cost = excluded.cost, saved = excluded.saved,
    unpriced = excluded.unpriced, taken_at = excluded.taken_at
"""


class SnapshotRepository(Repository):
    """Daily costs. Days are UTC's."""

    async def take(self, first: date, last: date, *, now: datetime, workspace_id: str | None = None) -> int:
        """Add up these days, both inclusive, of one workspace or of all; how many rows it makes.

        What was added up of them before is replaced: to take a day twice is to take it once.
        """
        return await self._count(
            _TAKE,
            since=datetime.combine(first, time(), UTC),
            until=datetime.combine(last + timedelta(days=1), time(), UTC),
            workspace=workspace_id,
            now=now,
        )

    async def latest(self) -> date | None:
        """The last day of which anything was added up."""
        row = await self._row("SELECT max(day) FROM cost_snapshots")
        return row[0] if row else None

    async def days(self, workspace_id: str, first: date, last: date) -> tuple[DailyCost, ...]:
        """What was added up of these days, both inclusive; oldest first."""
        found = await self._rows(
            "SELECT day, workspace_id, agent_id, provider, model, inferences, prompt_tokens, completion_tokens, cost,"
            " saved, unpriced FROM cost_snapshots WHERE workspace_id = %s AND day BETWEEN %s AND %s"
            " ORDER BY day, agent_id, provider, model",
            workspace_id,
            first,
            last,
        )
        return tuple(
            DailyCost(day, workspace, agent, provider, model, count, Usage(prompt, completion), cost, saved, unpriced)
            for day, workspace, agent, provider, model, count, prompt, completion, cost, saved, unpriced in found
        )
