"""An agent as its owner writes it: the form of the API, of the database and of files.

One declaration gives the limits, the schema in the API's description and the defaults; what it takes other actors to
know (whether a tool exists) is checked in `understudy.actors.agents.checks`.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from understudy.actors.agents.config import (
    AGENT_ID,
    LONGEST_PROMPT,
    UNLIMITED,
    AgentConfig,
    FileAccess,
    Quotas,
    Spawning,
    TurnBudget,
)
from understudy.actors.errors import Conflict
from understudy.actors.inference.messages import ModelRef

ALIASES = {"anthropic": "claude"}
"""Other names of providers."""

AgentId = Annotated[str, Meta(pattern=f"^{AGENT_ID}$", examples=["ops-helper"])]
Name = Annotated[str, Meta(min_length=1, max_length=64)]
Names = Annotated[tuple[Name, ...], Meta(max_length=200)]
Path = Annotated[str, Meta(min_length=1, max_length=1024)]
Tokens = Annotated[int, Meta(ge=1, le=100_000_000)]


class _Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Read-only, named as the contract names; unknown fields are ignored."""


class Tier(StrEnum):
    """What all turns of the agent may use in a day, where its quotas do not say."""

    FREE = "free"
    STANDARD = "standard"
    PREMIUM = "premium"


class ModelName(_Part, frozen=True):
    """A model, by its provider's name and its own."""

    provider: Annotated[str, Meta(min_length=1, max_length=64, examples=["openai"])]
    model_id: Annotated[str, Meta(min_length=1, max_length=200, examples=["gpt-4.1-mini"])]


class AgentModel(ModelName, frozen=True, kw_only=True):
    """The model that answers, and how.

    ``fallbacks`` are asked in order when it fails before its first word. ``thinkingTokens`` is how much it may think
    first, on top of ``maxOutputTokens``; only `claude` and `gemini` can be told so.
    """

    max_context_tokens: Tokens | None = None
    max_output_tokens: Annotated[int, Meta(ge=1, le=1_000_000)] = 4096
    temperature: Annotated[float, Meta(ge=0, le=2)] = 0.7
    endpoint: Annotated[str, Meta(min_length=1, max_length=2048)] | None = None
    fallbacks: Annotated[tuple[ModelName, ...], Meta(max_length=5)] = ()
    thinking_tokens: Annotated[int, Meta(ge=1024, le=1_000_000)] | None = None


class AgentTools(_Part, frozen=True):
    """Which tools the agent may call; what is denied is denied, whoever allows it."""

    allow: Names = ()
    deny: Names = ()


class AgentSpawn(_Part, frozen=True):
    """Whether the agent may start sub-agents."""

    enabled: bool = False
    allowed_targets: Annotated[tuple[AgentId, ...], Meta(max_length=200)] = ()
    max_depth: Annotated[int, Meta(ge=1, le=3)] = 2


class AgentFileAccess(_Part, frozen=True):
    """Which of the workspace's folders the file tools may reach."""

    restricted: bool = True
    allowed_paths: Annotated[tuple[Path, ...], Meta(max_length=100)] = ()


class AgentSession(_Part, frozen=True):
    """When a conversation starts afresh; null is never."""

    idle_timeout_minutes: Annotated[int, Meta(ge=1, le=525_600)] | None = None
    daily_reset_hour: Annotated[int, Meta(ge=0, le=23)] | None = None


class AgentBudget(_Part, frozen=True):
    """What one turn may use; null is no cap."""

    max_tokens_per_turn: Tokens | None = None
    max_tool_calls_per_turn: Annotated[int, Meta(ge=0, le=1000)] | None = None
    max_cost_usd_per_turn: Annotated[float, Meta(ge=0.0001, le=10_000)] | None = None


class TokenQuotas(_Part, frozen=True):
    """Tokens, prompt and answer together."""

    max_per_hour: Annotated[int, Meta(ge=1, le=1_000_000_000_000)] | None = None
    max_per_day: Annotated[int, Meta(ge=1, le=1_000_000_000_000)] | None = None


class CostQuotas(_Part, frozen=True):
    """Money, in US dollars."""

    max_per_day: Annotated[float, Meta(ge=0.0001, le=1_000_000)] | None = None


class AgentQuotas(_Part, frozen=True):
    """What all turns of the agent may use in an hour or a day of UTC; what is null a day, the tier says."""

    tokens: TokenQuotas = TokenQuotas()
    cost: CostQuotas = CostQuotas()


class AgentDocument(_Part, frozen=True, kw_only=True):
    """An agent's configuration."""

    display_name: Annotated[str, Meta(min_length=1, max_length=100)] | None = None
    description: Annotated[str, Meta(max_length=2000)] = ""
    tier: Tier | None = None
    model: AgentModel
    system_prompt_template: Annotated[str, Meta(min_length=1, max_length=LONGEST_PROMPT)]
    skills: Names = ()
    tools: AgentTools = AgentTools()
    spawn: AgentSpawn = AgentSpawn()
    file_access: AgentFileAccess = AgentFileAccess()
    session: AgentSession = AgentSession()
    budget: AgentBudget = AgentBudget()
    quotas: AgentQuotas | None = None
    memory_profile_id: Annotated[str, Meta(pattern="^mpr_[A-Za-z0-9_-]{1,60}$")] | None = None


def to_json(document: AgentDocument) -> dict[str, Any]:
    """The document as it is stored: every field, also those left at their defaults."""
    plain: dict[str, Any] = msgspec.to_builtins(document)
    return plain


def from_json(stored: Mapping[str, Any]) -> AgentDocument:
    """The document that was stored; a field that came later has its default.

    Raises `Conflict` for one from a time with other limits, which must not take anybody down.
    """
    try:
        return msgspec.convert(dict(stored), AgentDocument)
    except msgspec.ValidationError as error:
        raise Conflict(f"the agent's stored configuration does not fit this version of the server: {error}") from error


TIERS = {Tier.FREE: (100_000, 1.0), Tier.STANDARD: (2_000_000, 20.0), Tier.PREMIUM: (20_000_000, 200.0)}
"""Tokens and US dollars a day, where the quotas that are given leave them open."""


def quotas_of(document: AgentDocument) -> Quotas:
    """What all its turns may use: what its quotas say, and else its tier's. One that names neither has no limits."""
    if document.quotas is None and document.tier is None:
        return UNLIMITED
    given = document.quotas or AgentQuotas()
    tokens, dollars = TIERS[document.tier or Tier.STANDARD]
    if given.cost.max_per_day is not None:
        dollars = given.cost.max_per_day
    return Quotas(given.tokens.max_per_hour, given.tokens.max_per_day or tokens, round(dollars * 1_000_000))


def config_of(
    agent_id: str,
    document: AgentDocument,
    tools: tuple[str, ...],
    instructions: tuple[str, ...] = (),
) -> AgentConfig:
    """The agent as it is run, with *tools* as the names it may call (see `understudy.actors.agents.tooling`)."""
    model, session, budget = document.model, document.session, document.budget
    minutes, dollars = session.idle_timeout_minutes, budget.max_cost_usd_per_turn
    return AgentConfig(
        id=agent_id,
        display_name=document.display_name or agent_id,
        description=document.description,
        provider=ALIASES.get(model.provider, model.provider),
        model_id=model.model_id,
        fallbacks=tuple(ModelRef(ALIASES.get(each.provider, each.provider), each.model_id) for each in model.fallbacks),
        system_prompt=document.system_prompt_template,
        temperature=model.temperature,
        max_output_tokens=model.max_output_tokens,
        tools=tools,
        idle_timeout=minutes * 60.0 if minutes is not None else None,
        daily_reset_hour=session.daily_reset_hour,
        tier=(document.tier or Tier.STANDARD).value,
        max_context_tokens=model.max_context_tokens,
        endpoint=model.endpoint,
        thinking_tokens=model.thinking_tokens,
        skills=document.skills,
        spawn=Spawning(document.spawn.enabled, document.spawn.allowed_targets, document.spawn.max_depth),
        file_access=FileAccess(document.file_access.restricted, document.file_access.allowed_paths),
        budget=TurnBudget(
            budget.max_tokens_per_turn,
            budget.max_tool_calls_per_turn,
            round(dollars * 1_000_000) if dollars is not None else None,
        ),
        quotas=quotas_of(document),
        memory_profile_id=document.memory_profile_id,
        instructions=instructions,
    )
