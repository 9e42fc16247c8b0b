"""The audit log."""

from datetime import datetime

import attrs

from understudy.storage.records.values import Json


@attrs.frozen
class AuditEntry:
    """One line of the audit log. ``metadata`` never holds a secret."""

    id: str
    event: str
    severity: str
    created_at: datetime
    uid: str | None = None
    workspace_id: str | None = None
    agent_id: str | None = None
    session_id: str | None = None
    request_id: str | None = None
    metadata: Json = attrs.field(factory=dict)


@attrs.frozen
class AuditVerdict:
    """What checking the audit chain found: how many lines, and the position of the first that does not fit."""

    entries: int
    broken_at: int | None = None
