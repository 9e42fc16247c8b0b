"""All repositories of one database, in one value."""

from typing import Self

import attrs

from understudy.storage.admin import AdminRepository
from understudy.storage.agents import AgentRepository
from understudy.storage.allowances import AllowanceRepository
from understudy.storage.approvals import ApprovalRepository
from understudy.storage.audit import AuditRepository
from understudy.storage.claims import ClaimRepository
from understudy.storage.compaction import CompactionRepository
from understudy.storage.costs import CostRepository
from understudy.storage.delivery_queue import DeliveryRepository
from understudy.storage.diagnostics import DiagnosticsRepository
from understudy.storage.grants import GrantRepository
from understudy.storage.health import HealthRepository
from understudy.storage.heartbeat_runs import HeartbeatRunRepository
from understudy.storage.heartbeats import HeartbeatRepository
from understudy.storage.idempotency import IdempotencyRepository
from understudy.storage.jobs import JobRepository
from understudy.storage.keys import KeyRepository
from understudy.storage.knowledge import KnowledgeRepository
from understudy.storage.lockouts import LockoutRepository
from understudy.storage.memories import MemoriesRepository
from understudy.storage.memory_index import MemoryIndexRepository
from understudy.storage.memory_profiles import MemoryProfilesRepository
from understudy.storage.nodes import NodeRepository
from understudy.storage.onboarding import OnboardingRepository
from understudy.storage.outbox import OutboxRepository
from understudy.storage.pool import Pool
from understudy.storage.retention import RetentionRepository
from understudy.storage.schedule import ScheduleRepository
from understudy.storage.sessions import SessionRepository
from understudy.storage.skills import SkillUsageRepository
from understudy.storage.snapshots import SnapshotRepository
from understudy.storage.tokens import TokenRepository
from understudy.storage.traces import TraceRepository
from understudy.storage.users import UserRepository
from understudy.storage.webhooks import WebhookRepository
from understudy.storage.workspaces import WorkspaceRepository


@attrs.frozen
class Repositories:
    """What the composition root hands out, each part to whoever needs it."""

    users: UserRepository
    tokens: TokenRepository
    lockouts: LockoutRepository
    workspaces: WorkspaceRepository
    grants: GrantRepository
    agents: AgentRepository
    memories: MemoriesRepository
    memory_profiles: MemoryProfilesRepository
    memory_index: MemoryIndexRepository
    knowledge: KnowledgeRepository
    sessions: SessionRepository
    heartbeats: HeartbeatRepository
    heartbeat_runs: HeartbeatRunRepository
    idempotency: IdempotencyRepository
    audit: AuditRepository
    keys: KeyRepository
    admin: AdminRepository
    onboarding: OnboardingRepository
    outbox: OutboxRepository
    diagnostics: DiagnosticsRepository
    costs: CostRepository
    allowances: AllowanceRepository
    traces: TraceRepository
    skill_usage: SkillUsageRepository
    webhooks: WebhookRepository
    deliveries: DeliveryRepository
    snapshots: SnapshotRepository
    jobs: JobRepository
    claims: ClaimRepository
    schedule: ScheduleRepository
    retention: RetentionRepository
    compaction: CompactionRepository
    approvals: ApprovalRepository
    health: HealthRepository
    nodes: NodeRepository

    @classmethod
    def on(cls, pool: Pool) -> Self:
        """The repositories of the database behind *pool*."""
        return cls(
            users=UserRepository(pool),
            tokens=TokenRepository(pool),
            lockouts=LockoutRepository(pool),
            workspaces=WorkspaceRepository(pool),
            grants=GrantRepository(pool),
            agents=AgentRepository(pool),
            memories=MemoriesRepository(pool),
            memory_profiles=MemoryProfilesRepository(pool),
            memory_index=MemoryIndexRepository(pool),
            knowledge=KnowledgeRepository(pool),
            sessions=SessionRepository(pool),
            heartbeats=HeartbeatRepository(pool),
            heartbeat_runs=HeartbeatRunRepository(pool),
            idempotency=IdempotencyRepository(pool),
            audit=AuditRepository(pool),
            keys=KeyRepository(pool),
            admin=AdminRepository(pool),
            onboarding=OnboardingRepository(pool),
            outbox=OutboxRepository(pool),
            diagnostics=DiagnosticsRepository(pool),
            costs=CostRepository(pool),
            allowances=AllowanceRepository(pool),
            traces=TraceRepository(pool),
            skill_usage=SkillUsageRepository(pool),
            webhooks=WebhookRepository(pool),
            deliveries=DeliveryRepository(pool),
            snapshots=SnapshotRepository(pool),
            jobs=JobRepository(pool),
            claims=ClaimRepository(pool),
            schedule=ScheduleRepository(pool),
            retention=RetentionRepository(pool),
            compaction=CompactionRepository(pool),
            approvals=ApprovalRepository(pool),
            health=HealthRepository(pool),
            nodes=NodeRepository(pool),
        )
