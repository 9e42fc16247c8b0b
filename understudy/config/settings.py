"""The settings themselves. To add one, add a field here; flags, loader and reference follow.

Longer than most files: it is one list, in the order of the reference page, and nothing but declarations.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from understudy.config import values
from understudy.config.declare import Setting, declared_settings, setting
from understudy.config.mcp import McpServerSettings
from understudy.config.providers import ProviderSettings

_SERVER = "Server"
_DATABASE = "Database"
_MODELS = "Models"
_IDENTITY = "Identity"
_LIMITS = "Limits"
_SESSIONS = "Sessions"
_LOOP = "Agent loop"
_JOBS = "Jobs"
_TOOLS = "Tools"
_MEMORY = "Memory"
_WEB = "Web"
_TRACES = "Traces"
_LOG = "Log"


@attrs.frozen
class Settings:
    """Everything an operator can decide, read once at start and handed down from the composition root.

    `understudy.config.load` makes one and reports every problem together. The bare constructor gives the defaults.
    Values have one unit each: seconds, bytes, counts. ``jwt_secret`` and ``internal_api_key`` are empty until
    `understudy.config.ensure_secrets` has read or made them. Secrets do not appear in the repr.
    """

    host: str = setting(
        values.text,
        "127.0.0.1",
        env="UNDERSTUDY_HOST",
        group=_SERVER,
        doc="The address to listen on. `0.0.0.0` opens the server to the network.",
    )
    port: int = setting(
        values.integer(0, 65535, "a port"),
        "8080",
        env=("PORT", "UNDERSTUDY_PORT"),
        group=_SERVER,
        doc="The port to listen on; 0 takes any free one and says which.",
    )
    data_dir: Path = setting(  # noqa: RUF009 - a path is immutable, and `setting` declares a field
        values.path,
        ".understudy",
        env="UNDERSTUDY_DATA_DIR",
        group=_SERVER,
        doc="Where the server keeps its secrets and, without a database URL, its database. Made for its owner alone.",
    )
    drain_timeout: float = setting(
        values.duration(0, 3600),
        "30s",
        env="UNDERSTUDY_DRAIN_TIMEOUT",
        group=_SERVER,
        doc="How long a stopping server lets running turns and open streams come to an end.",
    )
    database_url: str | None = setting(
        values.postgres_url,
        None,
        env="DATABASE_URL",
        group=_DATABASE,
        secret=True,
        unset="an embedded PostgreSQL in the data directory",
        doc="The PostgreSQL server to use. Secret, since it may carry a password.",
    )
    node_lease: float = setting(
        values.duration(0.5, 600),
        "15s",
        env="UNDERSTUDY_NODE_LEASE",
        group=_DATABASE,
        doc="How long a server on a shared database is missed before the others end the turns that it was running.",
    )
    model: str = setting(
        values.model_name,
        None,
        env="UNDERSTUDY_MODEL",
        group=_MODELS,
        absent="builtin/rehearsal",
        unset="the first configured provider's usual model, else `builtin/rehearsal`",
        doc="The model of agents that name none, as `provider/model`.",
    )
    model_connect_timeout: float = setting(
        values.duration(0.1, 300),
        "10s",
        env="UNDERSTUDY_MODEL_CONNECT_TIMEOUT",
        group=_MODELS,
        doc="How long a provider may take to accept a connection: name, TCP and TLS.",
    )
    model_first_token_timeout: float = setting(
        values.duration(0.1, 3600),
        "1m",
        env="UNDERSTUDY_MODEL_FIRST_TOKEN_TIMEOUT",
        group=_MODELS,
        doc="How long a provider may take to its first token. A local model that is loaded first may need more.",
    )
    model_idle_timeout: float = setting(
        values.duration(0.1, 3600),
        "45s",
        env="UNDERSTUDY_MODEL_IDLE_TIMEOUT",
        group=_MODELS,
        doc="How long a provider may fall silent in the middle of an answer.",
    )
    model_concurrency: int = setting(
        values.integer(1, 10_000, "a count"),
        "256",
        env="UNDERSTUDY_MODEL_CONCURRENCY",
        group=_MODELS,
        doc="How many calls to one provider may run at a time; four times as many may wait for one of them to end.",
    )
    circuit_open: float = setting(
        values.duration(0.1, 3600),
        "1m",
        env="UNDERSTUDY_CIRCUIT_OPEN",
        group=_MODELS,
        doc="How long a provider is left alone after five failures within a minute, before it is tried again.",
    )
    prices_file: Path | None = setting(  # noqa: RUF009 - as data_dir
        values.path,
        None,
        env="UNDERSTUDY_PRICES_FILE",
        group=_MODELS,
        unset="the prices that come with this version",
        doc="A file of prices (TOML) that come before those of this version, model by model.",
    )
    providers: Mapping[str, ProviderSettings] = attrs.field(factory=dict)
    agents: tuple[Mapping[str, Any], ...] = ()
    mcp_servers: tuple[McpServerSettings, ...] = ()
    jwt_secret: str = setting(
        values.signing_secret,
        None,
        env="JWT_SECRET",
        group=_IDENTITY,
        secret=True,
        absent="",
        unset="made once in the data directory (`jwt_secret`, mode 0600)",
        doc="Signs access and refresh tokens; 32 characters at least.",
    )
    jwt_secret_prev: str | None = setting(
        values.signing_secret,
        None,
        env="JWT_SECRET_PREV",
        group=_IDENTITY,
        secret=True,
        unset="none",
        doc="The signing secret before this one: tokens signed with it still count. It signs nothing.",
    )
    jwt_algorithm: str = setting(
        values.one_of("HS256"),
        "HS256",
        env="JWT_ALGORITHM",
        group=_IDENTITY,
        doc="How tokens are signed. Only `HS256` is supported; anything else refuses to start.",
    )
    jwt_access_seconds: int = setting(
        values.whole_seconds(10, 86400),
        "15m",
        env=("JWT_ACCESS_EXPIRES", "JWT_EXPIRY"),
        group=_IDENTITY,
        key="jwt_access_expires",
        doc="How long an access token counts.",
    )
    jwt_refresh_seconds: int = setting(
        values.whole_seconds(60, 366 * 86400),
        "7d",
        env=("JWT_REFRESH_EXPIRES", "JWT_REFRESH_EXPIRY"),
        group=_IDENTITY,
        key="jwt_refresh_expires",
        doc="How long a refresh token counts.",
    )
    internal_api_key: str = setting(
        values.text,
        None,
        env="INTERNAL_API_KEY",
        group=_IDENTITY,
        secret=True,
        absent="",
        unset="made once in the data directory (`internal_api_key`, mode 0600)",
        doc="The operator's key, sent as `X-Api-Key` to `/diagnostics` and its like.",
    )
    password_min_length: int = setting(
        values.integer(1, 128, "a length"),
        "6",
        env="UNDERSTUDY_PASSWORD_MIN_LENGTH",
        group=_IDENTITY,
        doc="The shortest password that registration accepts, in characters.",
    )
    rate_limit_max: int = setting(
        values.integer(0, 1_000_000, "a count"),
        "30",
        env="RATE_LIMIT_MAX",
        group=_LIMITS,
        doc="Chat requests per user, and anonymous requests per address, in 60 seconds; 0 is no limit.",
    )
    user_rate_limit_max: int = setting(
        values.integer(0, 1_000_000, "a count"),
        "60",
        env="USER_RATE_LIMIT_MAX",
        group=_LIMITS,
        doc="Requests of any kind per user in 60 seconds; 0 is no limit.",
    )
    user_streams_max: int = setting(
        values.integer(0, 1_000_000, "a count"),
        "100",
        env="USER_STREAMS_MAX",
        group=_LIMITS,
        doc="Event streams that one user may read at once; 0 is no limit.",
    )
    user_token_budget: int | None = setting(
        values.integer(1, 10**12, "a count"),
        None,
        env="USER_TOKEN_BUDGET_MONTHLY",
        group=_LIMITS,
        unset="no budget",
        doc="Tokens that each user may use in a calendar month (UTC), over all agents.",
    )
    request_timeout: float = setting(
        values.milliseconds(1, 3600),
        "120000",
        env="REQUEST_TIMEOUT_MS",
        group=_LIMITS,
        key="request_timeout_ms",
        doc="The longest a request may take, in milliseconds.",
    )
    stream_grace: float = setting(
        values.duration(0, 3600),
        "30s",
        env="UNDERSTUDY_STREAM_GRACE",
        group=_SESSIONS,
        doc="How long a streamed turn goes on without any reader before it is cancelled.",
    )
    session_idle_after: float = setting(
        values.duration(1, 7 * 86400),
        "5m",
        env="UNDERSTUDY_SESSION_IDLE_AFTER",
        group=_SESSIONS,
        doc="How long a session's actor stays in memory with nothing to do. The conversation itself is kept for good.",
    )
    context_tokens: int = setting(
        values.integer(1000, 100_000_000, "a count"),
        "128000",
        env="UNDERSTUDY_MAX_CONTEXT_TOKENS",
        group=_LOOP,
        key="context.max_tokens",
        doc="How many tokens a model reads, answer included, where the agent's `model.maxContextTokens` does not say.",
    )
    compaction_soft: float = setting(
        values.share(0.05, 1),
        "0.70",
        env="UNDERSTUDY_COMPACTION_SOFT",
        group=_LOOP,
        key="context.compaction_soft",
        doc="How full the context is, as a share, when its beginning is put into a summary after the turn.",
    )
    compaction_hard: float = setting(
        values.share(0.05, 1),
        "0.85",
        env="UNDERSTUDY_COMPACTION_THRESHOLD",
        group=_LOOP,
        key="context.compaction_threshold",
        doc="How full the context is, as a share, when a turn first waits for that summary.",
    )
    approval_required: tuple[str, ...] = setting(
        values.names,
        "shell_exec",
        env="UNDERSTUDY_REQUIRE_APPROVAL",
        group=_LOOP,
        key="approval.require",
        doc="Whose calls somebody must agree to: tools by name or as `mcp__files__*`, and `agent:<id>` for an agent's.",
    )
    approval_timeout: float = setting(
        values.duration(0.1, 86_400),
        "5m",
        env="UNDERSTUDY_APPROVAL_TIMEOUT",
        group=_LOOP,
        key="approval.timeout",
        doc="How long a call waits for that.",
    )
    approval_on_timeout: str = setting(
        values.one_of("deny", "allow"),
        "deny",
        env="UNDERSTUDY_APPROVAL_ON_TIMEOUT",
        group=_LOOP,
        key="approval.on_timeout",
        doc="What becomes of a call that nobody decided: `deny` or `allow`.",
    )
    agent_failures: int = setting(
        values.integer(0, 1000, "a count"),
        "3",
        env="UNDERSTUDY_MAX_CONSECUTIVE_FAILURES",
        group=_LOOP,
        key="healing.max_failures",
        doc="How many turns of an agent may fail in a row in a workspace before it is paused there; 0 is any number.",
    )
    agent_pause: float = setting(
        values.duration(0.1, 30 * 86_400),
        "15m",
        env="UNDERSTUDY_AGENT_PAUSE",
        group=_LOOP,
        key="healing.pause",
        doc="How long it then stays paused, unless an operator resumes it.",
    )
    job_concurrency: int = setting(
        values.integer(1, 1000, "a count"),
        "4",
        env="JOB_CONCURRENCY",
        group=_JOBS,
        doc="Background jobs that this server does at a time; of one workspace it is never more than two.",
    )
    job_lease: float = setting(
        values.duration(1, 3600),
        "30s",
        env="UNDERSTUDY_JOB_LEASE",
        group=_JOBS,
        doc="How long a job stays with a server that is not heard of any more, before another attempt is made.",
    )
    heartbeat_sweep: float = setting(
        values.duration(0.1, 300),
        "15s",
        env="UNDERSTUDY_HEARTBEAT_SWEEP",
        group=_JOBS,
        doc="How often it is looked for heartbeats that are due soon, or that a server left when it died.",
    )
    timezone: str = setting(
        values.time_zone,
        "UTC",
        env="UNDERSTUDY_TIMEZONE",
        group=_JOBS,
        doc="The time zone of the built-in schedule: its nightly jobs run between 01:00 and 05:00 there.",
    )
    embedding_model: str = setting(
        values.model_name,
        None,
        env="UNDERSTUDY_EMBEDDING_MODEL",
        group=_MEMORY,
        key="memory.embedding_model",
        absent="builtin/feature-hashing-256",
        unset="`builtin/feature-hashing-256`",
        doc="What makes the vectors by which memory is searched, as `provider/model`: a configured provider in "
        "OpenAI's form. The built-in one needs no network and knows spelling, not meaning.",
    )
    memory_extraction: str = setting(
        values.one_of("model", "rules", "off"),
        "rules",
        env="UNDERSTUDY_MEMORY_EXTRACTION",
        group=_MEMORY,
        key="memory.extraction",
        doc="How it is found out, after a turn, what of it is worth remembering: `rules` reads English by plain rules; "
        "`model` asks the agent's own model, a second inference for each turn; `off` learns nothing by itself.",
    )
    shell_tool: bool = setting(
        values.boolean,
        "false",
        env="UNDERSTUDY_SHELL_TOOL",
        group=_TOOLS,
        doc="Let agents that allow it run shell commands (`shell_exec`), as the server's own user: with all it may do.",
    )
    outbound_allow: tuple[values.Network, ...] = setting(
        values.networks,
        None,
        env="UNDERSTUDY_OUTBOUND_ALLOW",
        group=_WEB,
        key="outbound.allow",
        absent=(),
        unset="none",
        doc="Private networks (CIDR) that requests made for agents may also reach; public addresses they always may.",
    )
    allow_insecure_webhooks: bool = setting(
        values.boolean,
        "false",
        env="ALLOW_INSECURE_WEBHOOKS",
        group=_WEB,
        doc="Let webhooks be at `http` URLs too; otherwise only at `https`.",
    )
    webhook_retries: tuple[float, ...] = setting(
        values.durations(0.01, 86400, 20),
        "5s,30s,2m,10m,1h",
        env="UNDERSTUDY_WEBHOOK_RETRIES",
        group=_WEB,
        key="webhooks.retries",
        doc="How long after each failed try a webhook's delivery is tried again, a fifth more or less each time.",
    )
    cors_origins: tuple[str, ...] = setting(
        values.origins,
        None,
        env="CORS_ORIGINS",
        group=_WEB,
        absent=(),
        unset="none",
        doc="Web origins whose pages may call the API from a browser.",
    )
    trust_proxy: bool = setting(
        values.boolean,
        "false",
        env="TRUST_PROXY",
        group=_WEB,
        doc="Take a client's address from `X-Forwarded-For`. Only behind a proxy that sets it.",
    )
    otlp_endpoint: str | None = setting(
        values.collector_url,
        None,
        env="OTEL_EXPORTER_OTLP_ENDPOINT",
        group=_TRACES,
        key="otlp.endpoint",
        unset="traces are not exported",
        doc="An OpenTelemetry collector, by the base URL of its OTLP over HTTP: traces go to `/v1/traces` below it.",
    )
    otlp_headers: tuple[tuple[str, str], ...] = setting(
        values.headers,
        None,
        env="OTEL_EXPORTER_OTLP_HEADERS",
        group=_TRACES,
        key="otlp.headers",
        secret=True,
        absent=(),
        unset="none",
        doc="Headers for the collector, as `name=value,name=value` with percent-encoded values; a key, perhaps.",
    )
    otlp_service_name: str = setting(
        values.text,
        "understudy",
        env="OTEL_SERVICE_NAME",
        group=_TRACES,
        key="otlp.service_name",
        doc="What exported traces say they are from.",
    )
    log_level: str = setting(
        values.one_of("debug", "info", "warning", "error"),
        "info",
        env="LOG_LEVEL",
        group=_LOG,
        doc="The least severe lines to log: `debug`, `info`, `warning` or `error`.",
    )
    log_json: bool | None = setting(
        values.maybe,
        "auto",
        env="UNDERSTUDY_LOG_JSON",
        group=_LOG,
        doc="Log lines as JSON. `auto` is: JSON unless standard error is a terminal.",
    )
    warnings: tuple[str, ...] = ()


def settings_table() -> tuple[Setting, ...]:
    """Every declared setting, in the order of the reference."""
    return declared_settings(Settings)
