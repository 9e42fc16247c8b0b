"""The token bucket: the one promise a rate limit makes, over any history."""

from hypothesis import given
from hypothesis import strategies as st

from understudy.actors.limits.bucket import Rate, TokenBucket

RATES = st.builds(Rate, capacity=st.integers(1, 100), period=st.floats(0.5, 600))
STEPS = st.lists(st.floats(0, 90), max_size=120)


@given(RATES, STEPS)
def test_no_period_gives_more_than_its_capacity_from_its_first_request_on(rate: Rate, steps: list[float]) -> None:
    bucket, now, begun, taken = TokenBucket.full(rate, 0.0), 0.0, 0.0, 0
    for step in steps:
        now += step
        bucket = bucket.refilled(now)
        while bucket.allows:
            if taken == 0 or now - begun >= rate.period:
                begun, taken = now, 0
            bucket = bucket.taken()
            taken += 1
            assert taken <= rate.capacity


@given(RATES, STEPS)
def test_who_waits_as_long_as_told_is_let_through(rate: Rate, steps: list[float]) -> None:
    bucket, now = TokenBucket.full(rate, 0.0), 0.0
    for step in [*steps, *[0.0] * 200]:
        now += step
        bucket = bucket.refilled(now)
        if bucket.allows:
            bucket = bucket.taken()
        else:
            assert bucket.refilled(now + bucket.wait + 1e-3).allows
            assert not bucket.refilled(now + bucket.wait * 0.99 - 1e-3).allows
            return


@given(RATES, st.lists(st.floats(-100, 100), max_size=60))
def test_a_clock_that_steps_back_neither_gives_nor_takes(rate: Rate, steps: list[float]) -> None:
    bucket, now, newest = TokenBucket.full(rate, 0.0), 0.0, 0.0
    for step in steps:
        now += step
        before = bucket.tokens
        bucket = bucket.refilled(now)
        if now <= newest:
            assert bucket.tokens == before
        newest = max(newest, now)
        assert 0 <= bucket.tokens <= rate.capacity
        if bucket.allows:
            bucket = bucket.taken()


@given(RATES)
def test_a_full_bucket_has_nothing_to_wait_for(rate: Rate) -> None:
    bucket = TokenBucket.full(rate, 5.0)
    assert bucket.allows
    assert (bucket.wait, bucket.refill) == (0.0, 0.0)
