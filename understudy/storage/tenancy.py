"""What changes to a workspace share: the workspace held still, and the role of whoever asked."""

from datetime import datetime
from typing import Any

import attrs
import psycopg.types.json

from understudy.storage.connection import Connection
from understudy.storage.errors import NotAllowed
from understudy.storage.membership import suffices
from understudy.storage.records import AuditEntry, Restrictions, Workspace, WorkspaceRole
from understudy.storage.repository import Row, rows

WORKSPACE = "w.id, w.name, w.owner_id, w.plan, w.created_at, w.settings, w.allowed_providers, w.allowed_models"
"""The columns of a workspace ``w``, as `read_workspace` reads them."""


async def hold(connection: Connection[Any], workspace_id: str) -> Workspace | None:
    """The workspace, its row locked until the transaction ends: whatever changes it or its members comes after us.

    Turns do not: a foreign key's check takes a weaker lock.
    """
    found = await rows(
        connection,
        f"SELECT {WORKSPACE} FROM workspaces w WHERE w.id = %s FOR NO KEY UPDATE",  # noqa: S608  # constants only
        workspace_id,
    )
    return read_workspace(found[0]) if found else None


async def hold_as(connection: Connection[Any], workspace_id: str, by: str, needs: WorkspaceRole) -> Workspace:
    """As `hold`. Raises `NotAllowed` (``role``) unless *by* has the role now, also when there is no such workspace."""
    workspace = await hold(connection, workspace_id)
    if workspace is None or not suffices((await roles(connection, workspace_id)).get(by), needs):
        raise NotAllowed("role")
    return workspace


async def roles(connection: Connection[Any], workspace_id: str) -> dict[str, WorkspaceRole]:
    """The role of each member."""
    found = await rows(connection, "SELECT uid, role FROM workspace_members WHERE workspace_id = %s", workspace_id)
    return {uid: WorkspaceRole(role) for uid, role in found}


async def insert_workspace(connection: Connection[Any], workspace: Workspace) -> None:
    """Store a new workspace. Its owner is no member of it yet."""
    await rows(
        connection,
        "INSERT INTO workspaces (id, name, owner_id, plan, settings, created_at) VALUES (%s, %s, %s, %s, %s, %s)",
        workspace.id,
        workspace.name,
        workspace.owner_id,
        workspace.plan,
        psycopg.types.json.Jsonb(dict(workspace.settings)),
        workspace.created_at,
    )


async def insert_member(
    connection: Connection[Any], workspace_id: str, uid: str, role: WorkspaceRole, joined_at: datetime
) -> None:
    """Make somebody a member who is none."""
    await rows(
        connection,
        "INSERT INTO workspace_members (workspace_id, uid, role, joined_at) VALUES (%s, %s, %s, %s)",
        workspace_id,
        uid,
        role.value,
        joined_at,
    )


def about(entry: AuditEntry, **metadata: object) -> AuditEntry:
    """The line with what only the database knew when it was asked."""
    return attrs.evolve(entry, metadata={**entry.metadata, **metadata})


def read_workspace(row: Row) -> Workspace:
    """The workspace of a row of `WORKSPACE`."""
    workspace_id, name, owner_id, plan, created_at, settings, providers, models = row
    restrictions = Restrictions(
        None if providers is None else tuple(providers), None if models is None else tuple(models)
    )
    return Workspace(workspace_id, name, owner_id, plan, created_at, settings, restrictions)
