"""Statements made for a tenant see that tenant's rows only, whatever they forget to ask for.

The second lock behind the conditions in the queries themselves: PostgreSQL's row-level security, as
migrations/0009_row_security.sql sets it up.
"""

from typing import Any

import attrs

from understudy.storage.connection import Connection

ROLE = "understudy_tenant"

_MAY_ACT = (
    b"SELECT count(*) FILTER (WHERE pg_has_role(oid, 'MEMBER') AND has_table_privilege(oid, 'sessions', 'SELECT'))"
    b" FROM pg_roles WHERE rolname = %s"
)
_ACT = (
    b"SELECT set_config('role', %s, true), set_config('understudy.uid', %s, true),"
    b" set_config('understudy.workspace', %s, true)"
)


@attrs.frozen
class Tenant:
    """For whom a statement is made: a person, a workspace, or a person in a workspace."""

    uid: str | None = None
    workspace_id: str | None = None

    def __attrs_post_init__(self) -> None:
        if self.uid is None and self.workspace_id is None:
            raise ValueError("a tenant is a person, a workspace, or both")


async def may_act(connection: Connection[Any]) -> bool:
    """Whether this server has the tenants' role and lets us take it: without, queries guard themselves alone."""
    cursor = await connection.execute(_MAY_ACT, (ROLE,))
    row = await cursor.fetchone()
    return row is not None and row[0] > 0


async def act_for(connection: Connection[Any], tenant: Tenant) -> None:
    """Limit the rest of the transaction that *connection* is in to *tenant*'s rows."""
    await connection.execute(_ACT, (ROLE, tenant.uid or "", tenant.workspace_id or ""))
