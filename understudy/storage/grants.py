# ruff: noqa: S608  # queries are put together from constants of this package only; values are parameters
"""Agents that the members of another workspace may run."""

from datetime import datetime
from typing import Any

from understudy.storage.agents import AGENT, read_agent
from understudy.storage.audit import is_recorded, record
from understudy.storage.connection import Connection
from understudy.storage.errors import Missing, StoreConflict
from understudy.storage.records import Agent, AuditEntry, Grant, WorkspaceRole
from understudy.storage.repository import Repository, Row, rows
from understudy.storage.rowsecurity import Tenant
from understudy.storage.tenancy import about, hold_as

MOST_GRANTS = 200
"""Grants that a workspace may give, and that it may have been given: each list is read in one go."""

_GRANT = (
    "g.id, g.granting_workspace_id, g.receiving_workspace_id, g.agent_id, g.readonly, g.expires_at, g.created_by,"
    " g.created_at, g.updated_at"
)
# Of two agents of one name, the one that was granted first: nobody can take its place by granting another.
_GRANTED = f"""
SELECT DISTINCT ON (g.agent_id) {_GRANT}, {AGENT}
FROM workspace_agent_grants g JOIN agent_configs a ON a.key = g.agent_key AND a.deleted_at IS NULL
JOIN agent_config_versions v ON v.agent_key = a.key AND v.version = a.version
WHERE g.receiving_workspace_id = %(workspace)s AND (g.expires_at IS NULL OR g.expires_at > %(now)s)
"""
_FIRST = "ORDER BY g.agent_id, g.created_at, g.id"


class GrantRepository(Repository):
    """Grants. What is expired, or of an agent that is deleted, counts for nothing and is there until it is purged."""

    async def granted(self, workspace_id: str, agent_id: str, *, now: datetime) -> tuple[Agent, Grant] | None:
        """The agent that the workspace was granted under this id, and by which grant."""
        row = await self._row(
            f"{_GRANTED} AND g.agent_id = %(agent)s {_FIRST}",
            tenant=Tenant(workspace_id=workspace_id),
            workspace=workspace_id,
            agent=agent_id,
            now=now,
        )
        return _granted(row) if row else None

    async def all_granted(self, workspace_id: str, *, now: datetime) -> tuple[tuple[Agent, Grant], ...]:
        """Every agent that the workspace was granted, by id."""
        tenant = Tenant(workspace_id=workspace_id)
        found = await self._rows(f"{_GRANTED} {_FIRST}", tenant=tenant, workspace=workspace_id, now=now)
        return tuple(_granted(row) for row in found)

    async def of_workspace(self, workspace_id: str) -> tuple[Grant, ...]:
        """The grants that the workspace gave and those it was given, oldest first; also those that count no more."""
        found = await self._rows(
            f"SELECT {_GRANT} FROM workspace_agent_grants g"
            " WHERE g.granting_workspace_id = %(id)s OR g.receiving_workspace_id = %(id)s ORDER BY g.created_at, g.id",
            tenant=Tenant(workspace_id=workspace_id),
            id=workspace_id,
        )
        return tuple(Grant(*row) for row in found)

    async def put(self, grant: Grant, by: str, audit: AuditEntry) -> tuple[Grant, bool]:
        """Give the grant, or change the one there is of this agent to this workspace; as it is then, and if it is new.

        Raises:
            NotAllowed: ``role``: *by* is no admin of the granting workspace.
            Missing: ``agent`` of the granting workspace's own; ``workspace`` to receive it.
            StoreConflict: ``number of grants given``, ``number of grants received``.
        """

        async def work(connection: Connection[Any]) -> tuple[Grant, bool]:
            # Both, in the order of ids: two that grant each other something at once do not wait for each other.
            both = "SELECT id FROM workspaces WHERE id IN (%s, %s) ORDER BY id FOR NO KEY UPDATE"
            held = await rows(connection, both, grant.granting_workspace_id, grant.receiving_workspace_id)
            await hold_as(connection, grant.granting_workspace_id, by, WorkspaceRole.ADMIN)
            if len(held) < 2:
                raise Missing("workspace")
            agent_key = await _agent_key(connection, grant)
            known = await _known(connection, grant)
            if known is None:
                await _check_room(connection, grant)
            (row,) = await rows(
                connection,
                "INSERT INTO workspace_agent_grants AS g (id, granting_workspace_id, receiving_workspace_id, agent_id,"
                " agent_key, readonly, expires_at, created_by, created_at, updated_at)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
                " ON CONFLICT (granting_workspace_id, receiving_workspace_id, agent_id) DO UPDATE"
                " SET agent_key = excluded.agent_key, readonly = excluded.readonly, expires_at = excluded.expires_at,"
                f" updated_at = excluded.updated_at RETURNING {_GRANT}",
                grant.id,
                grant.granting_workspace_id,
                grant.receiving_workspace_id,
                grant.agent_id,
                agent_key,
                grant.readonly,
                grant.expires_at,
                grant.created_by,
                grant.created_at,
                grant.updated_at,
            )
            await record(connection, audit)
            return Grant(*row), known is None or known == grant.id

        return await self._transact(work)

    async def revoke(self, workspace_id: str, by: str, which: str | tuple[str, str], audit: AuditEntry) -> None:
        """Delete a grant: by its id, or by the receiving workspace and the agent.

        By its id, the workspace that received it may give it back, too. Raises `NotAllowed` (``role``) and `Missing`
        (``grant``).
        """

        async def work(connection: Connection[Any]) -> None:
            await hold_as(connection, workspace_id, by, WorkspaceRole.ADMIN)
            if await is_recorded(connection, audit):
                return  # our own first attempt, whose answer was lost
            if isinstance(which, str):
                condition = "g.id = %(grant)s AND %(workspace)s IN (g.granting_workspace_id, g.receiving_workspace_id)"
                values = {"grant": which}
            else:
                condition = (
                    "g.granting_workspace_id = %(workspace)s AND g.receiving_workspace_id = %(receiving)s"
                    " AND g.agent_id = %(agent)s"
                )
                values = dict(zip(("receiving", "agent"), which, strict=True))
            found = await rows(
                connection,
                f"DELETE FROM workspace_agent_grants g WHERE {condition} RETURNING {_GRANT}",
                workspace=workspace_id,
                **values,
            )
            if not found:
                raise Missing("grant")
            gone = Grant(*found[0])
            told = {"grant": gone.id, "from": gone.granting_workspace_id, "to": gone.receiving_workspace_id}
            await record(connection, about(audit, **told))

        await self._transact(work)

    async def purge_expired(self, *, before: datetime) -> int:
        """Delete grants that expired before then, and those of agents that are no more; how many."""
        return await self._prune(
            "workspace_agent_grants",
            "expires_at < %s OR EXISTS (SELECT FROM agent_configs a"
            " WHERE a.key = workspace_agent_grants.agent_key AND a.deleted_at IS NOT NULL)",
            before,
        )


async def _agent_key(connection: Connection[Any], grant: Grant) -> str:
    found = await rows(
        connection,
        "SELECT key FROM agent_configs WHERE workspace_id = %s AND id = %s AND deleted_at IS NULL",
        grant.granting_workspace_id,
        grant.agent_id,
    )
    if not found:
        raise Missing("agent")
    key: str = found[0][0]
    return key


async def _known(connection: Connection[Any], grant: Grant) -> str | None:
    """The id of the grant that there is of this agent to this workspace."""
    found = await rows(
        connection,
        "SELECT id FROM workspace_agent_grants"
        " WHERE granting_workspace_id = %s AND receiving_workspace_id = %s AND agent_id = %s",
        grant.granting_workspace_id,
        grant.receiving_workspace_id,
        grant.agent_id,
    )
    return found[0][0] if found else None


async def _check_room(connection: Connection[Any], grant: Grant) -> None:
    (counts,) = await rows(
        connection,
        "SELECT count(*) FILTER (WHERE granting_workspace_id = %(giver)s),"
        " count(*) FILTER (WHERE receiving_workspace_id = %(receiver)s) FROM workspace_agent_grants"
        " WHERE granting_workspace_id = %(giver)s OR receiving_workspace_id = %(receiver)s",
        giver=grant.granting_workspace_id,
        receiver=grant.receiving_workspace_id,
    )
    for count, what in zip(counts, ("given", "received"), strict=True):
        if count >= MOST_GRANTS:
            raise StoreConflict(f"number of grants {what}")


def _granted(row: Row) -> tuple[Agent, Grant]:
    return read_agent(row[9:]), Grant(*row[:9])
