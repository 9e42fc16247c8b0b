"""What the tree is given: what its actors need of settings and storage, and the implementations of what they use."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Protocol

import attrs

from understudy.actors.admin.ports import AdminStores, UsersLines
from understudy.actors.agents.messages import AgentView
from understudy.actors.agents.ports import AgentStore
from understudy.actors.approvals.ports import ApprovalStore
from understudy.actors.audit.ports import AuditLog
from understudy.actors.costs.ports import Bill
from understudy.actors.diagnostics.ports import Runs
from understudy.actors.diagnostics.standard import DiagnosticSettings, FullProbe
from understudy.actors.diagnostics.upkeep import Place
from understudy.actors.healing.actor import HealthStore
from understudy.actors.heartbeats.services import HeartbeatServices
from understudy.actors.idempotency.ports import Keys
from understudy.actors.identity.actor import IdentitySettings
from understudy.actors.identity.ports import AccountStore
from understudy.actors.inference.messages import ToolSpec
from understudy.actors.jobs.standard import JobPlan
from understudy.actors.jobs.tree import JobStores
from understudy.actors.mcp.library import RemoteTools
from understudy.actors.mcp.tree import McpServerPlan
from understudy.actors.memory.ports import MemoryKeeper, Strengthening
from understudy.actors.memory.vectors import Vectors
from understudy.actors.memory_profiles.ports import ProfileStore
from understudy.actors.metrics.ports import Totals
from understudy.actors.nodes.ports import Membership
from understudy.actors.onboarding.ports import OnboardingStore
from understudy.actors.session.services import SessionServices
from understudy.actors.skills.document import Skill
from understudy.actors.skills.library import SkillLibrary
from understudy.actors.skills.usage import UsageStore
from understudy.actors.tools.cache import ToolCache
from understudy.actors.tools.toolbox import Toolbox
from understudy.actors.traces.export import ExportPlan
from understudy.actors.traces.ports import TraceStore
from understudy.actors.webhooks.ports import WebhookStore
from understudy.actors.webhooks.webhook import Delivering
from understudy.actors.workspaces.ports import GrantStore, WorkspaceStore
from understudy.runtime import SupervisorSpec


class TreeSettings(IdentitySettings, DiagnosticSettings, Protocol):
    """What the tree needs of the settings; `understudy.config.Settings` has it."""

    @property
    def model(self) -> str:
        """The model of agents that name none."""
        ...

    @property
    def model_concurrency(self) -> int:
        """Calls to one provider at a time."""
        ...

    @property
    def circuit_open(self) -> float:
        """Seconds that a provider that failed is left alone."""
        ...

    @property
    def job_concurrency(self) -> int:
        """Jobs that are done at a time."""
        ...

    @property
    def job_lease(self) -> float:
        """Seconds that a job stays with a node that is not heard of."""
        ...

    @property
    def timezone(self) -> str:
        """The time zone of the built-in schedule."""
        ...

    @property
    def providers(self) -> Mapping[str, Place]:
        """The configured providers, by name."""
        ...

    @property
    def rate_limit_max(self) -> int:
        """Chats per user and minute; 0 is no limit."""
        ...

    @property
    def user_rate_limit_max(self) -> int:
        """Requests per user and minute; 0 is no limit."""
        ...

    @property
    def user_token_budget(self) -> int | None:
        """Tokens that a user may use in a month; None is no limit."""
        ...

    @property
    def agent_failures(self) -> int:
        """How many turns of an agent may fail in a row; 0 is any number."""
        ...

    @property
    def agent_pause(self) -> float:
        """Seconds for which an agent that failed so often is left alone."""
        ...

    @property
    def session_idle_after(self) -> float:
        """Seconds that a session stays in memory with nothing to do."""
        ...


class Probe(FullProbe, Totals, Protocol):
    """What diagnostics and metrics ask of the database."""


class AuditTrail(AuditLog, UsersLines, Protocol):
    """The audit log, as a whole and by user."""


class Stores(AccountStore, AdminStores, JobStores, Protocol):
    """The repositories that actors above storage read."""

    @property
    def workspaces(self) -> WorkspaceStore:
        """Workspaces and who belongs to them."""
        ...

    @property
    def grants(self) -> GrantStore:
        """Agents that the members of other workspaces may run."""
        ...

    @property
    def agents(self) -> AgentStore:
        """Agents and their versions."""
        ...

    @property
    def memories(self) -> MemoryKeeper:
        """Profiles, daily entries and notes."""
        ...

    @property
    def knowledge(self) -> Strengthening:
        """The graph and the procedures."""
        ...

    @property
    def memory_profiles(self) -> ProfileStore:
        """How agents remember."""
        ...

    @property
    def idempotency(self) -> Keys:
        """Idempotency keys of requests other than chats."""
        ...

    @property
    def costs(self) -> Bill:
        """The bill of every workspace."""
        ...

    @property
    def traces(self) -> TraceStore:
        """How turns went."""
        ...

    @property
    def audit(self) -> AuditTrail:
        """The audit log."""
        ...

    @property
    def onboarding(self) -> OnboardingStore:
        """What users begin with."""
        ...

    @property
    def diagnostics(self) -> Runs:
        """Stored diagnostic runs."""
        ...

    @property
    def webhooks(self) -> WebhookStore:
        """Webhooks, and the history of their deliveries."""
        ...

    @property
    def approvals(self) -> ApprovalStore:
        """Requests for consent to tool calls."""
        ...

    @property
    def health(self) -> HealthStore:
        """How often agents have failed in a row."""
        ...

    @property
    def skill_usage(self) -> UsageStore:
        """Counts of what became of skills' tools."""
        ...


@attrs.frozen
class Services:
    """What the tree is given: implementations of what its actors need, and nothing that runs."""

    storage: SupervisorSpec
    stores: Stores
    heartbeats: HeartbeatServices
    probe: Probe
    sessions: SessionServices
    webhooks: Delivering
    jobs: JobPlan
    providers: Collection[str]
    tools: Callable[[], tuple[ToolSpec, ...]]
    cache: ToolCache
    desk: Toolbox
    skills: SkillLibrary
    builtin_skills: Mapping[str, Skill]
    skills_folder: Path
    membership: Membership | None = None
    agents: tuple[AgentView, ...] = ()
    vectors: Vectors | None = None
    mcp_servers: tuple[McpServerPlan, ...] = ()
    remote_tools: RemoteTools = attrs.field(factory=lambda: RemoteTools(()))
    export: ExportPlan | None = None
