"""What users begin with, in memory."""

import attrs

from understudy.storage.agents import as_stored
from understudy.storage.errors import Missing, StoreConflict
from understudy.storage.membership import MOST_MEMBERSHIPS, MOST_OWNED, check_change
from understudy.storage.memory.tables import Tables
from understudy.storage.oversight import Onboarded, Onboarding
from understudy.storage.records import AuditEntry, Profile, Workspace, WorkspaceRole
from understudy.storage.tenancy import about


class MemoryOnboarding:
    """See `understudy.storage.onboarding.OnboardingRepository`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._done: dict[str, str] = {}

    async def onboard(self, wish: Onboarding, audit: AuditEntry) -> Onboarded:
        """As the real one."""
        self._tables.check()
        if wish.uid not in self._tables.users:
            raise Missing("user")
        owned = self._owned(wish.uid)
        known = next((each for each in owned if each.id == self._done.get(wish.uid)), None)
        ours = any(line.entry.id == audit.id for line in self._tables.audit)
        if known is not None and (ours or not wish.force):
            return Onboarded(known, created=ours)
        used = any(agent.workspace_id == owned[0].id for agent in self._tables.agents.values()) if owned else False
        if owned and not wish.force and (len(owned) > 1 or used):
            return Onboarded(owned[0], created=False)
        if owned and not wish.force:
            workspace = attrs.evolve(owned[0], name=wish.name or owned[0].name, plan=wish.plan or owned[0].plan)
            present = sum(where == workspace.id for where, _ in self._tables.members)
            check_change(owned[0], workspace, WorkspaceRole.OWNER, present)
        else:
            workspace = self._made(wish, len(owned))
        self._tables.workspaces[workspace.id] = workspace
        for agent in wish.agents:
            current = attrs.evolve(agent.current, config=as_stored(agent.current.config))
            self._tables.agents[agent.key] = attrs.evolve(agent, workspace_id=workspace.id, current=current)
            self._tables.agent_versions[agent.key] = [current]
        if wish.profile is not None:
            self._tables.profiles.setdefault(wish.uid, Profile(as_stored(wish.profile), wish.at))
        self._done[wish.uid] = workspace.id
        line = attrs.evolve(audit, workspace_id=workspace.id)
        self._tables.append_audit(about(line, agents=[agent.id for agent in wish.agents]))
        return Onboarded(workspace, created=True)

    def _owned(self, uid: str) -> list[Workspace]:
        found = [
            (joined_at, workspace_id)
            for (workspace_id, member), (role, joined_at) in self._tables.members.items()
            if member == uid and role is WorkspaceRole.OWNER
        ]
        return [self._tables.workspaces[workspace_id] for _, workspace_id in sorted(found)]

    def _made(self, wish: Onboarding, owned: int) -> Workspace:
        if owned >= MOST_OWNED:
            raise StoreConflict("number of workspaces")
        if sum(member == wish.uid for _, member in self._tables.members) >= MOST_MEMBERSHIPS:
            raise StoreConflict("number of memberships")
        workspace = wish.workspace
        self._tables.members[workspace.id, wish.uid] = (WorkspaceRole.OWNER, workspace.created_at)
        return attrs.evolve(workspace, owner_id=wish.uid)
