"""How a line gets into the audit log."""

import attrs

from understudy.runtime import Ask
from understudy.storage.records import AuditEntry as AuditEntry

AUDIT = "audit"
"""The address of the audit actor."""


@attrs.frozen
class Record:
    """Tell: write the entry soon. Kept and tried again while the database is away, up to a bound."""

    entry: AuditEntry


@attrs.frozen
class RecordNow(Ask[None]):
    """Write the entry; it is committed when this is answered. Refused with `Unavailable`."""

    entry: AuditEntry
