"""What can be asked of, and told to, whoever keeps the requests for consent."""

import attrs

from understudy.runtime import Ask
from understudy.storage.records import Approval as Approval
from understudy.storage.records import ApprovalStatus as ApprovalStatus

APPROVALS = "approvals"
"""The address of the approvals actor."""

REQUESTED = "approval.requested"
"""The fact that a tool call waits for somebody's consent."""


@attrs.frozen
class RequestApproval(Ask[Approval]):
    """Keep a request; answered once it is stored. The same request again is answered as it is now.

    It is cancelled when its session's actor ends. Refused with `Unavailable`.
    """

    approval: Approval


@attrs.frozen
class AwaitDecision(Ask[Approval]):
    """What became of a request; answered when it has been decided, has expired or was cancelled.

    Refused with `NotFound`, `Unavailable`.
    """

    workspace_id: str
    approval_id: str


@attrs.frozen
class Withdraw:
    """Tell: nobody waits for this request any more; it is cancelled unless it has been decided."""

    approval_id: str


@attrs.frozen
class Decide(Ask[Approval]):
    """Approve or deny a request, as the user ``by``; answered once that is stored.

    With ``uid`` only a request of that user's. Refused with `NotFound`, with `Conflict` when it is no longer pending,
    and with `Unavailable`. Of those who decide at the same time one succeeds.
    """

    workspace_id: str
    approval_id: str
    approve: bool
    by: str
    note: str | None = None
    uid: str | None = None
    request_id: str | None = None


@attrs.frozen
class ApprovalPage:
    """Requests, newest first; ``total`` is how many there are on all pages."""

    approvals: tuple[Approval, ...]
    total: int


@attrs.frozen
class ListApprovals(Ask[ApprovalPage]):
    """A page of a workspace's requests; with ``uid`` only that user's. Refused with `Unavailable`."""

    workspace_id: str
    uid: str | None = None
    status: ApprovalStatus | None = None
    limit: int = 50
    offset: int = 0
