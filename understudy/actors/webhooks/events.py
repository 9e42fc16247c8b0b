"""Which facts can be subscribed to, and the bytes in which they are told."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from understudy.actors.facts import Fact
from understudy.storage.deliveries import FinishedTurn, Happening
from understudy.storage.records import TurnStatus

EVENTS = (
    "agent.cancelled",
    "agent.compacted",
    "agent.completed",
    "agent.failed",
    "agent.paused",
    "agent.resumed",
    "approval.requested",
    "heartbeat.disabled",
    "heartbeat.fired",
    "job.failed",
    "memory.propagated",
    "quota.exceeded",
    "session.handoff",
    "swarm.finished",
    "webhook.disabled",
)
"""What a webhook may name. This server has no swarms, so that theirs never comes; who moves here from Open Astra may
name it all the same."""

TEST = "webhook.test"
"""What a test is called. It cannot be subscribed to: it goes to the webhook that is tested."""

ANSWER = "chat.answer"
"""What the answer of a chat is called that is sent to its ``webhookUrl``."""

_encode = msgspec.json.Encoder().encode


class _Envelope(msgspec.Struct, rename="camel"):
    id: str
    event: str
    timestamp: str
    workspace_id: str | None
    data: Any


def envelope(fact: Fact) -> str:
    """What the receiver is sent: the same text for each webhook and each try, so that one id means one body."""
    at = fact.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return _encode(_Envelope(fact.id, fact.event, at, fact.workspace_id, fact.data)).decode()


def happening(fact: Fact) -> Happening:
    """The fact as it is put into the queues."""
    turn = fact.data.get("turnId")
    return Happening(
        fact.id, fact.event, fact.uid, fact.workspace_id, envelope(fact), turn if isinstance(turn, str) else None
    )


def answer_body(turn: FinishedTurn) -> str:
    """What is sent to the ``webhookUrl`` of a chat: what the chat was answered, or why it was not."""
    if turn.status is not TurnStatus.COMPLETED:
        said = turn.error_message or ("The turn was stopped" if turn.status is TurnStatus.CANCELLED else "It failed")
        code = turn.error_code or turn.status.name
        failed = {"error": said, "code": code, "sessionId": turn.session_id, "agentId": turn.agent_id}
        return _encode(failed).decode()
    usage = {
        "promptTokens": turn.usage.prompt_tokens,
        "completionTokens": turn.usage.completion_tokens,
        "totalTokens": turn.usage.total_tokens,
    }
    answer = {
        "content": turn.content,
        "sessionId": turn.session_id,
        "toolsUsed": turn.tools_used,
        "usage": usage,
        "agentId": turn.agent_id,
        "model": turn.model,
        "durationMs": _milliseconds(turn.started_at, turn.finished_at),
    }
    return _encode(answer).decode()


def _milliseconds(began: datetime, ended: datetime) -> int:
    return round((ended - began).total_seconds() * 1000)
