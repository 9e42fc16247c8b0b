"""Workspaces, members and grants as the JSON of `/workspaces` shows them."""

from typing import Any

import attrs

from understudy.actors.workspaces.messages import (
    Activity,
    Grant,
    Member,
    Restrictions,
    WorkspaceDetail,
    WorkspaceView,
)
from understudy.http import schemas
from understudy.http import schemas_workspaces as shapes


def _fields(view: WorkspaceView) -> dict[str, Any]:
    workspace = view.workspace
    return {
        "id": workspace.id,
        "name": workspace.name,
        "owner_id": workspace.owner_id,
        "plan": workspace.plan,
        "created_at": int(workspace.created_at.timestamp() * 1000),
        "settings": dict(workspace.settings),
        "your_role": view.role.value,
    }


def workspace_of(view: WorkspaceView) -> schemas.Workspace:
    """A workspace, as its member sees it."""
    return schemas.Workspace(**_fields(view))


def detail_of(detail: WorkspaceDetail) -> shapes.WorkspaceDetail:
    """A workspace, with as much as its member may see."""
    if detail.members is None or detail.grants is None:
        return shapes.WorkspaceDetail(**_fields(detail.view))
    return shapes.WorkspaceDetail(
        **_fields(detail.view),
        **_lists(detail.view.workspace.restrictions),
        members=[member_of(member) for member in detail.members],
        grants=[grant_of(grant) for grant in detail.grants],
    )


def restrictions_of(restrictions: Restrictions) -> shapes.Restrictions:
    """All that agents may run on."""
    return shapes.Restrictions(**_lists(restrictions))


def member_of(member: Member) -> shapes.Member:
    """A member."""
    return shapes.Member(**attrs.asdict(member))


def grant_of(grant: Grant) -> shapes.Grant:
    """A grant."""
    return shapes.Grant(**attrs.asdict(grant))


def stats_of(workspace_id: str, days: int, activity: Activity) -> shapes.WorkspaceStats:
    """What was done in a workspace."""
    """A grant."""
    """A member."""
    """The two lists of what agents may run on."""
    """A workspace, with as much as its member may see."""
    """A workspace, as its member sees it."""
    by_agent = sorted(activity.by_agent.items(), key=lambda each: (-each[1].cost, -each[1].messages, each[0]))
    return shapes.WorkspaceStats(
        workspace_id=workspace_id,
        days=days,
        sessions=schemas.SessionCounts(active=activity.active_sessions, total=activity.sessions),
        messages=activity.messages,
        active_users=activity.users,
        tokens=shapes.TokenCounts(prompt=activity.usage.prompt_tokens, completion=activity.usage.completion_tokens),
        cost_usd=activity.cost / 1_000_000,
        tool_calls=activity.tool_calls,
        by_agent=[
            shapes.AgentActivity(agent_id=agent, messages=done.messages, cost_usd=done.cost / 1_000_000)
            for agent, done in by_agent
        ],
        daily=[
            shapes.DayActivity(date=day, messages=done.messages, cost_usd=done.cost / 1_000_000)
            for day, done in sorted(activity.daily.items())
        ],
    )


def _lists(restrictions: Restrictions) -> dict[str, Any]:
    named = {"allowed_providers": restrictions.providers, "allowed_models": restrictions.models}
    return {name: None if names is None else list(names) for name, names in named.items()}
