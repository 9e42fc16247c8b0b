"""What is told elsewhere of a change of memory: the line of the audit log, and the fact."""

from collections.abc import Mapping
from datetime import datetime

from understudy.actors.audit.messages import act_of
from understudy.actors.facts import fact
from understudy.actors.memory.messages import PROPAGATED, Owner, Share
from understudy.storage.entries import Published
from understudy.storage.records import AuditEntry, MemoryEntry


def audit_line(event: str, owner: Owner, at: datetime, metadata: Mapping[str, object]) -> AuditEntry:
    """The line for something that *owner* did, or an agent on their behalf. What was remembered is never in it."""
    return act_of(owner, event, at, metadata, agent_id=owner.agent_id, session_id=owner.session_id)


def propagated(entry: MemoryEntry, message: Share) -> Published:
    """The fact that an entry was shared; one id however often."""
    owner = message.owner
    data = {"entryId": entry.id, "type": message.type.value, "agentId": owner.agent_id, "sessionId": owner.session_id}
    return fact(
        PROPAGATED, uid=owner.uid, workspace_id=owner.workspace_id, data=data, at=entry.created_at, id=f"evt_{entry.id}"
    )
