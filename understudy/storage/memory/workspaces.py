"""Workspaces and their members in memory."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import TypeVar

import attrs

from understudy.storage.errors import Missing, NotAllowed, StoreConflict
from understudy.storage.membership import (
    MOST_MEMBERSHIPS,
    MOST_OWNED,
    check_change,
    check_size,
    plan_membership,
    suffices,
)
from understudy.storage.memory.tables import Tables
from understudy.storage.records import (
    Activity,
    AuditEntry,
    Done,
    Member,
    MemberChange,
    Membership,
    Role,
    SessionStatus,
    Usage,
    User,
    Workspace,
    WorkspaceChange,
    WorkspaceRole,
)
from understudy.storage.tenancy import about

K = TypeVar("K")


class MemoryWorkspaces:
    """See `understudy.storage.workspaces.WorkspaceRepository`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def memberships(self, uid: str) -> tuple[Membership, ...]:
        """As the real one."""
        self._tables.check()
        found = [
            Membership(self._tables.workspaces[workspace_id], uid, role, joined_at)
            for (workspace_id, member), (role, joined_at) in self._tables.members.items()
            if member == uid
        ]
        return tuple(sorted(found, key=lambda membership: (membership.joined_at, membership.workspace.id)))

    async def membership(self, uid: str, workspace_id: str) -> Membership | None:
        """As the real one."""
        found = await self.memberships(uid)
        return next((membership for membership in found if membership.workspace.id == workspace_id), None)

    async def find(self, workspace_id: str) -> Workspace | None:
        """As the real one."""
        self._tables.check()
        return self._tables.workspaces.get(workspace_id)

    async def members(self, workspace_id: str) -> tuple[Member, ...]:
        """As the real one."""
        self._tables.check()
        found = [self._member(workspace_id, uid) for uid in self._roles(workspace_id)]
        return tuple(sorted(found, key=lambda member: (member.joined_at, member.uid)))

    async def activity(self, workspace_id: str, *, since: datetime, until: datetime) -> Activity:
        """As the real one."""
        self._tables.check()
        here = [each for each in self._tables.sessions.values() if each.key.workspace_id == workspace_id]
        used = {each.id: each for each in here if each.last_active_at >= since and each.created_at < until}
        said = [
            (used[each.session_id].key, each.created_at.astimezone(UTC).date())
            for each in self._tables.messages.values()
            if each.session_id in used and each.role in {Role.USER, Role.ASSISTANT} and since <= each.created_at < until
        ]
        bill = [
            each for each in self._tables.bill if each.workspace_id == workspace_id and since <= each.charge.at < until
        ]
        by_agent, daily = dict[str, Done](), dict[date, Done]()
        for key, day in said:
            _add(by_agent, key.agent_id, 1, 0)
            _add(daily, day, 1, 0)
        for each in bill:
            _add(by_agent, each.agent_id, 0, each.charge.cost or 0)
            _add(daily, each.charge.at.astimezone(UTC).date(), 0, each.charge.cost or 0)
        return Activity(
            active_sessions=sum(each.status is SessionStatus.ACTIVE for each in used.values()),
            sessions=len(used),
            messages=len(said),
            users=len({key.uid for key, _ in said}),
            usage=sum((each.charge.usage for each in bill), Usage()),
            cost=sum(each.charge.cost or 0 for each in bill),
            tool_calls=sum(len(each.charge.tools) for each in bill),
            by_agent=by_agent,
            daily=daily,
        )

    async def create(self, workspace: Workspace, audit: AuditEntry) -> None:
        """As the real one."""
        self._tables.check()
        check_size(workspace.settings)
        if workspace.id in self._tables.workspaces:
            return
        owned = [each for each in self._tables.workspaces.values() if each.owner_id == workspace.owner_id]
        if len(owned) >= MOST_OWNED:
            raise StoreConflict("number of workspaces")
        self._check_room(workspace.owner_id)
        self._tables.workspaces[workspace.id] = workspace
        self._tables.members[workspace.id, workspace.owner_id] = (WorkspaceRole.OWNER, workspace.created_at)
        self._tables.append_audit(audit)

    async def change(self, workspace_id: str, by: str, change: WorkspaceChange, audit: AuditEntry) -> Workspace:
        """As the real one."""
        self._tables.check()
        present = self._roles(workspace_id)
        if not suffices(present.get(by), WorkspaceRole.ADMIN):
            raise NotAllowed("role")
        old = self._tables.workspaces[workspace_id]
        new = change.applied_to(old)
        if new != old:
            check_change(old, new, present[by], len(present))
            self._tables.workspaces[workspace_id] = new
            self._tables.append_audit(audit)
        return new

    async def set_member(
        self, workspace_id: str, by: str, who: str, role: WorkspaceRole, audit: AuditEntry, *, now: datetime
    ) -> tuple[Member, MemberChange]:
        """As the real one."""
        self._tables.check()
        present = self._roles(workspace_id)
        if not suffices(present.get(by), WorkspaceRole.ADMIN):
            raise NotAllowed("role")
        uid = self._user(who).id
        change = plan_membership(self._tables.workspaces[workspace_id].plan, present, by, uid, role)
        if change is not MemberChange.SAME:
            if change is MemberChange.ADDED:
                self._check_room(uid)
            joined_at = self._tables.members.get((workspace_id, uid), (role, now))[1]
            self._tables.members[workspace_id, uid] = (role, joined_at)
            self._keep_owner(workspace_id)
            was = present[uid].value if uid in present else None
            self._tables.append_audit(about(audit, member=uid, role=role.value, was=was))
        return self._member(workspace_id, uid), change

    async def remove_member(self, workspace_id: str, by: str, uid: str, audit: AuditEntry) -> None:
        """As the real one."""
        self._tables.check()
        if (workspace := self._tables.workspaces.get(workspace_id)) is None:
            raise NotAllowed("role")
        present = self._roles(workspace_id)
        plan_membership(workspace.plan, present, by, uid, None)
        del self._tables.members[workspace_id, uid]
        self._keep_owner(workspace_id)
        self._tables.append_audit(about(audit, member=uid, was=present[uid].value))

    def _roles(self, workspace_id: str) -> Mapping[str, WorkspaceRole]:
        return {uid: role for (wid, uid), (role, _) in self._tables.members.items() if wid == workspace_id}

    def _member(self, workspace_id: str, uid: str) -> Member:
        user, (role, joined_at) = self._tables.users[uid], self._tables.members[workspace_id, uid]
        return Member(uid, user.email, user.name, role, joined_at)

    def _user(self, who: str) -> User:
        for user in self._tables.users.values():
            if user.disabled_at is None and who.lower() == user.email if "@" in who else who == user.id:
                return user
        raise Missing("user")

    def _check_room(self, uid: str) -> None:
        if sum(member == uid for _, member in self._tables.members) >= MOST_MEMBERSHIPS:
            raise StoreConflict("number of memberships")

    def _keep_owner(self, workspace_id: str) -> None:
        workspace, present = self._tables.workspaces[workspace_id], self._roles(workspace_id)
        if present.get(workspace.owner_id) is not WorkspaceRole.OWNER:
            owners = [self._member(workspace_id, uid) for uid, role in present.items() if role is WorkspaceRole.OWNER]
            first = min(owners, key=lambda owner: (owner.joined_at, owner.uid))
            self._tables.workspaces[workspace_id] = attrs.evolve(workspace, owner_id=first.uid)


def _add(sums: dict[K, Done], key: K, messages: int, cost: int) -> None:
    done = sums.get(key, Done())
    sums[key] = Done(done.messages + messages, done.cost + cost)
