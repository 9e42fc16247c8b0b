# ruff: noqa: S608  # queries are put together from constants of this module only; values are parameters
"""What operators look at across all tenants."""

from datetime import datetime

import msgspec

from understudy.storage.job import Job
from understudy.storage.jobs import COLUMNS, job_of
from understudy.storage.oversight import Used, UserUsage
from understudy.storage.records import Agent, AgentVersion, Usage
from understudy.storage.repository import Repository

_decode = msgspec.json.Decoder().decode
_LIVING = "a.deleted_at IS NULL AND a.workspace_id IS NOT NULL"


class AdminRepository(Repository):
    """Everybody's agents and use. Limited to nobody's rows: for the holders of internal keys only."""

    async def agents(self, *, limit: int = 100, offset: int = 0) -> tuple[tuple[Agent, ...], int]:
        """One page of all workspaces' own agents, by workspace and id, and how many there are on all pages."""
        found = await self._rows(
            "SELECT a.key, a.workspace_id, a.id, a.created_at, a.updated_at,"
            " v.id, v.version, v.config::text, v.created_at, v.created_by, v.label"
            " FROM agent_configs a JOIN agent_config_versions v ON v.agent_key = a.key AND v.version = a.version"
            f" WHERE {_LIVING} ORDER BY a.workspace_id, a.id LIMIT %s OFFSET %s",
            limit,
            offset,
        )
        ((total,),) = await self._rows(f"SELECT count(*) FROM agent_configs a WHERE {_LIVING}")
        agents = []
        for key, workspace_id, agent_id, created_at, updated_at, *version in found:
            id_, number, config, at, by, label = version
            current = AgentVersion(id_, number, _decode(config), at, by, label)
            agents.append(Agent(key, workspace_id, agent_id, current, created_at, updated_at))
        return tuple(agents), int(total)

    async def usage(self, uid: str, since: datetime, until: datetime) -> UserUsage:
        """What the user used from *since* until just before *until*; what is unpriced counts as tokens only."""
        total, by_agent = Used(Usage(), 0), {}
        for every, agent_id, prompt, completion, cost in await self._rows(
            "SELECT GROUPING(agent_id), agent_id, coalesce(sum(prompt_tokens), 0)::bigint,"
            " coalesce(sum(completion_tokens), 0)::bigint, coalesce(sum(cost), 0)::bigint"
            " FROM billing_usage WHERE uid = %s AND at >= %s AND at < %s"
            " GROUP BY GROUPING SETS ((), (agent_id)) ORDER BY agent_id",
            uid,
            since,
            until,
        ):
            used = Used(Usage(prompt, completion), cost)
            if every:
                total = used
            else:
                by_agent[agent_id] = used
        return UserUsage(total, by_agent)

    async def job(self, type: str, job_id: str) -> Job | None:
        """The node's own job of this type and id: one that belongs to no workspace."""
        query = f"SELECT {COLUMNS} FROM jobs WHERE id = %s AND type = %s AND workspace_id IS NULL"
        row = await self._row(query, job_id, type)
        return job_of(row) if row else None
