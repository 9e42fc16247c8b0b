"""The JSON of `/workspaces`."""

from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType

from understudy.actors.workspaces.messages import WorkspaceRole
from understudy.http.schemas import Email, Moment, SessionCounts, Slug, Title, Wire, Workspace

WorkspaceName = Annotated[Title, Meta(examples=["Acme support"])]
AllowList = Annotated[list[Annotated[str, Meta(min_length=1, max_length=264)]], Meta(max_length=100)]


class Plan(StrEnum):
    """For one person, or for several. `enterprise` is as `team`."""

    PERSONAL = "personal"
    TEAM = "team"
    ENTERPRISE = "enterprise"


class NewWorkspace(Wire, frozen=True):
    """A new workspace."""

    name: WorkspaceName
    plan: Plan = Plan.PERSONAL
    settings: dict[str, Any] | UnsetType = UNSET


class SettingsChange(Wire, frozen=True):
    """What is to be different. Every other name in the body is a setting, as if it were in ``settings``."""

    name: WorkspaceName | UnsetType = UNSET
    plan: Plan | UnsetType = UNSET
    timezone: Annotated[str, Meta(max_length=64, examples=["Europe/Vienna"])] | UnsetType | None = UNSET
    settings: dict[str, Any] | UnsetType = UNSET


class NewMember(Wire, frozen=True):
    """Who is to be a member, by ``uid`` or by ``email``, and as what."""

    uid: Slug | None = None
    email: Email | None = None
    role: WorkspaceRole = WorkspaceRole.MEMBER


class Member(Wire, frozen=True):
    """A member of a workspace."""

    uid: str
    email: str
    name: str | None
    role: WorkspaceRole
    joined_at: datetime


class NewGrant(Wire, frozen=True):
    """An agent of the workspace, and who else may run it; ``expiresAt`` null is for good."""

    receiving_workspace_id: Slug
    agent_id: Slug
    readonly: bool = True
    expires_at: Moment | None = None


class GrantSelector(Wire, frozen=True):
    """Which grant: its id, or the receiving workspace and the agent."""

    grant_id: Slug | None = None
    receiving_workspace_id: Slug | None = None
    agent_id: Slug | None = None


class Grant(Wire, frozen=True):
    """That the members of one workspace may run an agent of another."""

    id: str
    granting_workspace_id: str
    receiving_workspace_id: str
    agent_id: str
    readonly: bool
    expires_at: datetime | None
    created_by: str
    created_at: datetime
    updated_at: datetime


class WorkspaceDetail(Workspace, frozen=True):
    """A workspace. What follows its role is shown to owners and admins only."""

    allowed_providers: list[str] | UnsetType | None = UNSET
    allowed_models: list[str] | UnsetType | None = UNSET
    members: list[Member] | UnsetType = UNSET
    grants: list[Grant] | UnsetType = UNSET
    """Those that it gave and those it was given, oldest first."""


class Restrictions(Wire, frozen=True):
    """All that agents may run on in the workspace; null is any.

    A model is named by its own name, or as `provider/model`.
    """

    allowed_providers: AllowList | None = None
    allowed_models: AllowList | None = None


class TokenCounts(Wire, frozen=True):
    """Tokens of all inferences."""

    prompt: int
    completion: int


class AgentActivity(Wire, frozen=True):
    """What was said with one agent, and what it cost."""

    agent_id: str
    messages: int
    cost_usd: float


class DayActivity(Wire, frozen=True):
    """What was said on one day of UTC, and what it cost."""

    date: date
    messages: int
    cost_usd: float


class WorkspaceStats(Wire, frozen=True):
    """What was done in so many days, today among them.

    ``sessions`` are those that were used; ``messages`` those of people and agents. Agents have the costliest first, and
    days on which nothing happened are left out.
    """

    workspace_id: str
    days: int
    sessions: SessionCounts
    messages: int
    active_users: int
    tokens: TokenCounts
    cost_usd: float
    tool_calls: int
    by_agent: list[AgentActivity]
    daily: list[DayActivity]
