"""Facts: what happened and was committed, told to whoever wants to know.

A fact is written to the outbox in the transaction that makes it true, so that it is told exactly when it is so; it is
delivered at least once, so that whoever wants it must bear seeing one twice (by its ``id``).
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import attrs
import msgspec

from understudy.storage.entries import Published
from understudy.storage.records import OutboxItem, new_id

COMPLETED = "agent.completed"
"""A turn ended well."""

FAILED = "agent.failed"
"""A turn ended otherwise, and not because somebody stopped it."""

CANCELLED = "agent.cancelled"
"""A turn ended because somebody stopped it: its asker, a newer message, or that nobody read it."""


class _Told(msgspec.Struct):
    event: str
    timestamp: datetime
    uid: str | None
    workspaceId: str | None  # noqa: N815 - the wire's spelling
    data: dict[str, Any]


_decode = msgspec.json.Decoder(_Told).decode


@attrs.frozen
class Fact:
    """What happened (``event``), when, to whom, and where; ``data`` is what subscribers are shown."""

    id: str
    event: str
    at: datetime
    uid: str | None
    workspace_id: str | None
    data: Mapping[str, Any]


def fact(
    event: str,
    *,
    uid: str | None,
    workspace_id: str | None,
    data: Mapping[str, object],
    at: datetime,
    id: str | None = None,
) -> Published:
    """The journal entry of a fact. An ``id`` made from what it tells of makes writing it twice harmless."""
    told = _Told(event, at.astimezone(UTC), uid, workspace_id, dict(data))
    return Published(id or new_id("evt"), event, workspace_id, msgspec.json.encode(told), at)


def read_fact(item: OutboxItem) -> Fact:
    """The fact that an outbox item carries. Raises msgspec.DecodeError for an item that carries none."""
    told = _decode(item.payload)
    return Fact(item.id, told.event, told.timestamp, told.uid, told.workspaceId, told.data)
