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
    sessions       one_for_one       node, flusher, directory, live (dynamic, one actor per session), recovery
    heartbeats     one_for_one       awake (dynamic, one actor per heartbeat that is due soon), directory
    jobs           one_for_one       running (dynamic, one actor per job being done), dispatcher, queue, schedule

The listener is no part of it, since it belongs to the floor above; the composition root starts it last.
"""

from understudy.actors.admin.actor import admin_spec
from understudy.actors.agents.actor import agents_spec
from understudy.actors.approvals.actor import approvals_spec
from understudy.actors.audit.actor import audit_spec
from understudy.actors.clock import utc_now
from understudy.actors.costs.actor import costs_spec
from understudy.actors.diagnostics.actor import diagnostics_spec
from understudy.actors.diagnostics.standard import standard_checks
from understudy.actors.diagnostics.upkeep import upkeep_checks
from understudy.actors.healing.actor import HealingRules, healing_spec
from understudy.actors.heartbeats.tree import heartbeats_spec
from understudy.actors.idempotency.actor import idempotency_spec
from understudy.actors.identity.actor import identity_spec
from understudy.actors.inference.breaker import BreakerPolicy
from understudy.actors.inference.provider import ProviderLimits
from understudy.actors.inference.tree import inference_tree
from understudy.actors.jobs.tree import jobs_spec
from understudy.actors.limits.actor import limits_spec
from understudy.actors.mcp.checks import mcp_checks
from understudy.actors.mcp.tree import mcp_spec
from understudy.actors.memory.actor import memory_spec
from understudy.actors.memory_profiles.actor import memory_profiles_spec
from understudy.actors.metrics.actor import metrics_spec
from understudy.actors.metrics.messages import METRICS
from understudy.actors.onboarding.actor import onboarding_spec
from understudy.actors.presence.actor import presence_spec
from understudy.actors.services import Services, TreeSettings
from understudy.actors.session.tree import sessions_spec
from understudy.actors.skills.loader import skill_loader_spec
from understudy.actors.skills.usage import skill_usage_spec
from understudy.actors.tools.desk import tool_desk_spec
from understudy.actors.tools.host import tool_host_spec
from understudy.actors.tools.messages import HOST
from understudy.actors.traces.actor import traces_spec
from understudy.actors.traces.export import export_check, export_spec
from understudy.actors.webhooks.tree import webhooks_spec
from understudy.actors.workspaces.actor import workspaces_spec
from understudy.runtime import ChildSpec, DynamicSpec, SupervisorSpec


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
