"""What the composition root gives to every session."""

from collections.abc import Callable
from datetime import datetime

import attrs

from understudy.actors.costs.prices import PriceBook
from understudy.actors.costs.purse import Purse
from understudy.actors.session.compaction import Thresholds
from understudy.actors.session.flusher import Flusher
from understudy.actors.session.ground import Ground
from understudy.actors.session.ports import (
    Calls,
    CompactionStore,
    Consent,
    GroupWriter,
    Health,
    ModelStreams,
    Recall,
    Requests,
    SessionStore,
    Tools,
)
from understudy.storage.records import new_id


@attrs.frozen
class SessionServices:
    """What every session is given: its store, the journal, models, tools, clock, bound in seconds, prices, memory.

    ``window`` is how many tokens a model reads whose agent does not say; ``thresholds`` say when a conversation is put
    into a summary, which takes a ``compaction`` to keep it. Without ``consent`` every tool runs unasked, and without
    ``health`` no agent is ever paused. The ``purse`` has the allowances for what is asked of models beside turns.
    ``node`` is this run of the server among those on the database, which it reaches by ``calls``; without these it is
    alone. What turns had asked people for is found in ``requests``.
    """

    store: SessionStore
    writer: GroupWriter
    models: ModelStreams
    tools: Tools
    now: Callable[[], datetime]
    turn_timeout: float = 120.0
    prices: PriceBook = attrs.field(factory=PriceBook.shipped)
    user_token_budget: int | None = None
    recall: Recall | None = None
    ground: Ground = attrs.field(factory=Ground)
    window: int = 128_000
    thresholds: Thresholds = attrs.field(factory=Thresholds)
    compaction: CompactionStore | None = None
    consent: Consent | None = None
    health: Health | None = None
    purse: Purse | None = None
    node: str = attrs.field(factory=lambda: new_id("nod"))
    calls: Calls | None = None
    requests: Requests | None = None
    flusher: Flusher = attrs.field(default=attrs.Factory(lambda self: Flusher(self.writer), takes_self=True))
    """Commits what the turns say meanwhile."""
