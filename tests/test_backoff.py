"""Waits grow with failures, stay within their limit, and are shortened by dice that can be thrown again."""

import random

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.backoff import Backoff

seconds = st.floats(0, 1e9, allow_subnormal=False)
backoffs = st.builds(Backoff, base=seconds, factor=st.floats(1, 1000), limit=seconds, jitter=st.floats(0, 1))
dice = st.randoms(use_true_random=False)


@given(backoffs, st.integers(-3, 10**9), dice)
def test_no_wait_is_longer_than_the_limit_or_shorter_than_chance_may_make_it(
    backoff: Backoff, failures: int, rng: random.Random
) -> None:
    longest = attrs.evolve(backoff, jitter=0.0).delay(failures, rng)
    assert 0 <= longest <= backoff.limit
    assert longest * (1 - backoff.jitter) <= backoff.delay(failures, rng) <= longest


@given(backoffs, st.integers(1, 200), dice)
def test_another_failure_never_makes_the_longest_wait_shorter_and_the_first_one_is_the_base(
    backoff: Backoff, failures: int, rng: random.Random
) -> None:
    steady = attrs.evolve(backoff, jitter=0.0)
    assert steady.delay(0, rng) == 0
    assert steady.delay(1, rng) == min(backoff.base, backoff.limit)
    before, after = steady.delay(failures, rng), steady.delay(failures + 1, rng)
    assert before * (1 - 1e-9) <= after <= before * backoff.factor * (1 + 1e-9)


@given(backoffs, st.integers(0, 2**32))
def test_the_same_dice_give_the_same_waits(backoff: Backoff, seed: int) -> None:
    once, again = random.Random(seed), random.Random(seed)
    assert [backoff.delay(n, once) for n in range(9)] == [backoff.delay(n, again) for n in range(9)]


def test_full_jitter_spreads_a_wait_over_all_of_it() -> None:
    backoff, rng = Backoff(base=8.0, limit=8.0, jitter=1.0), random.Random(5)
    waits = [backoff.delay(1, rng) for _ in range(1000)]
    assert min(waits) < 0.1
    assert max(waits) > 7.9


@pytest.mark.parametrize("nonsense", [{"base": -1.0}, {"factor": 0.5}, {"limit": -1.0}, {"jitter": 1.1}])
def test_a_backoff_that_would_shrink_or_go_back_in_time_is_refused(nonsense: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(nonsense))):
        Backoff(**nonsense)
