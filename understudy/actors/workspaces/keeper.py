"""What becomes of a wish to change a workspace: checked, stored with its line in the audit log, or refused."""

from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, datetime, time, timedelta
from typing import Any, TypeVar

from understudy.actors.audit.messages import act_of
from understudy.actors.clock import written
from understudy.actors.errors import Detail, Invalid
from understudy.actors.made import is_keyed, made_id
from understudy.actors.workspaces.messages import (
    Activity,
    Author,
    ChangeWorkspace,
    CreateWorkspace,
    Grant,
    MemberSet,
    PutGrant,
    RemoveMember,
    RevokeGrant,
    SetMember,
    Workspace,
)
from understudy.actors.workspaces.ports import WorkspaceStores
from understudy.actors.workspaces.refusals import refused
from understudy.actors.workspaces.settings import check_restrictions, check_settings
from understudy.storage.errors import Missing, NotAllowed, StoreConflict
from understudy.storage.records import AuditEntry

T = TypeVar("T")


class Keeper:
    """Changes to workspaces; see `messages` for what each is refused with. Roles are read where the change is made."""

    def __init__(self, stores: WorkspaceStores, now: Callable[[], datetime], providers: Collection[str] = ()) -> None:
        """*providers* are those that the node has, beside the ones known by name."""
        self._stores = stores
        self._providers = providers
        self._now = now

    async def create(self, message: CreateWorkspace) -> Workspace:
        """Make a workspace."""
        check_settings(message.settings)
        settings = {name: value for name, value in message.settings.items() if value is not None}
        workspace = Workspace(made_id("ws"), message.name, message.uid, message.plan, self._now(), settings)
        author = Author(workspace.id, message.uid, message.request_id)
        audit = self._audit("workspace.created", author, plan=message.plan)
        await _told(self._stores.workspaces.create(workspace, audit))
        found = await self._stores.workspaces.find(workspace.id) if is_keyed() else None
        return found or workspace  # perhaps an earlier attempt's

    async def change(self, message: ChangeWorkspace) -> Workspace:
        """Change a workspace."""
        author, change = message.author, message.change
        check_settings(change.settings)
        if change.restrictions is not None:
            check_restrictions(change.restrictions, self._providers)
            providers, models = change.restrictions.providers, change.restrictions.models
            audit = self._audit("workspace.restricted", author, providers=providers, models=models)
        else:
            named = {"name": change.name, "plan": change.plan, "settings": sorted(change.settings) or None}
            given: dict[str, Any] = {key: value for key, value in named.items() if value is not None}
            audit = self._audit("workspace.changed", author, **given)
        return await _told(self._stores.workspaces.change(author.workspace_id, author.uid, change, audit))

    async def set_member(self, message: SetMember) -> MemberSet:
        """Add a member, or give one another role."""
        author = message.author
        audit = self._audit("workspace.member_set", author)
        member, change = await _told(
            self._stores.workspaces.set_member(
                author.workspace_id, author.uid, message.who, message.role, audit, now=self._now()
            )
        )
        return MemberSet(member, change)

    async def remove_member(self, message: RemoveMember) -> None:
        """Remove a member."""
        author = message.author
        audit = self._audit("workspace.member_removed", author)
        await _told(self._stores.workspaces.remove_member(author.workspace_id, author.uid, message.uid, audit))

    async def activity(self, workspace_id: str, days: int) -> Activity:
        """What was done in the last *days* days, today among them."""
        now = self._now()
        today = datetime.combine(now.astimezone(UTC).date(), time.min, UTC)
        return await self._stores.workspaces.activity(workspace_id, since=today - timedelta(days=days - 1), until=now)

    async def put_grant(self, message: PutGrant) -> tuple[Grant, bool]:
        """Give a grant, or change it."""
        author, now = message.author, self._now()
        if message.receiver == author.workspace_id:
            said = "receivingWorkspaceId: a workspace has its own agents without a grant"
            raise Invalid(said, details=(Detail("receivingWorkspaceId", "same_workspace"),))
        if message.expires_at is not None and message.expires_at <= now:
            raise Invalid("expiresAt: is in the past", details=(Detail("expiresAt", "in_the_past"),))
        grant = Grant(
            made_id("gr"),
            author.workspace_id,
            message.receiver,
            message.agent_id,
            message.readonly,
            message.expires_at,
            author.uid,
            now,
            now,
        )
        until = written(message.expires_at) if message.expires_at is not None else None
        audit = self._audit(
            "workspace.agent_granted",
            author,
            agent=message.agent_id,
            to=message.receiver,
            readonly=message.readonly,
            until=until,
        )
        return await _told(self._stores.grants.put(grant, author.uid, audit))

    async def revoke_grant(self, message: RevokeGrant) -> None:
        """Take a grant back."""
        author = message.author
        audit = self._audit("workspace.grant_revoked", author)
        await _told(self._stores.grants.revoke(author.workspace_id, author.uid, message.which, audit))

    def _audit(self, event: str, author: Author, *, agent: str | None = None, **metadata: object) -> AuditEntry:
        return act_of(author, event, self._now(), metadata, agent_id=agent)


async def _told(change: Awaitable[T]) -> T:
    try:
        return await change
    except (NotAllowed, Missing, StoreConflict) as error:
        raise refused(error) from error
