"""What is written into the audit log of a tool that acts."""

from datetime import datetime

from understudy.actors.audit.messages import AuditEntry
from understudy.actors.tools.messages import ToolActed
from understudy.storage.records import new_id

EXECUTED = "tool.executed"


def executed(act: ToolActed, at: datetime) -> AuditEntry:
    """The line: which tool, in which turn and on whose behalf. The arguments are in the turn's trace, not here."""
    who = act.context
    return AuditEntry(
        id=new_id("aud"),
        event=EXECUTED,
        severity="low",
        created_at=at,
        uid=who.uid,
        workspace_id=who.workspace_id,
        agent_id=who.agent_id or None,
        session_id=who.session_id or None,
        metadata={"tool": act.name, "ok": act.ok, "durationMs": act.duration_ms, "turn": who.turn_id},
    )
