"""The composition root: settings become storage, storage and clients become a tree, the tree serves HTTP."""

import gc
import socket
from collections.abc import Callable, Sequence

import attrs
import trio

from understudy.actors.agents.messages import AgentView
from understudy.actors.approvals.consent import Consent
from understudy.actors.clock import utc_now
from understudy.actors.costs.prices import PriceBook
from understudy.actors.costs.purse import Purse
from understudy.actors.diagnostics.messages import DIAGNOSTICS, Draining
from understudy.actors.healing.health import Health
from understudy.actors.heartbeats.services import HeartbeatServices
from understudy.actors.inference.endpoints import Endpoints
from understudy.actors.inference.gateway import Inference
from understudy.actors.inference.tree import open_clients
from understudy.actors.jobs.standard import standard_jobs
from understudy.actors.mcp.tree import McpServerPlan
from understudy.actors.memory.plan import memory_plan
from understudy.actors.memory.recall import Recall
from understudy.actors.nodes.calls import NodeCalls
from understudy.actors.nodes.ports import Membership
from understudy.actors.outbound.guarded import GuardedClient
from understudy.actors.services import Services
from understudy.actors.session.compaction import Thresholds
from understudy.actors.session.ground import Ground
from understudy.actors.session.services import SessionServices
from understudy.actors.skills.folders import builtin_skills
from understudy.actors.skills.library import SkillLibrary
from understudy.actors.store.tree import storage_tree
from understudy.actors.store.writer import JournalWriter
from understudy.actors.traces.waiting import trace_consumer
from understudy.actors.tree import node_tree
from understudy.actors.webhooks.callbacks import callback_consumer
from understudy.actors.webhooks.fanout import webhook_consumer
from understudy.actors.webhooks.poster import GuardedPoster
from understudy.actors.webhooks.schedule import RetrySchedule
from understudy.actors.webhooks.webhook import Delivering
from understudy.app.configured import (
    approval_rules,
    configured_agents,
    configured_embedder,
    configured_export,
    configured_mcp_servers,
    configured_prices,
    configured_soul,
    http_settings,
    model_timeouts,
)
from understudy.app.toolkit import toolkit
from understudy.config import Settings
from understudy.http.app import create_app
from understudy.http.listener import Listener
from understudy.http.sockets import bind, url_of
from understudy.runtime import ActorSystem, ChildSpec
from understudy.storage.incarnation import Incarnation
from understudy.storage.pool import Pool
from understudy.storage.probe import Probe
from understudy.storage.repositories import Repositories


async def run(settings: Settings, *, on_progress: Callable[[str], None], on_ready: Callable[[str], None]) -> None:
    """Run the server until cancelled; then drain it within ``settings.drain_timeout`` and return.

    *on_progress* is told what is being waited for, *on_ready* the URL once requests are served. Raises `ConfigError`
    (an agent in it cannot be run, a price cannot be read, an extra is missing), `AddressInUse`, `StorageError` or
    `ActorCrashed` when it cannot start, `SystemDown` when the root supervisor gave up.
    """
    agents = configured_agents(settings)
    prices = configured_prices(settings)
    mcp_servers = configured_mcp_servers(settings)
    sockets = bind(settings.host, settings.port)
    try:
        await _run(settings, agents, prices, mcp_servers, sockets, on_progress, on_ready)
    finally:
        for bound in sockets:
            bound.close()


async def _run(
    settings: Settings,
    agents: tuple[AgentView, ...],
    prices: PriceBook,
    mcp_servers: tuple[McpServerPlan, ...],
    sockets: Sequence[socket.socket],
    on_progress: Callable[[str], None],
    on_ready: Callable[[str], None],
) -> None:
    incarnation = Incarnation(settings.data_dir)
    ground = Ground(configured_soul(settings), settings.data_dir / "workspaces")
    pool = Pool(settings.database_url or "", max_size=16)
    timeouts = model_timeouts(settings)
    clients = open_clients(settings.providers, timeouts=timeouts)
    embedder = configured_embedder(settings)
    outbound = GuardedClient(settings.outbound_allow)
    configured = {name: provider.base_url for name, provider in settings.providers.items()}
    endpoints = Endpoints(outbound.addresses, configured=configured, timeouts=timeouts)
    http = http_settings(settings)
    export = configured_export(settings)
    try:
        async with ActorSystem("understudy") as system:
            try:
                rules = approval_rules(settings)
                tools = toolkit(system, settings, outbound, rules, (server.name for server in mcp_servers))
                builtin = builtin_skills()
                stores = Repositories.on(pool)
                models = Inference(system, clients, endpoints=endpoints)
                purse = Purse(stores.allowances, prices, utc_now, settings.user_token_budget)
                memory = memory_plan(
                    system,
                    stores,
                    models,
                    prices,
                    embedder=embedder,
                    extraction=settings.memory_extraction,
                    purse=purse,
                )
                jobs = standard_jobs(system, stores)
                services = Services(
                    storage=storage_tree(
                        pool,
                        settings.data_dir,
                        settings.database_url,
                        on_progress,
                        consumers=(
                            *((trace_consumer(export.waiting),) if export is not None else ()),
                            callback_consumer(system, stores.deliveries),
                            webhook_consumer(system, stores.deliveries),
                            *memory.consumers,
                        ),
                    ),
                    stores=stores,
                    probe=Probe(pool),
                    sessions=SessionServices(
                        store=stores.sessions,
                        writer=JournalWriter(system),
                        models=models,
                        tools=tools.of_agents,
                        now=utc_now,
                        turn_timeout=settings.request_timeout,
                        prices=prices,
                        user_token_budget=settings.user_token_budget,
                        recall=Recall(system),
                        ground=ground,
                        window=settings.context_tokens,
                        thresholds=Thresholds(settings.compaction_soft, settings.compaction_hard),
                        compaction=stores.compaction,
                        consent=Consent(system, rules, utc_now),
                        health=Health(system) if settings.agent_failures else None,
                        purse=purse,
                        node=incarnation.id,
                        calls=NodeCalls(stores.nodes),
                        requests=stores.approvals,
                    ),
                    membership=Membership(stores.nodes, incarnation, settings.node_lease),
                    jobs=attrs.evolve(
                        jobs, kinds=(*jobs.kinds, *memory.kinds), scheduled=(*jobs.scheduled, *memory.scheduled)
                    ),
                    vectors=memory.vectors,
                    heartbeats=HeartbeatServices(
                        store=stores.heartbeats,
                        runs=stores.heartbeat_runs,
                        web=outbound,
                        now=utc_now,
                        sweep=settings.heartbeat_sweep,
                        wake_timeout=settings.request_timeout,
                        drain=settings.drain_timeout,
                    ),
                    webhooks=Delivering(
                        stores.deliveries,
                        GuardedPoster(outbound, insecure=settings.allow_insecure_webhooks),
                        schedule=RetrySchedule(settings.webhook_retries),
                    ),
                    providers=clients,
                    tools=tools.of_agents.specs,
                    cache=tools.cache,
                    desk=tools.of_people,
                    skills=SkillLibrary(builtin.values()),
                    builtin_skills=builtin,
                    skills_folder=settings.data_dir / "skills",
                    agents=agents,
                    mcp_servers=mcp_servers,
                    remote_tools=tools.remote,
                    export=export,
                )
                for child in node_tree(settings, services):
                    await system.spawn(child)
                app = create_app(system, settings=http)
                await system.spawn(
                    ChildSpec("server", Listener, args=(app, sockets, http), shutdown=http.drain_timeout + 5.0)
                )
                settle_memory()
                on_ready(url_of(sockets))
                await system.wait_stopped()
            finally:
                # The order to stop comes as a cancellation; what is in flight may still come to its end.
                if system.whereis(DIAGNOSTICS) is not None:
                    system.tell(DIAGNOSTICS, Draining())
                with trio.CancelScope(shield=True, deadline=trio.current_time() + settings.drain_timeout + 30.0):
                    await system.stop()
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 5.0):
            for client in clients.values():
                await client.aclose()
            if embedder is not None:
                await embedder.aclose()
            await endpoints.aclose()
            if export is not None:
                export.collector.close()
            incarnation.close()


def settle_memory() -> None:
    """Keep the collector from walking, a few times a second, over objects that live as long as the process.

    Actors, sessions and compiled code are many and stay: with Python's own thresholds, walking them costs more than
    serving does. What a request leaves behind is freed by reference counts; what is cyclic waits a little longer.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
