"""The repositories and the journal without a database: for tests, held to the same suite as the real ones.

Everything is in dictionaries and changes between checkpoints only, so that each method is atomic. Nothing survives
the process.
"""

from collections.abc import Callable
from datetime import UTC, datetime

from understudy.storage.memory.admin import MemoryAdmin
from understudy.storage.memory.agents import MemoryAgents
from understudy.storage.memory.conversations import MemorySessions
from understudy.storage.memory.delivery_queue import MemoryDeliveries
from understudy.storage.memory.grants import MemoryGrants
from understudy.storage.memory.heartbeats import MemoryHeartbeatRuns, MemoryHeartbeats
from understudy.storage.memory.identity import MemoryLockouts, MemoryTokens, MemoryUsers
from understudy.storage.memory.jobs import MemoryClaims, MemoryJobs, MemorySchedule
from understudy.storage.memory.journal import MemoryJournal
from understudy.storage.memory.keys import MemoryKeys
from understudy.storage.memory.knowledge import MemoryKnowledge
from understudy.storage.memory.ledger import MemoryAudit, MemoryDiagnostics, MemoryIdempotency, MemoryOutbox
from understudy.storage.memory.loop import MemoryApprovals, MemoryCompaction, MemoryHealth
from understudy.storage.memory.memories import MemoryMemories
from understudy.storage.memory.memory_index import MemoryMemoryIndex
from understudy.storage.memory.memory_profiles import MemoryMemoryProfiles
from understudy.storage.memory.nodes import MemoryNodes
from understudy.storage.memory.onboarding import MemoryOnboarding
from understudy.storage.memory.retention import MemoryRetention
from understudy.storage.memory.skills import MemorySkillUsage
from understudy.storage.memory.spending import MemoryAllowances, MemoryCosts, MemorySnapshots, MemoryTraces
from understudy.storage.memory.tables import Tables
from understudy.storage.memory.webhooks import MemoryWebhooks
from understudy.storage.memory.workspaces import MemoryWorkspaces


class MemoryStore:
    """All repositories and the journal over one set of tables; the attributes are those of `Repositories`.

    Args:
        now: the database's own clock, which only unexpired-key look-ups use.
    """

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.tables = tables = Tables(now)
        self.users = MemoryUsers(tables)
        self.tokens = MemoryTokens(tables)
        self.lockouts = MemoryLockouts(tables)
        self.workspaces = MemoryWorkspaces(tables)
        self.grants = MemoryGrants(tables)
        self.agents = MemoryAgents(tables)
        self.memories = MemoryMemories(tables)
        self.memory_profiles = MemoryMemoryProfiles(tables)
        self.memory_index = MemoryMemoryIndex(tables)
        self.knowledge = MemoryKnowledge(tables)
        self.sessions = MemorySessions(tables)
        self.heartbeats = MemoryHeartbeats(tables)
        self.heartbeat_runs = MemoryHeartbeatRuns(tables, self.heartbeats)
        self.idempotency = MemoryIdempotency(tables)
        self.audit = MemoryAudit(tables)
        self.keys = MemoryKeys(tables)
        self.admin = MemoryAdmin(tables)
        self.onboarding = MemoryOnboarding(tables)
        self.outbox = MemoryOutbox(tables)
        self.diagnostics = MemoryDiagnostics(tables)
        self.skill_usage = MemorySkillUsage(tables)
        self.compaction = MemoryCompaction(tables)
        self.approvals = MemoryApprovals(tables)
        self.health = MemoryHealth(tables)
        self.costs = MemoryCosts(tables)
        self.allowances = MemoryAllowances(tables)
        self.traces = MemoryTraces(tables)
        self.snapshots = MemorySnapshots(tables)
        self.jobs = MemoryJobs(tables)
        self.claims = MemoryClaims(tables)
        self.schedule = MemorySchedule(tables)
        self.retention = MemoryRetention(tables)
        self.webhooks = MemoryWebhooks(tables)
        self.deliveries = MemoryDeliveries(tables)
        self.nodes = MemoryNodes(tables)
        self.journal = MemoryJournal(tables)
