"""What was done in a workspace, added up. Days are UTC's; a message is one that was said, by a person or an agent."""

from datetime import datetime
from typing import Any

from understudy.storage.connection import Connection
from understudy.storage.records import Activity, Done, Usage
from understudy.storage.repository import rows

_SESSIONS = """
SELECT count(*) FILTER (WHERE status = 'active'), count(*) FROM sessions
WHERE workspace_id = %(workspace)s AND last_active_at >= %(since)s AND created_at < %(until)s
"""
# One walk over the rows for every way to add them up; which one a row is of is told by what it was grouped by.
_MESSAGES = """
SELECT GROUPING(agent_id, day), agent_id, day, count(*), count(DISTINCT uid)
FROM (
    SELECT s.agent_id, s.uid, (m.created_at AT TIME ZONE 'UTC')::date AS day
    FROM sessions s JOIN session_messages m ON m.session_id = s.id
    WHERE s.workspace_id = %(workspace)s AND s.last_active_at >= %(since)s AND m.role IN ('user', 'assistant')
    AND m.created_at >= %(since)s AND m.created_at < %(until)s
) AS said
GROUP BY GROUPING SETS ((), (agent_id), (day))
"""
_SPENT = """
SELECT GROUPING(agent_id, day), agent_id, day, coalesce(sum(cost), 0)::bigint,
       coalesce(sum(prompt_tokens), 0)::bigint, coalesce(sum(completion_tokens), 0)::bigint,
       coalesce(sum(cardinality(tools)), 0)::bigint
FROM (
    SELECT *, (at AT TIME ZONE 'UTC')::date AS day FROM billing_usage
    WHERE workspace_id = %(workspace)s AND at >= %(since)s AND at < %(until)s
) AS spent
GROUP BY GROUPING SETS ((), (agent_id), (day))
"""
_ALL, _BY_AGENT = 0b11, 0b01


async def read_activity(
    connection: Connection[Any], workspace_id: str, *, since: datetime, until: datetime
) -> Activity:
    """What was done in the workspace from *since* until just before *until*."""
    named = {"workspace": workspace_id, "since": since, "until": until}
    ((active, total),) = await rows(connection, _SESSIONS, **named)
    messages = users = cost = prompt = completion = calls = 0
    by_agent: dict[str, Done] = {}
    daily: dict[Any, Done] = {}
    for grouping, agent, day, said, people in await rows(connection, _MESSAGES, **named):
        if grouping == _ALL:
            messages, users = said, people
        elif grouping == _BY_AGENT:
            by_agent[agent] = Done(said)
        else:
            daily[day] = Done(said)
    for grouping, agent, day, spent, asked, answered, called in await rows(connection, _SPENT, **named):
        if grouping == _ALL:
            cost, prompt, completion, calls = spent, asked, answered, called
        elif grouping == _BY_AGENT:
            by_agent[agent] = Done(by_agent.get(agent, Done()).messages, spent)
        else:
            daily[day] = Done(daily.get(day, Done()).messages, spent)
    return Activity(
        active_sessions=active,
        sessions=total,
        messages=messages,
        users=users,
        usage=Usage(prompt, completion),
        cost=cost,
        tool_calls=calls,
        by_agent=by_agent,
        daily=daily,
    )
