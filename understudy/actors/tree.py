"""The supervision tree, as data: started by nobody until `understudy.app` does.

    storage        rest_for_one      postgres (embedded only), database, journal, outbox
    telemetry      one_for_one       metrics
    limits, presence, audit, identity, workspaces, agents, memory, memory_profiles, idempotency, costs, traces,
    onboarding, admin, diagnostics
    trace_export                     absent without a collector
    inference      dynamic           one actor per provider
    tools          one_for_one       host, desk, skills, usage
    mcp            one_for_one       one actor per MCP server; absent without any
    webhooks       one_for_one       directory, live (dynamic, one actor per webhook with something to do), sweeper
    approvals, healing
    sessions       one_for_one       node, directory, live (dynamic, one actor per session), recovery
    heartbeats     one_for_one       awake (dynamic, one actor per heartbeat that is due soon), directory
    jobs           one_for_one       running (dynamic, one actor per job being done), dispatcher, queue, schedule

The listener is no part of it, since it belongs to the floor above; the composition root starts it last.
"""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Protocol

import attrs

from understudy.actors.admin.actor import admin_spec
from understudy.actors.admin.ports import AdminStores, UsersLines
from understudy.actors.agents.actor import agents_spec
from understudy.actors.agents.messages import AgentView
from understudy.actors.agents.ports import AgentStore
from understudy.actors.approvals.actor import approvals_spec
from understudy.actors.approvals.ports import ApprovalStore
from understudy.actors.audit.actor import audit_spec
from understudy.actors.audit.ports import AuditLog
from understudy.actors.clock import utc_now
from understudy.actors.costs.actor import costs_spec
from understudy.actors.costs.ports import Bill
from understudy.actors.diagnostics.actor import diagnostics_spec
from understudy.actors.diagnostics.ports import Runs
from understudy.actors.diagnostics.standard import DiagnosticSettings, FullProbe, standard_checks
from understudy.actors.diagnostics.upkeep import Place, upkeep_checks
from understudy.actors.healing.actor import HealingRules, HealthStore, healing_spec
from understudy.actors.heartbeats.services import HeartbeatServices
from understudy.actors.heartbeats.tree import heartbeats_spec
from understudy.actors.idempotency.actor import idempotency_spec
from understudy.actors.idempotency.ports import Keys
from understudy.actors.identity.actor import IdentitySettings, identity_spec
from understudy.actors.identity.ports import AccountStore
from understudy.actors.inference.breaker import BreakerPolicy
from understudy.actors.inference.messages import ToolSpec
from understudy.actors.inference.provider import ProviderLimits
from understudy.actors.inference.tree import inference_tree
from understudy.actors.jobs.standard import JobPlan
from understudy.actors.jobs.tree import JobStores, jobs_spec
from understudy.actors.limits.actor import limits_spec
from understudy.actors.mcp.checks import mcp_checks
from understudy.actors.mcp.library import RemoteTools
from understudy.actors.mcp.tree import McpServerPlan, mcp_spec
from understudy.actors.memory.actor import memory_spec
from understudy.actors.memory.ports import MemoryKeeper, Strengthening
from understudy.actors.memory.vectors import Vectors
from understudy.actors.memory_profiles.actor import memory_profiles_spec
from understudy.actors.memory_profiles.ports import ProfileStore
from understudy.actors.metrics.actor import metrics_spec
from understudy.actors.metrics.messages import METRICS
from understudy.actors.metrics.ports import Totals
from understudy.actors.nodes.ports import Membership
from understudy.actors.onboarding.actor import onboarding_spec
from understudy.actors.onboarding.ports import OnboardingStore
from understudy.actors.presence.actor import presence_spec
from understudy.actors.session.services import SessionServices
from understudy.actors.session.tree import sessions_spec
from understudy.actors.skills.document import Skill
from understudy.actors.skills.library import SkillLibrary
from understudy.actors.skills.loader import skill_loader_spec
from understudy.actors.skills.usage import UsageStore, skill_usage_spec
from understudy.actors.tools.cache import ToolCache
from understudy.actors.tools.desk import tool_desk_spec
from understudy.actors.tools.host import tool_host_spec
from understudy.actors.tools.messages import HOST
from understudy.actors.tools.toolbox import Toolbox
from understudy.actors.traces.actor import traces_spec
from understudy.actors.traces.export import ExportPlan, export_check, export_spec
from understudy.actors.traces.ports import TraceStore
from understudy.actors.webhooks.ports import WebhookStore
from understudy.actors.webhooks.tree import webhooks_spec
from understudy.actors.webhooks.webhook import Delivering
from understudy.actors.workspaces.actor import workspaces_spec
from understudy.actors.workspaces.ports import GrantStore, WorkspaceStore
from understudy.runtime import ChildSpec, DynamicSpec, SupervisorSpec


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


def node_tree(settings: TreeSettings, services: Services) -> tuple[ChildSpec | SupervisorSpec | DynamicSpec, ...]:
    """The children of the root, in the order in which they start."""
    stores, writer = services.stores, services.sessions.writer
    checks = (
        *standard_checks(settings, services.probe, stores.audit),
        *mcp_checks(server.name for server in services.mcp_servers),
        *upkeep_checks(settings.providers, stores.admin, services.vectors, utc_now),
        *((export_check(),) if services.export is not None else ()),
    )
    return (
        services.storage,
        SupervisorSpec(METRICS.partition("/")[0], children=(metrics_spec(services.probe),)),
        limits_spec(rate_limit_max=settings.rate_limit_max, user_rate_limit_max=settings.user_rate_limit_max),
        presence_spec(),
        audit_spec(writer, stores.audit),
        identity_spec(settings, stores, writer),
        workspaces_spec(stores, providers=tuple(services.providers)),
        agents_spec(
            settings.model,
            stores,
            providers=services.providers,
            seeds=services.agents,
            skills=services.skills.tools,
            texts=services.skills.texts,
            roster=services.remote_tools,
        ),
        memory_spec(stores.memories, vectors=services.vectors, strength=stores.knowledge),
        memory_profiles_spec(stores.memory_profiles),
        idempotency_spec(stores.idempotency),
        costs_spec(stores.costs),
        traces_spec(stores.traces),
        *((export_spec(services.export, stores.traces),) if services.export is not None else ()),
        onboarding_spec(settings.model, stores.onboarding),
        admin_spec(stores, monthly_tokens=settings.user_token_budget),
        diagnostics_spec(
            checks,
            engine=services.probe,
            runs=stores.diagnostics,
            providers=services.providers,
            index=services.vectors.__str__ if services.vectors is not None else None,
        ),
        inference_tree(
            services.providers,
            ProviderLimits(
                concurrency=settings.model_concurrency,
                waiting=4 * settings.model_concurrency,
                breaker=BreakerPolicy(open_for=settings.circuit_open),
            ),
        ),
        SupervisorSpec(
            HOST.partition("/")[0],
            children=(
                tool_host_spec(services.tools, services.cache),
                tool_desk_spec(services.desk),
                skill_loader_spec(services.skills, services.builtin_skills, services.skills_folder),
                skill_usage_spec(services.skills, stores.skill_usage),
            ),
        ),
        *((mcp_spec(services.mcp_servers, services.remote_tools),) if services.mcp_servers else ()),
        webhooks_spec(stores.webhooks, services.webhooks),
        approvals_spec(stores.approvals),
        healing_spec(stores.health, HealingRules(settings.agent_failures, settings.agent_pause)),
        sessions_spec(services.sessions, membership=services.membership, idle_after=settings.session_idle_after),
        heartbeats_spec(services.heartbeats),
        jobs_spec(
            stores,
            services.jobs.kinds,
            services.jobs.scheduled,
            concurrency=settings.job_concurrency,
            lease=settings.job_lease,
            timezone=settings.timezone,
        ),
    )
