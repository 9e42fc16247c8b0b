"""How long a provider may take, phase by phase."""

from typing import TypeVar

import attrs
import trio

from understudy.actors.inference.errors import UpstreamTimedOut

T = TypeVar("T")


@attrs.frozen
class Timeouts:
    """Seconds allowed for each phase of one inference; ``math.inf`` switches one off.

    connect: name, TCP and TLS. first_token: from the request to the first event (keep-alive comments are not one).
    idle: between two reads after that. total: from the request to the end. linger: for the last bytes of the framing,
    when the answer is whole, so that its connection can be kept; they come with it, or not at all.
    """

    connect: float = 10.0
    first_token: float = 60.0
    idle: float = 45.0
    total: float = 600.0
    linger: float = 0.05


class Stopwatch:
    """The deadlines of one inference that started when this was made."""

    def __init__(self, provider: str, timeouts: Timeouts) -> None:
        self._provider = provider
        self._timeouts = timeouts
        now = trio.current_time()
        self._first = now + timeouts.first_token
        self._total = now + timeouts.total
        self._speaking = False

    def first_token_came(self) -> None:
        """From now on the idle time counts, no longer the time to the first token."""
        self._speaking = True

    def scope(self) -> trio.CancelScope:
        """A scope that ends when the next step takes too long; then raise `expired`."""
        deadline = trio.current_time() + self._timeouts.idle if self._speaking else self._first
        return trio.CancelScope(deadline=min(deadline, self._total))

    def lingering(self) -> trio.CancelScope:
        """A scope for what may still come when the answer is whole."""
        return trio.CancelScope(deadline=trio.current_time() + self._timeouts.linger)

    def expired(self) -> UpstreamTimedOut:
        """The error that names the deadline that has passed."""
        limits = self._timeouts
        if trio.current_time() >= self._total:
            return UpstreamTimedOut(f"{self._provider} did not finish within {limits.total:g} s", phase="total")
        if self._speaking:
            return UpstreamTimedOut(f"{self._provider} fell silent for {limits.idle:g} s mid-answer", phase="idle")
        return UpstreamTimedOut(f"{self._provider} sent no token within {limits.first_token:g} s", phase="first token")
