# ruff: noqa: S608  # queries are put together from constants of this module only; values are parameters
"""Agents and their versions: each workspace has its own, and all have the global ones."""

from datetime import datetime
from typing import Any

import attrs
import msgspec

from understudy.storage.audit import is_recorded, record
from understudy.storage.connection import Connection
from understudy.storage.encoding import encode
from understudy.storage.errors import StoreConflict
from understudy.storage.records import Agent, AgentVersion, AuditEntry, Json
from understudy.storage.repository import Repository, Row, rows
from understudy.storage.rowsecurity import Tenant
from understudy.storage.tenancy import about

MOST_AGENTS = 200
"""Agents that a workspace may have: its list is read in one go."""

_decode = msgspec.json.Decoder().decode
_VERSION = "v.id, v.version, v.config::text, v.created_at, v.created_by, v.label"
AGENT = f"a.key, a.workspace_id, a.id, a.created_at, a.updated_at, {_VERSION}"
"""The columns of an agent ``a`` with its present version ``v``, as `read_agent` reads them."""
_SELECT = f"""
SELECT {AGENT}
FROM agent_configs a JOIN agent_config_versions v ON v.agent_key = a.key AND v.version = a.version
WHERE a.deleted_at IS NULL AND (a.workspace_id = %(workspace)s OR a.workspace_id IS NULL)
"""
# An own agent comes before a global one of the same name, and hides it.
_OWN_FIRST = "ORDER BY a.workspace_id NULLS LAST"
_HIDDEN = """
EXISTS (SELECT FROM agent_configs own WHERE a.workspace_id IS NULL AND own.workspace_id = %(workspace)s
        AND own.id = a.id AND own.deleted_at IS NULL)
"""
_OF_OWN = """
FROM agent_configs a JOIN agent_config_versions v ON v.agent_key = a.key
WHERE a.key = (SELECT key FROM agent_configs WHERE id = %(id)s AND deleted_at IS NULL
               AND (workspace_id = %(workspace)s OR workspace_id IS NULL) ORDER BY workspace_id NULLS LAST LIMIT 1)
"""


class AgentRepository(Repository):
    """Agents, as one workspace sees them: every query is about a workspace, and reaches nobody else's.

    A change and its line in the audit log are one transaction. Reads see own and global agents, changes reach only
    own ones. *expected* is the id of the version a change was made from: when another is current by now, the change is
    refused with `StoreConflict` (``version``); None is whichever is current.
    """

    async def create(self, agent: Agent, audit: AuditEntry) -> None:
        """Store a new agent with its first version. Raises `StoreConflict`: ``agent id`` or ``number of agents``."""

        async def work(connection: Connection[Any]) -> None:
            # Held, so that requests that come at once count each other.
            await rows(connection, "SELECT FROM workspaces WHERE id = %s FOR NO KEY UPDATE", agent.workspace_id)
            if await rows(connection, "SELECT FROM agent_configs WHERE key = %s", agent.key):
                return  # our own first attempt, whose answer was lost
            count = "SELECT count(*) FROM agent_configs WHERE workspace_id = %s AND deleted_at IS NULL"
            if (await rows(connection, count, agent.workspace_id))[0][0] >= MOST_AGENTS:
                raise StoreConflict("number of agents")
            await insert_agent(connection, agent)
            await record(connection, audit)

        await self._transact(work)

    async def find(self, workspace_id: str, agent_id: str) -> Agent | None:
        """The agent that the workspace knows by this id: its own, else the global one."""
        row = await self._row(
            f"{_SELECT} AND a.id = %(id)s {_OWN_FIRST} LIMIT 1",
            tenant=Tenant(workspace_id=workspace_id),
            workspace=workspace_id,
            id=agent_id,
        )
        return read_agent(row) if row else None

    async def is_elsewhere(self, workspace_id: str, agent_id: str) -> bool:
        """Whether some other workspace has an agent of this id."""
        return bool(
            await self._rows(
                "SELECT FROM agent_configs WHERE id = %s AND workspace_id <> %s AND deleted_at IS NULL LIMIT 1",
                agent_id,
                workspace_id,
            )
        )

    async def list(self, workspace_id: str) -> tuple[Agent, ...]:
        """All agents of the workspace and all global ones that none of its own hides, by id."""
        tenant = Tenant(workspace_id=workspace_id)
        found = await self._rows(f"{_SELECT} AND NOT {_HIDDEN} ORDER BY a.id", tenant=tenant, workspace=workspace_id)
        return tuple(read_agent(row) for row in found)

    async def revise(
        self, workspace_id: str, agent_id: str, version: AgentVersion, audit: AuditEntry, *, expected: str | None = None
    ) -> Agent | None:
        """Make *version* (whatever number it says) the next one of the workspace's agent; the agent, or None.

        A version with the same configuration as the current one is not stored, and nothing is changed.
        """

        async def work(connection: Connection[Any]) -> Agent | None:
            agent = await _held(connection, workspace_id, agent_id)
            if agent is None or await rows(connection, "SELECT FROM agent_config_versions WHERE id = %s", version.id):
                return agent  # the latter: our own first attempt, whose answer was lost
            _expect(agent, expected)
            if agent.current.config == as_stored(version.config):
                return agent
            following = attrs.evolve(version, version=agent.current.version + 1, config=as_stored(version.config))
            await rows(
                connection,
                "UPDATE agent_configs SET version = %s, updated_at = %s WHERE key = %s",
                following.version,
                following.created_at,
                agent.key,
            )
            await _add(connection, agent.key, following)
            await record(connection, about(audit, version=following.version))
            return attrs.evolve(agent, current=following, updated_at=following.created_at)

        return await self._transact(work)

    async def delete(
        self, workspace_id: str, agent_id: str, audit: AuditEntry, *, now: datetime, expected: str | None = None
    ) -> bool:
        """Delete the workspace's agent; whether there was one. Its row and versions stay, and are reached no more."""

        async def work(connection: Connection[Any]) -> bool:
            agent = await _held(connection, workspace_id, agent_id)
            if agent is None:
                # Perhaps it was deleted by our own first attempt, whose answer was lost: then its line is in the log.
                return await is_recorded(connection, audit)
            _expect(agent, expected)
            await rows(connection, "UPDATE agent_configs SET deleted_at = %s WHERE key = %s", now, agent.key)
            await record(connection, about(audit, version=agent.current.version))
            return True

        return await self._transact(work)

    async def versions(
        self, workspace_id: str, agent_id: str, *, limit: int = 100, offset: int = 0
    ) -> tuple[tuple[AgentVersion, ...], int]:
        """A page of the versions of the agent that the workspace sees, newest first, and how many there are in all."""
        found = await self._rows(
            f"SELECT {_VERSION} {_OF_OWN} ORDER BY v.version DESC LIMIT %(limit)s OFFSET %(offset)s",
            tenant=Tenant(workspace_id=workspace_id),
            workspace=workspace_id,
            id=agent_id,
            limit=limit,
            offset=offset,
        )
        total = await self._row(f"SELECT count(*) {_OF_OWN}", workspace=workspace_id, id=agent_id)
        return tuple(_version(row) for row in found), total[0] if total else 0

    async def version(self, workspace_id: str, agent_id: str, version: int) -> AgentVersion | None:
        """One version of the agent that the workspace sees."""
        row = await self._row(
            f"SELECT {_VERSION} {_OF_OWN} AND v.version = %(version)s",
            tenant=Tenant(workspace_id=workspace_id),
            workspace=workspace_id,
            id=agent_id,
            version=version,
        )
        return _version(row) if row else None

    async def label(
        self, workspace_id: str, agent_id: str, version: int, label: str | None, audit: AuditEntry
    ) -> AgentVersion | None:
        """Label a version of the workspace's own agent, or take its label away; None when there is no such version."""

        async def work(connection: Connection[Any]) -> AgentVersion | None:
            found = await rows(
                connection,
                "UPDATE agent_config_versions v SET label = %(label)s FROM agent_configs a"
                " WHERE a.workspace_id = %(workspace)s AND a.id = %(id)s AND a.deleted_at IS NULL"
                f" AND v.agent_key = a.key AND v.version = %(version)s RETURNING {_VERSION}",
                workspace=workspace_id,
                id=agent_id,
                version=version,
                label=label,
            )
            if not found:
                return None
            await record(connection, audit)
            return _version(found[0])

        return await self._transact(work)


def as_stored(config: Json) -> Json:
    """The configuration as it is read back: in JSON's own types, and without what text in the database cannot hold."""
    stored: Json = _decode(encode(config))
    return stored


async def _held(connection: Connection[Any], workspace_id: str, agent_id: str) -> Agent | None:
    """The workspace's own agent, its row locked until the transaction ends."""
    locked = await rows(
        connection,
        "SELECT key FROM agent_configs WHERE workspace_id = %s AND id = %s AND deleted_at IS NULL FOR UPDATE",
        workspace_id,
        agent_id,
    )
    if not locked:
        return None
    # Read only now: the row may have changed while we waited for it.
    found = await rows(connection, f"{_SELECT} AND a.key = %(key)s", workspace=workspace_id, key=locked[0][0])
    return read_agent(found[0]) if found else None


def _expect(agent: Agent, expected: str | None) -> None:
    if expected is not None and agent.current.id != expected:
        raise StoreConflict("version")


async def insert_agent(connection: Connection[Any], agent: Agent) -> None:
    """Store a new agent of a workspace, with its first version."""
    await rows(
        connection,
        "INSERT INTO agent_configs (key, workspace_id, id, version, created_at, updated_at)"
        " VALUES (%s, %s, %s, %s, %s, %s)",
        agent.key,
        agent.workspace_id,
        agent.id,
        agent.current.version,
        agent.created_at,
        agent.updated_at,
    )
    await _add(connection, agent.key, agent.current)


async def _add(connection: Connection[Any], agent_key: str, version: AgentVersion) -> None:
    await rows(
        connection,
        "INSERT INTO agent_config_versions (agent_key, version, id, config, label, created_by, created_at)"
        " VALUES (%s, %s, %s, %s::json, %s, %s, %s)",
        agent_key,
        version.version,
        version.id,
        encode(version.config).decode(),
        version.label,
        version.created_by,
        version.created_at,
    )


def read_agent(row: Row) -> Agent:
    """The agent of a row of `AGENT`."""
    key, workspace_id, agent_id, created_at, updated_at = row[:5]
    return Agent(key, workspace_id, agent_id, _version(row[5:]), created_at, updated_at)


def _version(row: Row) -> AgentVersion:
    version_id, number, config, created_at, created_by, label = row
    return AgentVersion(version_id, number, _decode(config), created_at, created_by, label)
