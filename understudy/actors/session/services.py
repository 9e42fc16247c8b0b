"""What the composition root gives to every session."""

from collections.abc import Callable
from datetime import datetime

import attrs

from understudy.actors.costs.prices import PriceBook
from understudy.actors.session.ports import ModelStreams, Recall, SessionStore, Writer
from understudy.actors.session.turn import Tools


@attrs.frozen
class SessionServices:
    """What every session is given: its store, the journal, models, tools, clock, bound in seconds, prices, memory."""

    store: SessionStore
    writer: Writer
    models: ModelStreams
    tools: Tools
    now: Callable[[], datetime]
    turn_timeout: float = 120.0
    prices: PriceBook = attrs.field(factory=PriceBook.shipped)
    user_token_budget: int | None = None
    recall: Recall | None = None
