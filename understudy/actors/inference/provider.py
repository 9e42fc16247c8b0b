"""The provider's actor: who may call it now, how it is doing, and when it is left alone."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import ClassVar

import attrs
import structlog
import trio

from understudy.actors.clock import utc_now
from understudy.actors.errors import CircuitOpen, RateLimited
from understudy.actors.inference.breaker import Breaker, BreakerPolicy, Circuit
from understudy.actors.inference.messages import (
    Admit,
    BreakerState,
    BreakerStatus,
    Permit,
    ProviderState,
    ProviderStatus,
    Settle,
    SettleOutcome,
)
from understudy.runtime import Actor, Deferred, receive

log = structlog.get_logger("understudy.inference")


@attrs.frozen
class ProviderLimits:
    """Calls at a time, calls that may wait for one of these to end, and when the circuit opens."""

    concurrency: int = 64
    waiting: int = 256
    breaker: BreakerPolicy = attrs.field(factory=BreakerPolicy)


@attrs.frozen
class _Running:
    """An admitted call: the breaker's ticket, and when its permit is taken back."""

    ticket: int
    expires_at: float


@attrs.frozen
class _Sweep:
    """Look for permits that nobody gave back."""


@attrs.frozen
class _Look:
    """The open time is up."""


class Provider(Actor):
    """Admits calls to one provider, at most ``limits.concurrency`` at a time, in order of arrival.

    It starts with nothing admitted, also after a crash: calls that ran through it go on and settle permits it does not
    know, which it ignores. Tokens never pass through here.
    """

    mailbox_limit: ClassVar[int] = 10_000
    SWEEP: ClassVar[float] = 15.0

    def __init__(
        self, provider: str, limits: ProviderLimits | None = None, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._provider = provider
        self._now = now
        self._limits = limits or ProviderLimits()
        self._breaker = Breaker(self._limits.breaker)
        self._running: dict[str, _Running] = {}
        self._waiting: OrderedDict[str, tuple[Admit, Deferred[Permit]]] = OrderedDict()
        self._ended: dict[SettleOutcome, int] = dict.fromkeys(SettleOutcome, 0)
        self._admitted = self._turned_away = 0
        self._seconds = 0.0
        self._last_error: str | None = None
        self._sweeping = False

    async def started(self) -> None:
        """Say whose calls are admitted here."""
        self.labels = {"provider": self._provider}

    @receive
    def admit(self, message: Admit) -> Permit | Deferred[Permit]:
        """Grant at once, queue, or refuse."""
        now = trio.current_time()
        self._check_circuit(now)
        if len(self._running) < self._limits.concurrency and not self._waiting:
            return self._grant(message, now)
        self._forget_gone()
        if len(self._waiting) >= self._limits.waiting:
            self._turned_away += 1
            raise RateLimited(
                f"{self._provider} is busy: {len(self._running)} calls run and {len(self._waiting)} wait",
                retry_after=self._expected_wait(),
            )
        deferred = self.defer(message)
        self._waiting[message.permit_id] = (message, deferred)
        self._show()
        return deferred

    @receive
    def settle(self, message: Settle) -> None:
        """Take a permit back and let the next one in."""
        if self._waiting.pop(message.permit_id, None) is not None:
            self._show()
            return
        running = self._running.pop(message.permit_id, None)
        if running is not None:
            self._count(running, message.outcome, message.seconds, message.error)
            self._let_in()

    @receive
    def status_of(self, message: ProviderStatus) -> ProviderState:
        """The counters."""
        del message
        ended = self._ended
        succeeded = ended[SettleOutcome.SUCCEEDED]
        return ProviderState(
            provider=self._provider,
            circuit=self._breaker.at(trio.current_time()).circuit.value,
            running=len(self._running),
            waiting=len(self._waiting),
            limit=self._limits.concurrency,
            admitted=self._admitted,
            turned_away=self._turned_away,
            succeeded=succeeded,
            failed=ended[SettleOutcome.FAILED],
            refused=ended[SettleOutcome.REFUSED],
            abandoned=ended[SettleOutcome.ABANDONED],
            mean_seconds=self._seconds / succeeded if succeeded else 0.0,
            last_error=self._last_error,
        )

    @receive
    def breaker_of(self, message: BreakerStatus) -> BreakerState:
        """The circuit breaker."""
        del message
        now, clock = self._now(), trio.current_time()
        breaker = self._breaker.at(clock)

        def on_the_wall(at: float) -> datetime:
            return now + timedelta(seconds=at - clock)

        return BreakerState(
            provider=self._provider,
            state=breaker.circuit.value,
            failures=breaker.failures(clock),
            successes=breaker.successes,
            opened_at=None if breaker.opened_at is None else on_the_wall(breaker.opened_at),
            next_attempt_at=on_the_wall(breaker.reopens_at) if breaker.circuit is Circuit.OPEN else None,
            last_error=self._last_error,
        )

    @receive
    def sweep(self, message: _Sweep) -> None:
        """Take back permits whose lease has run out, and forget askers who gave up waiting."""
        del message
        self._sweeping = False
        now = trio.current_time()
        self._move_to(self._breaker.at(now))
        for permit_id in [name for name, running in self._running.items() if running.expires_at <= now]:
            self._count(self._running.pop(permit_id), SettleOutcome.ABANDONED, 0.0, None)
        self._forget_gone()
        self._let_in()
        self._keep_sweeping()

    @receive
    def look(self, message: _Look) -> None:
        """Notice that the circuit is half-open now."""
        del message
        self._move_to(self._breaker.at(trio.current_time()))
        self._show()

    def snapshot(self) -> Mapping[str, object]:
        """What `ProviderStatus` answers."""
        return attrs.asdict(self.status_of(ProviderStatus()))

    def _check_circuit(self, now: float) -> None:
        wait = self._breaker.retry_after(now)
        if wait is not None:
            self._turned_away += 1
            raise self._open_circuit(wait)

    def _open_circuit(self, wait: float) -> CircuitOpen:
        last = f"; the last said: {self._last_error}" if self._last_error else ""
        return CircuitOpen(f"{self._provider} failed repeatedly and is left alone for now{last}", retry_after=wait)

    def _grant(self, message: Admit, now: float) -> Permit:
        self._move_to(self._breaker.admit(now))
        self._running[message.permit_id] = _Running(self._breaker.era, now + message.lease)
        self._admitted += 1
        self._keep_sweeping()
        self._show()
        return Permit(message.permit_id)

    def _keep_sweeping(self) -> None:
        """Look for lost permits as long as any are out; with none the actor may be idle."""
        if self._running and not self._sweeping:
            self._sweeping = True
            self.after(self.SWEEP, _Sweep())

    def _let_in(self) -> None:
        """Grant free slots to those who wait; with the circuit open they learn it now, not at their deadline."""
        now = trio.current_time()
        while self._waiting and len(self._running) < self._limits.concurrency:
            _, (message, deferred) = self._waiting.popitem(last=False)
            if deferred.done:
                continue
            wait = self._breaker.retry_after(now)
            if wait is not None:
                self._turned_away += 1
                deferred.fail(self._open_circuit(wait))
            else:
                deferred.reply(self._grant(message, now))
        self._show()

    def _count(self, running: _Running, outcome: SettleOutcome, seconds: float, error: str | None) -> None:
        if error is not None:
            self._last_error = error
        self._ended[outcome] += 1
        if outcome is SettleOutcome.SUCCEEDED:
            self._seconds += seconds
        self._move_to(self._breaker.settle(outcome, running.ticket, trio.current_time()))

    def _move_to(self, breaker: Breaker) -> None:
        """Take over the breaker's next state; each change of the circuit is a line in the log."""
        before, self._breaker = self._breaker.circuit, breaker
        if breaker.circuit is before:
            return
        match breaker.circuit:
            case Circuit.OPEN:
                # Half-open comes by time alone: look then, so that the tree and the log know it before the next call.
                self.after(self._limits.breaker.open_for, _Look())
                failures = breaker.failures(trio.current_time())
                log.warning("circuit opened", provider=self._provider, failures=failures, error=self._last_error)
            case Circuit.HALF_OPEN:
                log.info("circuit half-open", provider=self._provider)
            case Circuit.CLOSED:
                log.info("circuit closed", provider=self._provider)

    def _forget_gone(self) -> None:
        for permit_id in [name for name, (_, deferred) in self._waiting.items() if deferred.done]:
            del self._waiting[permit_id]

    def _expected_wait(self) -> float:
        """About when a slot will be free for one more, between 1 s and 1 min."""
        succeeded = self._ended[SettleOutcome.SUCCEEDED]
        each = self._seconds / succeeded if succeeded else 1.0
        return min(max(each * (len(self._waiting) + 1) / self._limits.concurrency, 1.0), 60.0)

    def _show(self) -> None:
        """Keep the word in the tree fitting; set only when it changes, for each setting is a change to watchers."""
        if self._breaker.circuit is not Circuit.CLOSED:
            word = f"circuit {self._breaker.circuit.value}"
        else:
            word = "full" if self._waiting else "calling" if self._running else "ready"
        if self.status != word:
            self.status = word
