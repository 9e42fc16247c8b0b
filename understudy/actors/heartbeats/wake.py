"""What is noted before an agent is woken: whoever goes on with the run says the same, and knows what it leads to."""

import hashlib
from datetime import datetime

import msgspec

from understudy.actors.heartbeats.document import HeartbeatDocument
from understudy.actors.heartbeats.verdict import Verdict
from understudy.actors.session.errand import Errand
from understudy.storage.heartbeat_records import Heartbeat, HeartbeatRun, RunEnd, RunStatus
from understudy.storage.records import IdempotencyKey, Json

SCOPE = "heartbeat"
"""The scope of the idempotency keys of turns. The keys are the runs' ids: one turn for one due time."""

SURFACE = "prop"
"""Of the conversations in which agents are woken."""


class Wake(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """What the agent is told, and what is true of the heartbeat once it has been."""

    message: str
    state: dict[str, object] | None = None
    item_count: int = 0
    http_status: int | None = None
    note: str | None = None
    failed: bool = False
    seen: dict[str, tuple[bytes, ...]] = {}
    watched: tuple[str, ...] = ()


def wake_of(verdict: Verdict, message: str) -> Wake:
    """What is to be noted of a look that has something to tell."""
    return Wake(
        message=message,
        state=dict(verdict.state) if verdict.state is not None else None,
        item_count=verdict.item_count,
        http_status=verdict.http_status,
        note=verdict.note,
        failed=verdict.failed,
        seen=dict(verdict.seen),
        watched=verdict.watched,
    )


def to_json(wake: Wake) -> Json:
    """As it is stored; the keys in base64."""
    stored: Json = msgspec.to_builtins(wake)
    return stored


def from_json(stored: Json) -> Wake:
    """From what is stored."""
    return msgspec.convert(stored, Wake)


def errand_of(
    heartbeat: Heartbeat, document: HeartbeatDocument, run: HeartbeatRun, wake: Wake, timeout: float
) -> Errand:
    """The turn to run: as the person who made the heartbeat, in a conversation of the heartbeat's own."""
    return Errand(
        heartbeat.uid,
        heartbeat.workspace_id,
        document.agent_id,
        wake.message,
        surface=SURFACE,
        surface_id=f"heartbeat:{heartbeat.id}",
        timeout=timeout,
        idempotency=IdempotencyKey(SCOPE, run.id, hashlib.sha256(wake.message.encode()).digest()),
    )


def triggered(wake: Wake, session_id: str, now: datetime) -> RunEnd:
    """The run's end when the agent has answered."""
    return RunEnd(
        RunStatus.TRIGGERED,
        now,
        http_status=wake.http_status,
        item_count=wake.item_count,
        error=wake.note,
        session_id=session_id,
        state=wake.state,
        seen=wake.seen,
        watched=wake.watched,
    )
