"""The composition root: settings become storage, storage and clients become a tree, the tree serves HTTP."""

import errno
import gc
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress

import attrs
import structlog
import trio

from understudy.actors.agents.messages import AgentView
from understudy.actors.agents.seeds import read_seeds
from understudy.actors.approvals.consent import ApprovalRules, Consent
from understudy.actors.clock import utc_now
from understudy.actors.costs.prices import BadPrices, PriceBook
from understudy.actors.diagnostics.messages import DIAGNOSTICS, Draining
from understudy.actors.healing.health import Health
from understudy.actors.heartbeats.services import HeartbeatServices
from understudy.actors.inference.endpoints import Endpoints
from understudy.actors.inference.gateway import Inference
from understudy.actors.inference.timeouts import Timeouts
from understudy.actors.inference.tree import open_clients
from understudy.actors.jobs.standard import standard_jobs
from understudy.actors.mcp.chatting import chat_tool
from understudy.actors.mcp.library import RemoteTools
from understudy.actors.mcp.tree import McpServerPlan
from understudy.actors.memory.plan import memory_plan
from understudy.actors.memory.recall import Recall
from understudy.actors.memory.remote import RemoteEmbedder, open_embedder
from understudy.actors.outbound.guarded import GuardedClient
from understudy.actors.session.compaction import Thresholds
from understudy.actors.session.ground import BadSoul, Ground, read_soul
from understudy.actors.session.services import SessionServices
from understudy.actors.skills.folders import builtin_skills
from understudy.actors.skills.library import SkillLibrary
from understudy.actors.skills.messages import USAGE
from understudy.actors.store.tree import storage_tree
from understudy.actors.store.writer import JournalWriter
from understudy.actors.tools.blackboard import blackboard_tools
from understudy.actors.tools.builtin import builtin_tools
from understudy.actors.tools.cache import ToolCache
from understudy.actors.tools.desk import OFFERED
from understudy.actors.tools.enqueueing import job_tools
from understudy.actors.tools.files import file_tools
from understudy.actors.tools.messages import HOST, ToolRan
from understudy.actors.tools.reading import reading_tools
from understudy.actors.tools.remembering import memory_tools
from understudy.actors.tools.shell import shell_tools
from understudy.actors.tools.spawning import spawning_tools
from understudy.actors.tools.toolbox import Toolbox
from understudy.actors.traces.collector import HttpCollector
from understudy.actors.traces.export import ExportPlan
from understudy.actors.traces.waiting import WaitingTraces, trace_consumer
from understudy.actors.tree import Services, node_tree
from understudy.actors.webhooks.callbacks import callback_consumer
from understudy.actors.webhooks.fanout import webhook_consumer
from understudy.actors.webhooks.poster import GuardedPoster
from understudy.actors.webhooks.schedule import RetrySchedule
from understudy.actors.webhooks.webhook import Delivering
from understudy.config import ConfigError, Problem, Settings
from understudy.http.app import create_app
from understudy.http.listener import Listener
from understudy.http.settings import HttpSettings
from understudy.runtime import ActorSystem, ChildSpec
from understudy.storage.pool import Pool
from understudy.storage.probe import Probe
from understudy.storage.repositories import Repositories

log = structlog.get_logger("understudy.app")

BACKLOG = 1024
"""Connections that may wait while the listener is being restarted."""


class AddressInUse(Exception):
    """Another program listens on the port already."""


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

                def tool_ran(report: ToolRan) -> None:
                    system.tell(HOST, report)
                    if report.skills:
                        system.tell(USAGE, report)

                cache = ToolCache()
                tools = [
                    *builtin_tools(outbound),
                    *reading_tools(outbound),
                    *file_tools(settings.data_dir / "workspaces"),
                    *memory_tools(system),
                    *job_tools(system),
                    *spawning_tools(system),
                    *blackboard_tools(),
                ]
                if settings.shell_tool:
                    tools += shell_tools(settings.data_dir / "workspaces")
                remote_tools = RemoteTools(server.name for server in mcp_servers)
                toolbox = Toolbox(tools, report=tool_ran, cache=cache, others=remote_tools)
                rules = approval_rules(settings)
                for_people = [tool for tool in tools if tool.name in OFFERED and not rules.covers(tool.name)]
                for_people.append(chat_tool(system))
                builtin = builtin_skills()
                stores = Repositories.on(pool)
                models = Inference(system, clients, endpoints=endpoints)
                memory = memory_plan(
                    system, stores, models, prices, embedder=embedder, extraction=settings.memory_extraction
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
                        tools=toolbox,
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
                    ),
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
                    tools=toolbox.specs,
                    cache=cache,
                    desk=Toolbox(for_people, report=tool_ran, cache=cache),
                    skills=SkillLibrary(builtin.values()),
                    builtin_skills=builtin,
                    skills_folder=settings.data_dir / "skills",
                    agents=agents,
                    mcp_servers=mcp_servers,
                    remote_tools=remote_tools,
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


def model_timeouts(settings: Settings) -> Timeouts:
    """How long providers may take, as it is set. An answer as a whole may take as long as its request."""
    return Timeouts(
        connect=settings.model_connect_timeout,
        first_token=settings.model_first_token_timeout,
        idle=settings.model_idle_timeout,
        total=settings.request_timeout,
    )


def settle_memory() -> None:
    """Keep the collector from walking, a few times a second, over objects that live as long as the process.

    Actors, sessions and compiled code are many and stay: with Python's own thresholds, walking them costs more than
    serving does. What a request leaves behind is freed by reference counts; what is cyclic waits a little longer.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def configured_agents(settings: Settings) -> tuple[AgentView, ...]:
    """The agents of the configuration. Raises `ConfigError` with all that is wrong with them; warns of odd fields."""
    read = read_seeds(settings.agents, model=settings.model, providers=settings.providers)
    if read.problems:
        raise ConfigError(tuple(Problem(f"agents.{at.path}", "configuration", at.issue) for at in read.problems))
    for field in read.unknown:
        log.warning("configuration", warning=f"agents.{field} is not a field of an agent")
    return read.agents


def configured_prices(settings: Settings) -> PriceBook:
    """What models cost: the operator's own prices before those shipped. Raises `ConfigError` for a file of no use."""
    shipped = PriceBook.shipped()
    if settings.prices_file is None:
        return shipped
    try:
        return shipped.under(PriceBook.parse(settings.prices_file.read_text(encoding="utf-8")))
    except BadPrices as error:
        raise ConfigError(tuple(Problem("prices_file", "prices", said) for said in error.problems)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError((Problem("prices_file", "configuration", f"cannot be read: {error}"),)) from None


def configured_mcp_servers(settings: Settings) -> tuple[McpServerPlan, ...]:
    """How the configured MCP servers are reached. Raises `ConfigError` when there is nothing to do it with."""
    if not settings.mcp_servers:
        return ()
    try:
        # An extra, and slow to import: for those alone who have servers.
        from understudy.actors.mcp.client.connect import plan
    except ImportError as error:
        said = f"this needs the extra: pip install 'understudy[mcp]' ({error})"
        raise ConfigError((Problem("mcp.servers", "configuration", said),)) from None
    return tuple(plan(server) for server in settings.mcp_servers)


def configured_soul(settings: Settings) -> str:
    """The house rules of all agents. Raises `ConfigError` when the operator's own are of no use."""
    try:
        return read_soul(settings.data_dir)
    except BadSoul as error:
        raise ConfigError((Problem("data_dir", "SOUL.md", str(error)),)) from None


def approval_rules(settings: Settings) -> ApprovalRules:
    """Which tool calls need somebody's consent, as it is set."""
    return ApprovalRules.parse(
        settings.approval_required,
        settings.approval_timeout,
        allow_on_timeout=settings.approval_on_timeout == "allow",
    )


def configured_embedder(settings: Settings) -> RemoteEmbedder | None:
    """What makes the vectors of memory; None for the built-in embedder. Raises `ConfigError` for one that cannot."""
    try:
        return open_embedder(settings.embedding_model, settings.providers)
    except ValueError as error:
        raise ConfigError((Problem("embedding_model", "configuration", str(error)),)) from None


def configured_export(settings: Settings) -> ExportPlan | None:
    """Where traces are exported to; None for nowhere."""
    if settings.otlp_endpoint is None:
        return None
    return ExportPlan(
        HttpCollector(settings.otlp_endpoint, settings.otlp_headers), WaitingTraces(), settings.otlp_service_name
    )


def http_settings(settings: Settings) -> HttpSettings:
    """What of the settings the HTTP floor is told."""
    return HttpSettings(
        request_timeout=settings.request_timeout,
        stream_grace=settings.stream_grace,
        streams_of_user=settings.user_streams_max,
        drain_timeout=settings.drain_timeout,
        cors_origins=settings.cors_origins,
        trust_proxy=settings.trust_proxy,
    )


def bind(host: str, port: int) -> tuple[socket.socket, ...]:
    """Listening sockets on every address that *host* means. Raises `AddressInUse`, or OSError for a foreign address."""
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            bound = socket.socket(family, kind, protocol)
            sockets.append(bound)
            bound.setblocking(False)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                with suppress(OSError):
                    bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            # The first one chooses when any free port will do; the others then take the same.
            chosen = port or (sockets[0].getsockname()[1] if len(sockets) > 1 else 0)
            bound.bind((address[0], chosen, *address[2:]))
            bound.listen(BACKLOG)
    except OSError as error:
        for bound in sockets:
            bound.close()
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(
                f"another program listens on {host}:{port} already; choose another with --port"
            ) from None
        raise
    return tuple(sockets)


def url_of(sockets: Sequence[socket.socket]) -> str:
    """Where a browser on this machine finds the server."""
    host, port = sockets[0].getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{shown}:{port}"
