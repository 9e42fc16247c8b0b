"""How a line gets into the audit log, and how the log is read."""

from collections.abc import Mapping
from datetime import datetime

import attrs

from understudy.actors.made import made_id
from understudy.runtime import Ask
from understudy.storage.oversight import AuditFilter as AuditFilter
from understudy.storage.oversight import AuditLine as AuditLine
from understudy.storage.records import AuditEntry as AuditEntry
from understudy.storage.records import new_id

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


@attrs.frozen
class Author:
    """Who changes something, where, and in which request. The caller has checked their role."""

    workspace_id: str
    uid: str
    request_id: str | None = None


def act_of(
    author: Author,
    event: str,
    at: datetime,
    metadata: Mapping[str, object],
    *,
    agent_id: str | None = None,
    session_id: str | None = None,
) -> AuditEntry:
    """The line for what *author* did; its id is the same at each attempt of a keyed request."""
    return AuditEntry(
        id=made_id("aud", event),
        event=event,
        severity="info",
        created_at=at,
        uid=author.uid,
        workspace_id=author.workspace_id,
        agent_id=agent_id,
        session_id=session_id,
        request_id=author.request_id,
        metadata=metadata,
    )


def act_of_key(event: str, key: str, *, request_id: str | None, at: datetime, **about: object) -> AuditEntry:
    """The line for what the holder of the internal key named *key* did."""
    return AuditEntry(new_id("aud"), event, "medium", at, request_id=request_id, metadata={"key": key, **about})


@attrs.frozen
class AuditPage:
    """Some lines, newest first, of ``total``."""

    lines: tuple[AuditLine, ...]
    total: int


@attrs.frozen
class ReadAudit(Ask[AuditPage]):
    """One page of the lines that ``wanted`` is about. Refused with `Unavailable`."""

    wanted: AuditFilter
    limit: int = 100
    offset: int = 0


@attrs.frozen
class WalkAudit(Ask[tuple[AuditLine, ...]]):
    """The next lines behind the place ``after``, oldest first; none when there are no more."""

    wanted: AuditFilter
    after: int = 0
    limit: int = 1000


@attrs.frozen
class AuditEnd(Ask[int]):
    """The place of the last line, 0 for an empty log. Refused with `Unavailable`."""


@attrs.frozen
class Verified:
    """What checking the chain found: how many lines, and the first that does not fit with its place, if there is one.

    A place without a line: that one, or those behind it, were taken out.
    """

    entries: int
    broken_at: int | None = None
    broken: AuditLine | None = None


@attrs.frozen
class VerifyAudit(Ask[Verified]):
    """Check every seal of the log: reads all of it, so ask with time. Refused with `Unavailable`."""
