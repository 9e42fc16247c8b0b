"""What operators look at, in memory."""

from datetime import datetime

from understudy.storage.job import Job
from understudy.storage.memory.tables import Tables
from understudy.storage.oversight import Used, UserUsage
from understudy.storage.records import Agent, Usage

NOTHING = Used(Usage(), 0)


class MemoryAdmin:
    """See `understudy.storage.admin.AdminRepository`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def agents(self, *, limit: int = 100, offset: int = 0) -> tuple[tuple[Agent, ...], int]:
        """As the real one."""
        self._tables.check()
        living = [
            agent
            for key, agent in self._tables.agents.items()
            if agent.workspace_id is not None and key not in self._tables.deleted_agents
        ]
        living.sort(key=lambda agent: (agent.workspace_id or "", agent.id))
        return tuple(living[offset : offset + limit]), len(living)

    async def usage(self, uid: str, since: datetime, until: datetime) -> UserUsage:
        """As the real one."""
        self._tables.check()
        total, by_agent = NOTHING, dict[str, Used]()
        for billed in self._tables.bill:
            if billed.uid == uid and since <= billed.charge.at < until:
                usage = Usage(billed.charge.usage.prompt_tokens, billed.charge.usage.completion_tokens)
                total = _sum(total, usage, billed.charge.cost)
                by_agent[billed.agent_id] = _sum(by_agent.get(billed.agent_id, NOTHING), usage, billed.charge.cost)
        return UserUsage(total, by_agent)

    async def job(self, type: str, job_id: str) -> Job | None:
        """As the real one."""
        self._tables.check()
        job = self._tables.jobs.get(job_id)
        return job if job is not None and (job.type, job.workspace_id) == (type, None) else None


def _sum(used: Used, usage: Usage, cost: int | None) -> Used:
    return Used(used.usage + usage, used.cost + (cost or 0))
