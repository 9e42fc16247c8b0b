"""The JSON of `/approvals`, and of resuming an agent."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from understudy.http.schemas import Offset, Slug, Wire


class ApprovalFilter(StrEnum):
    """Which requests are wanted."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    ALL = "all"


class ApprovalsQuery(Wire, frozen=True):
    """Which requests; those that wait, unless asked otherwise."""

    status: ApprovalFilter = ApprovalFilter.PENDING
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    offset: Offset = 0


class Decision(Wire, frozen=True):
    """Why, in a sentence that the agent is told."""

    note: Annotated[str, Meta(max_length=1000)] | None = None


class Approval(Wire, frozen=True):
    """A tool call that waits, or waited, for somebody's consent. ``arguments`` is JSON text, as the model wrote it."""

    id: str
    uid: str
    agent_id: str
    session_id: str
    turn_id: str
    tool_call_id: str
    tool: str
    arguments: str
    status: str
    requested_at: datetime
    expires_at: datetime
    decided_at: datetime | None
    decided_by: str | None
    note: str | None


class ApprovalList(Wire, frozen=True):
    """Requests, newest first."""

    approvals: list[Approval]
    total: int
    limit: int
    offset: int


class ResumeRequest(Wire, frozen=True):
    """In which workspace; in all of them without one."""

    workspace_id: Slug | None = None


class Resumed(Wire, frozen=True):
    """The workspaces in which the agent was paused and now is not."""

    ok: bool
    agent_id: str
    workspaces: list[str]
