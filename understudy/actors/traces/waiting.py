"""The turns whose traces wait to be exported: few bytes each, and never too many."""

from collections import deque
from collections.abc import Sequence
from datetime import datetime, timedelta

import attrs
import trio

from understudy.actors.facts import CANCELLED, COMPLETED, FAILED, read_fact
from understudy.actors.lru import Lru
from understudy.actors.store.outbox import Consumer
from understudy.storage.records import OutboxItem

MOST = 4096
"""Turns that may wait."""


@attrs.frozen
class EndedTurn:
    """A turn that has ended, and where to look for its trace. ``started_at`` is to the millisecond."""

    workspace_id: str
    turn_id: str
    started_at: datetime


class WaitingTraces:
    """Turns in the order in which they ended; when there are too many, the oldest are dropped and counted.

    It outlives the actor that exports them, so that nothing is lost with one that is killed. Nothing here blocks but
    `wait_some`, and nothing is a trace: those are read when they are exported.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._turns: deque[EndedTurn] = deque()
        self._known: Lru[str, bool] = Lru(2 * most)
        self._some = trio.Event()
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._turns)

    def put(self, turn: EndedTurn) -> None:
        """Have it exported, unless that was asked before."""
        if self._known.get(turn.turn_id) is None:
            self._known.put(turn.turn_id, True)
            self._turns.append(turn)
            self._bound()
            self._some.set()

    def take(self, most: int) -> list[EndedTurn]:
        """The oldest ones, which do not wait any more: give back those that come to nothing."""
        return [self._turns.popleft() for _ in range(min(most, len(self._turns)))]

    def give_back(self, turns: Sequence[EndedTurn]) -> None:
        """Have them wait again, before all others; the oldest go when there is no room any more."""
        self._turns.extendleft(reversed(turns))
        self._bound()
        self._some.set()

    async def wait_some(self) -> None:
        """Wait until there is one."""
        while not self._turns:
            self._some = trio.Event()
            await self._some.wait()

    def _bound(self) -> None:
        while len(self._turns) > self._most:
            self._turns.popleft()
            self.dropped += 1


def trace_consumer(waiting: WaitingTraces) -> Consumer:
    """Who notes the turns that have ended. It waits for nothing, so that no other consumer waits for it."""

    async def deliver(item: OutboxItem) -> None:
        fact = read_fact(item)
        turn, took = fact.data.get("turnId"), fact.data.get("durationMs")
        if fact.workspace_id is not None and isinstance(turn, str) and isinstance(took, int):
            waiting.put(EndedTurn(fact.workspace_id, turn, fact.at - timedelta(milliseconds=took)))

    return Consumer("trace_export", frozenset({COMPLETED, FAILED, CANCELLED}), deliver)
