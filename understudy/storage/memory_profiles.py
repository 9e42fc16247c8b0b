# ruff: noqa: S608  # queries are put together from constants of this module only; values are parameters
"""Memory profiles, and which agent of a workspace has which."""

from datetime import datetime
from typing import Any

import msgspec

from understudy.storage.audit import is_recorded, record
from understudy.storage.connection import Connection
from understudy.storage.encoding import encode
from understudy.storage.errors import StoreConflict
from understudy.storage.records import AuditEntry
from understudy.storage.remembered import MemoryProfile
from understudy.storage.repository import Repository, Row, rows

MOST_PROFILES = 100
"""Memory profiles of one workspace."""

_decode = msgspec.json.Decoder().decode
_COLUMNS = "id, workspace_id, name, description, config::text, created_at, updated_at"


class MemoryProfilesRepository(Repository):
    """Memory profiles, as one workspace has them. A change and its line in the audit log are one transaction."""

    async def list(self, workspace_id: str) -> tuple[MemoryProfile, ...]:
        """All of the workspace's, by name."""
        found = await self._rows(
            f"SELECT {_COLUMNS} FROM memory_profiles WHERE workspace_id = %s ORDER BY name",
            workspace_id,
        )
        return tuple(map(_profile, found))

    async def find(self, workspace_id: str, profile_id: str) -> MemoryProfile | None:
        """One of the workspace's."""
        row = await self._row(
            f"SELECT {_COLUMNS} FROM memory_profiles WHERE workspace_id = %s AND id = %s",
            workspace_id,
            profile_id,
        )
        return _profile(row) if row else None

    async def create(self, profile: MemoryProfile, audit: AuditEntry) -> None:
        """Add *profile*; again is harmless.

        Raises `StoreConflict`: ``number of memory profiles`` when there are `MOST_PROFILES`, ``memory profile name``.
        """

        async def work(connection: Connection[Any]) -> None:
            await _lock(connection, profile.workspace_id)
            there = await rows(
                connection, "SELECT id FROM memory_profiles WHERE workspace_id = %s", profile.workspace_id
            )
            if (profile.id,) in there:
                return  # our own first attempt, whose answer was lost
            if len(there) >= MOST_PROFILES:
                raise StoreConflict("number of memory profiles")
            await rows(
                connection,
                "INSERT INTO memory_profiles (id, workspace_id, name, description, config, created_at, updated_at)"
                " VALUES (%s, %s, %s, %s, %s::json, %s, %s)",
                profile.id,
                profile.workspace_id,
                profile.name,
                profile.description,
                encode(profile.config).decode(),
                profile.created_at,
                profile.updated_at,
            )
            await record(connection, audit)

        await self._transact(work)

    async def replace(self, profile: MemoryProfile, audit: AuditEntry) -> MemoryProfile | None:
        """Give the profile of this id another name, description and configuration; None when there is none.

        Raises `StoreConflict` (``memory profile name``).
        """

        async def work(connection: Connection[Any]) -> MemoryProfile | None:
            changed = await rows(
                connection,
                "UPDATE memory_profiles SET name = %s, description = %s, config = %s::json, updated_at = %s"
                f" WHERE workspace_id = %s AND id = %s RETURNING {_COLUMNS}",
                profile.name,
                profile.description,
                encode(profile.config).decode(),
                profile.updated_at,
                profile.workspace_id,
                profile.id,
            )
            if not changed:
                return None
            await record(connection, audit)
            return _profile(changed[0])

        return await self._transact(work)

    async def delete(self, workspace_id: str, profile_id: str, audit: AuditEntry) -> bool:
        """Delete a profile; agents that had it have none. Whether there was one."""

        async def work(connection: Connection[Any]) -> bool:
            gone = await rows(
                connection,
                "DELETE FROM memory_profiles WHERE workspace_id = %s AND id = %s RETURNING id",
                workspace_id,
                profile_id,
            )
            if not gone:  # or it is our own first attempt, whose answer was lost
                return await is_recorded(connection, audit)
            await record(connection, audit)
            return True

        return await self._transact(work)

    async def assign(
        self, workspace_id: str, agent_id: str, profile_id: str | None, audit: AuditEntry, *, now: datetime
    ) -> bool:
        """Give an agent a profile, or with None take its profile away; whether there is such a profile."""

        async def work(connection: Connection[Any]) -> bool:
            if profile_id is None:
                await rows(
                    connection,
                    "DELETE FROM agent_memory_profiles WHERE workspace_id = %s AND agent_id = %s",
                    workspace_id,
                    agent_id,
                )
            elif not await rows(
                connection,
                "INSERT INTO agent_memory_profiles AS a (workspace_id, agent_id, profile_id, assigned_at)"
                " SELECT workspace_id, %(agent)s, id, %(now)s FROM memory_profiles"
                " WHERE workspace_id = %(workspace)s AND id = %(profile)s FOR KEY SHARE"
                " ON CONFLICT (workspace_id, agent_id) DO UPDATE"
                " SET profile_id = excluded.profile_id, assigned_at = excluded.assigned_at RETURNING a.agent_id",
                workspace=workspace_id,
                agent=agent_id,
                profile=profile_id,
                now=now,
            ):
                return False
            await record(connection, audit)
            return True

        return await self._transact(work)

    async def assigned(self, workspace_id: str, agent_id: str) -> MemoryProfile | None:
        """The profile that the agent has in this workspace."""
        row = await self._row(
            f"SELECT {_COLUMNS} FROM memory_profiles WHERE (workspace_id, id) ="
            " (SELECT workspace_id, profile_id FROM agent_memory_profiles WHERE workspace_id = %s AND agent_id = %s)",
            workspace_id,
            agent_id,
        )
        return _profile(row) if row else None


async def _lock(connection: Connection[Any], workspace_id: str) -> None:
    """One addition at a time: held until the transaction ends."""
    key = f"memory profiles|{workspace_id}"
    await rows(connection, "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", key)


def _profile(row: Row) -> MemoryProfile:
    id_, workspace_id, name, description, config, created_at, updated_at = row
    return MemoryProfile(id_, workspace_id, name, description, _decode(config), created_at, updated_at)
