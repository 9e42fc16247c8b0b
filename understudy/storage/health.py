"""Agents that fail: how often in a row, and until when each is left alone."""

from typing import Any

from understudy.storage.connection import Connection
from understudy.storage.entries import Published
from understudy.storage.outbox import publish
from understudy.storage.records import AgentHealth
from understudy.storage.repository import Repository, rows

_COLUMNS = "workspace_id, agent_id, failures, last_error, failed_at, paused_until"


class HealthRepository(Repository):
    """The health of agents, each in one workspace; an agent that did well the last time has none."""

    async def unwell(self) -> tuple[AgentHealth, ...]:
        """All agents that failed the last time they ran."""
        return tuple(AgentHealth(*row) for row in await self._rows(f"SELECT {_COLUMNS} FROM agent_health"))  # noqa: S608  # a constant

    async def note(self, health: AgentHealth, *facts: Published) -> None:
        """Store what is known of an agent now, and tell *facts* of it."""

        async def work(connection: Connection[Any]) -> None:
            await rows(
                connection,
                "INSERT INTO agent_health (workspace_id, agent_id, failures, last_error, failed_at, paused_until)"
                " SELECT %s, %s, %s, %s, %s, %s WHERE EXISTS (SELECT FROM workspaces WHERE id = %s)"
                " ON CONFLICT (workspace_id, agent_id) DO UPDATE SET failures = excluded.failures,"
                " last_error = excluded.last_error, failed_at = excluded.failed_at,"
                " paused_until = excluded.paused_until",
                health.workspace_id,
                health.agent_id,
                health.failures,
                health.last_error,
                health.failed_at,
                health.paused_until,
                health.workspace_id,
            )
            await publish(connection, *facts)

        await self._transact(work)

    async def clear(self, workspace_id: str, agent_id: str, *facts: Published) -> None:
        """The agent is well, or taken for it; tell *facts* of it."""

        async def work(connection: Connection[Any]) -> None:
            await rows(
                connection,
                "DELETE FROM agent_health WHERE workspace_id = %s AND agent_id = %s",
                workspace_id,
                agent_id,
            )
            await publish(connection, *facts)

        await self._transact(work)
