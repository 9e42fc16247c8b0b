"""A user's workspace, its agents and their profile, set up in one transaction."""

from typing import Any

import attrs

from understudy.storage.agents import insert_agent
from understudy.storage.audit import is_recorded, record
from understudy.storage.connection import Connection
from understudy.storage.encoding import encode
from understudy.storage.errors import Missing, StoreConflict
from understudy.storage.membership import MOST_MEMBERSHIPS, MOST_OWNED, check_change
from understudy.storage.oversight import Onboarded, Onboarding
from understudy.storage.records import AuditEntry, Workspace, WorkspaceRole
from understudy.storage.repository import Repository, rows
from understudy.storage.tenancy import WORKSPACE, about, hold, insert_member, insert_workspace, read_workspace, roles

_KNOWN = """
SELECT o.workspace_id FROM onboardings o
JOIN workspace_members m ON m.workspace_id = o.workspace_id AND m.uid = o.uid AND m.role = 'owner'
WHERE o.uid = %s
"""
# Whether anything was made of it yet: a workspace that came with an account has no agents of its own.
_OWNED = """
SELECT w.id, EXISTS (SELECT FROM agent_configs a WHERE a.workspace_id = w.id)
FROM workspace_members m JOIN workspaces w ON w.id = m.workspace_id
WHERE m.uid = %s AND m.role = 'owner' ORDER BY m.joined_at, w.id
"""


class OnboardingRepository(Repository):
    """What users begin with."""

    async def onboard(self, wish: Onboarding, audit: AuditEntry) -> Onboarded:
        """Set up what the user needs, whole or not at all; however many ask at once, it is set up once.

        The workspace that came with the account is what is set up, as long as it is their only one and nothing was made
        of it. A user who has been set up, or who owns more than that, is answered with what there is, unless
        ``force`` asks for another workspace. A profile that is there already stays. Raises `Missing` (``user``),
        `StoreConflict` (``number of workspaces``, ``number of memberships``, ``members`` of what is to be personal).
        """

        async def work(connection: Connection[Any]) -> Onboarded:
            if not await rows(connection, "SELECT FROM users WHERE id = %s FOR NO KEY UPDATE", wish.uid):
                raise Missing("user")
            known = await rows(connection, _KNOWN, wish.uid)
            owned = await rows(connection, _OWNED, wish.uid)
            ours = await is_recorded(connection, audit)  # our own first attempt, whose answer was lost
            if known and (ours or not wish.force):
                return Onboarded(await _workspace(connection, known[0][0]), created=ours)
            if owned and not wish.force and (len(owned) > 1 or owned[0][1]):
                return Onboarded(await _workspace(connection, owned[0][0]), created=False)
            if owned and not wish.force:
                workspace = await _adopt(connection, owned[0][0], wish)
            else:
                workspace = await _make(connection, wish, len(owned))
            for agent in wish.agents:
                await insert_agent(connection, attrs.evolve(agent, workspace_id=workspace.id))
            if wish.profile is not None:
                await rows(
                    connection,
                    "INSERT INTO user_profiles (uid, profile, updated_at) VALUES (%s, %s::json, %s)"
                    " ON CONFLICT (uid) DO NOTHING",
                    wish.uid,
                    encode(wish.profile).decode(),
                    wish.at,
                )
            await rows(
                connection,
                "INSERT INTO onboardings (uid, workspace_id, at) VALUES (%s, %s, %s)"
                " ON CONFLICT (uid) DO UPDATE SET workspace_id = excluded.workspace_id, at = excluded.at",
                wish.uid,
                workspace.id,
                wish.at,
            )
            line = attrs.evolve(audit, workspace_id=workspace.id)
            await record(connection, about(line, agents=[agent.id for agent in wish.agents]))
            return Onboarded(workspace, created=True)

        return await self._transact(work)


async def _workspace(connection: Connection[Any], workspace_id: str) -> Workspace:
    found = await hold(connection, workspace_id)
    if found is None:
        raise Missing("workspace")
    return found


async def _adopt(connection: Connection[Any], workspace_id: str, wish: Onboarding) -> Workspace:
    old = await _workspace(connection, workspace_id)
    new = attrs.evolve(old, name=wish.name or old.name, plan=wish.plan or old.plan)
    check_change(old, new, WorkspaceRole.OWNER, len(await roles(connection, workspace_id)))
    changed = await rows(
        connection,
        f"UPDATE workspaces w SET name = %s, plan = %s WHERE id = %s RETURNING {WORKSPACE}",  # noqa: S608  # a constant
        new.name,
        new.plan,
        workspace_id,
    )
    return read_workspace(changed[0])


async def _make(connection: Connection[Any], wish: Onboarding, owned: int) -> Workspace:
    if owned >= MOST_OWNED:
        raise StoreConflict("number of workspaces")
    member_of = await rows(connection, "SELECT count(*) FROM workspace_members WHERE uid = %s", wish.uid)
    if member_of[0][0] >= MOST_MEMBERSHIPS:
        raise StoreConflict("number of memberships")
    workspace = wish.workspace
    await insert_workspace(connection, workspace)
    await insert_member(connection, workspace.id, wish.uid, WorkspaceRole.OWNER, workspace.created_at)
    return workspace
