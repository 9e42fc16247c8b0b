"""What an agent is to those who run it: a value, complete, with its limits on it."""

import attrs
from attrs import validators as v

from understudy.actors.inference.messages import ModelRef

AGENT_ID = r"[a-z0-9][a-z0-9_-]{0,63}"
"""What an agent's id looks like."""
LONGEST_PROMPT = 100_000
"""Characters of a system prompt template."""


@attrs.frozen
class Spawning:
    """Whether, of whom and how deep an agent may start sub-agents; no targets named is none."""

    enabled: bool = False
    allowed_targets: tuple[str, ...] = ()
    max_depth: int = 2


@attrs.frozen
class FileAccess:
    """Which folders the file tools may reach: unless ``restricted``, all of the workspace's."""

    restricted: bool = True
    allowed_paths: tuple[str, ...] = ()


@attrs.frozen
class TurnBudget:
    """What one turn may use; None is no cap. Money is in millionths of a US dollar."""

    max_tokens: int | None = None
    max_tool_calls: int | None = None
    max_cost_micros: int | None = None


@attrs.frozen
class Quotas:
    """What all turns of an agent in its workspace may use, in clock hours and days of UTC; None is no limit."""

    tokens_per_hour: int | None = None
    tokens_per_day: int | None = None
    micros_per_day: int | None = None

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return self != UNLIMITED


UNLIMITED = Quotas()


@attrs.frozen
class AgentConfig:
    """The configuration of one agent, as it is run.

    ``provider`` and ``model_id`` name the model, ``fallbacks`` those asked in its place; ``tools`` are the names
    of the tools it may call, its skills' among them and the denied ones not; ``instructions`` are its skills' texts,
    which come after the prompt as they are; after ``max_tool_rounds`` rounds of calls
    it must answer. ``idle_timeout`` (seconds) and ``daily_reset_hour`` (in ``timezone``) say when its conversation
    starts afresh; None is never.
    ``system_prompt`` is a template (see `understudy.actors.agents.template`); ``workspace_name`` is what the
    workspace that it runs in is called, and ``timezone`` its time zone.
    """

    id: str = attrs.field(validator=v.matches_re(AGENT_ID))
    display_name: str
    description: str
    provider: str
    model_id: str
    system_prompt: str = attrs.field(validator=v.max_len(LONGEST_PROMPT))
    temperature: float | None = attrs.field(default=None, validator=v.optional(v.and_(v.ge(0), v.le(2))))
    max_output_tokens: int = attrs.field(default=4096, validator=v.ge(1))
    tools: tuple[str, ...] = ()
    max_tool_rounds: int = attrs.field(default=5, validator=v.ge(0))
    idle_timeout: float | None = attrs.field(default=None, validator=v.optional(v.gt(0)))
    daily_reset_hour: int | None = attrs.field(default=None, validator=v.optional(v.and_(v.ge(0), v.le(23))))
    timezone: str = "UTC"
    tier: str = "standard"
    max_context_tokens: int | None = attrs.field(default=None, validator=v.optional(v.ge(1)))
    endpoint: str | None = None
    skills: tuple[str, ...] = ()
    spawn: Spawning = attrs.field(factory=Spawning)
    file_access: FileAccess = attrs.field(factory=FileAccess)
    budget: TurnBudget = attrs.field(factory=TurnBudget)
    quotas: Quotas = UNLIMITED
    memory_profile_id: str | None = None
    workspace_name: str | None = None
    fallbacks: tuple[ModelRef, ...] = ()
    thinking_tokens: int | None = attrs.field(default=None, validator=v.optional(v.ge(1)))
    instructions: tuple[str, ...] = ()
