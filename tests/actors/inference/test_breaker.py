"""The circuit breaker as a value."""

import hypothesis.strategies as st
from hypothesis import given
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from understudy.actors.inference.breaker import Breaker, BreakerPolicy, Circuit
from understudy.actors.inference.messages import SettleOutcome

POLICY = BreakerPolicy(failures=3, window=60, open_for=30, successes=2)


def failing(breaker: Breaker, times: int, now: float) -> Breaker:
    for _ in range(times):
        breaker = breaker.admit(now)
        breaker = breaker.settle(SettleOutcome.FAILED, breaker.era, now)
    return breaker


def trial(breaker: Breaker, outcome: SettleOutcome, now: float) -> Breaker:
    breaker = breaker.admit(now)
    return breaker.settle(outcome, breaker.era, now)


def test_enough_failures_within_the_window_open_it_and_it_says_for_how_long() -> None:
    breaker = failing(Breaker(POLICY), 2, 0.0)
    assert breaker.retry_after(0.0) is None
    breaker = failing(breaker, 1, 10.0)
    assert breaker.circuit is Circuit.OPEN
    assert breaker.retry_after(10.0) == 30.0
    assert breaker.retry_after(39.0) == 1.0


def test_failures_that_lie_apart_do_not_open_it() -> None:
    breaker = Breaker(POLICY)
    for minute in range(10):
        breaker = failing(breaker, 2, minute * 61.0)
    assert breaker.circuit is Circuit.CLOSED


def test_a_refused_request_is_no_failure() -> None:
    breaker = Breaker(POLICY)
    for _ in range(10):
        breaker = trial(breaker, SettleOutcome.REFUSED, 0.0)
        breaker = trial(breaker, SettleOutcome.ABANDONED, 0.0)
    assert breaker.circuit is Circuit.CLOSED


def test_half_open_lets_one_trial_through_at_a_time_and_two_successes_close_it() -> None:
    breaker = failing(Breaker(POLICY), 3, 0.0)
    assert breaker.retry_after(30.0) is None
    tried = breaker.admit(30.0)
    assert tried.circuit is Circuit.HALF_OPEN
    assert tried.retry_after(30.0) == 1.0
    once = tried.settle(SettleOutcome.SUCCEEDED, tried.era, 31.0)
    assert once.circuit is Circuit.HALF_OPEN
    assert once.retry_after(31.0) is None
    assert trial(once, SettleOutcome.SUCCEEDED, 32.0).circuit is Circuit.CLOSED


def test_a_failed_trial_opens_it_again_for_the_whole_time() -> None:
    breaker = failing(Breaker(POLICY), 3, 0.0)
    breaker = trial(breaker, SettleOutcome.SUCCEEDED, 30.0)
    breaker = trial(breaker, SettleOutcome.FAILED, 31.0)
    assert breaker.circuit is Circuit.OPEN
    assert breaker.retry_after(31.0) == 30.0


def test_an_abandoned_trial_makes_room_for_another() -> None:
    breaker = trial(failing(Breaker(POLICY), 3, 0.0), SettleOutcome.ABANDONED, 30.0)
    assert breaker.circuit is Circuit.HALF_OPEN
    assert breaker.retry_after(30.0) is None
    assert breaker.successes == 0


def test_a_call_from_before_it_opened_says_nothing_about_the_trial() -> None:
    breaker = Breaker(POLICY).admit(0.0)
    early = breaker.era
    breaker = failing(breaker, 3, 0.0).admit(30.0)
    assert breaker.settle(SettleOutcome.FAILED, early, 31.0) == breaker
    assert breaker.settle(SettleOutcome.SUCCEEDED, early, 31.0) == breaker


@given(st.lists(st.sampled_from(SettleOutcome), max_size=30), st.floats(0, 5))
def test_the_number_of_remembered_failures_is_bounded(outcomes: list[SettleOutcome], step: float) -> None:
    breaker = Breaker(POLICY)
    for number, outcome in enumerate(outcomes):
        if breaker.retry_after(number * step) is None:
            breaker = trial(breaker, outcome, number * step)
        assert len(breaker.failed_at) < POLICY.failures


class AnyOrder(RuleBasedStateMachine):
    """Calls are admitted and settled in any order while time goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.breaker = Breaker(POLICY)
        self.tickets: list[int] = []
        self.opened_at = -100.0

    @rule(seconds=st.floats(0, 40))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.breaker.retry_after(self.now) is None)
    @rule()
    def admit(self) -> None:
        self.breaker = self.breaker.admit(self.now)
        self.tickets.append(self.breaker.era)

    @precondition(lambda self: bool(self.tickets))
    @rule(outcome=st.sampled_from(SettleOutcome), which=st.integers(0))
    def settle(self, outcome: SettleOutcome, which: int) -> None:
        ticket = self.tickets.pop(which % len(self.tickets))
        before = self.breaker.at(self.now)
        self.breaker = self.breaker.settle(outcome, ticket, self.now)
        if before.circuit is not Circuit.OPEN and self.breaker.circuit is Circuit.OPEN:
            assert outcome is SettleOutcome.FAILED, "only a failure opens it"
            self.opened_at = self.now

    @invariant()
    def open_lasts_exactly_its_time(self) -> None:
        is_open = self.breaker.at(self.now).circuit is Circuit.OPEN
        assert is_open == (self.now < self.opened_at + POLICY.open_for)

    @invariant()
    def never_two_trials(self) -> None:
        current = self.breaker.at(self.now)
        if current.circuit is Circuit.HALF_OPEN:
            assert self.tickets.count(current.era) == int(current.trial)


TestAnyOrder = AnyOrder.TestCase
