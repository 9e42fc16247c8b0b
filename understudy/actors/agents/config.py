"""What an agent is: a value, complete, with its limits on it."""

import attrs
from attrs import validators as v


@attrs.frozen
class AgentConfig:
    """The configuration of one agent (contract/platform.md §6.1).

    ``provider`` and ``model_id`` name the model; ``tools`` are the names of the tools it may call; after
    ``max_tool_rounds`` rounds of calls it must answer. ``idle_timeout`` (seconds) and ``daily_reset_hour`` (in
    ``timezone``) say when its conversation starts afresh; None is never.
    """

    id: str = attrs.field(validator=v.matches_re(r"[a-z0-9][a-z0-9_-]{0,63}"))
    display_name: str
    description: str
    provider: str
    model_id: str
    system_prompt: str = attrs.field(validator=v.max_len(100_000))
    temperature: float | None = attrs.field(default=None, validator=v.optional(v.and_(v.ge(0), v.le(2))))
    max_output_tokens: int = attrs.field(default=4096, validator=v.ge(1))
    tools: tuple[str, ...] = ()
    max_tool_rounds: int = attrs.field(default=5, validator=v.ge(0))
    idle_timeout: float | None = attrs.field(default=None, validator=v.optional(v.gt(0)))
    daily_reset_hour: int | None = attrs.field(default=None, validator=v.optional(v.and_(v.ge(0), v.le(23))))
    timezone: str = "UTC"
