"""What the settings mean: the values that they make, for whoever is handed them. None of it is kept."""

import structlog

from understudy.actors.agents.messages import AgentView
from understudy.actors.agents.seeds import read_seeds
from understudy.actors.approvals.consent import ApprovalRules
from understudy.actors.costs.prices import BadPrices, PriceBook
from understudy.actors.inference.timeouts import Timeouts
from understudy.actors.mcp.tree import McpServerPlan
from understudy.actors.memory.remote import RemoteEmbedder, open_embedder
from understudy.actors.session.ground import BadSoul, read_soul
from understudy.actors.traces.collector import HttpCollector
from understudy.actors.traces.export import ExportPlan
from understudy.actors.traces.waiting import WaitingTraces
from understudy.config import ConfigError, Problem, Settings
from understudy.http.settings import HttpSettings

log = structlog.get_logger("understudy.app")


def model_timeouts(settings: Settings) -> Timeouts:
    """How long providers may take, as it is set. An answer as a whole may take as long as its request."""
    return Timeouts(
        connect=settings.model_connect_timeout,
        first_token=settings.model_first_token_timeout,
        idle=settings.model_idle_timeout,
        total=settings.request_timeout,
    )


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
