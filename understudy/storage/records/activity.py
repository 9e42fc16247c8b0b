"""What was done in a workspace in some time."""

from collections.abc import Mapping
from datetime import date

import attrs

from understudy.storage.records.turns import Usage


@attrs.frozen
class Done:
    """How many messages, and what they cost, in micro-dollars."""

    messages: int = 0
    cost: int = 0


@attrs.frozen
class Activity:
    """What was done in a workspace in some time: sessions that were used in it, and what was said and spent in them."""

    active_sessions: int
    sessions: int
    messages: int
    users: int
    usage: Usage
    cost: int
    tool_calls: int
    by_agent: Mapping[str, Done]
    daily: Mapping[date, Done]
