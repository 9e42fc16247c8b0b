"""Tool calls that wait for consent."""

from datetime import datetime
from enum import StrEnum

import attrs


class ApprovalStatus(StrEnum):
    """What became of a request for consent. All but ``PENDING`` are final."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


@attrs.frozen
class Approval:
    """A tool call that waits, or waited, for somebody's consent. ``arguments`` is the JSON text as it came."""

    id: str
    workspace_id: str
    uid: str
    agent_id: str
    session_id: str
    turn_id: str
    tool_call_id: str
    tool: str
    arguments: str
    requested_at: datetime
    expires_at: datetime
    status: ApprovalStatus = ApprovalStatus.PENDING
    decided_at: datetime | None = None
    decided_by: str | None = None
    note: str | None = None
