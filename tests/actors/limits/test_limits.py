"""Rate limits as a caller meets them."""

from collections.abc import Sequence

import trio
from trio.testing import MockClock

from understudy.actors.limits.actor import Limits, limits_spec
from understudy.actors.limits.bucket import Rate
from understudy.actors.limits.messages import LIMITS, Allowance, Bucket, Take
from understudy.runtime import ActorSystem, ChildSpec


async def take(system: ActorSystem, *buckets: tuple[str, str]) -> Allowance:
    return await system.ask(LIMITS, Take(tuple(Bucket(*bucket) for bucket in buckets)))


async def allowed(system: ActorSystem, times: int, *buckets: tuple[str, str]) -> Sequence[bool]:
    return [(await take(system, *buckets)).allowed for _ in range(times)]


async def test_the_31st_request_of_a_minute_is_refused_however_slowly_they_come(autojump_clock: MockClock) -> None:
    with trio.fail_after(3600):
        async with ActorSystem("test") as system:
            await system.spawn(limits_spec(rate_limit_max=30, user_rate_limit_max=60))
            mine = ("chat", "usr_1")
            for _ in range(30):
                assert (await take(system, mine)).allowed
                await trio.sleep(1.5)
            refused = await take(system, mine)
            assert not refused.allowed
            assert (refused.limit, refused.remaining) == (30, 0)
            assert refused.retry_after == refused.reset
            assert 14 < refused.retry_after <= 15
            await trio.sleep(refused.retry_after)
            assert sum(await allowed(system, 40, mine)) == 30


async def test_one_user_s_limit_is_nobody_else_s(autojump_clock: MockClock) -> None:
    with trio.fail_after(3600):
        async with ActorSystem("test") as system:
            await system.spawn(limits_spec(rate_limit_max=2, user_rate_limit_max=0))
            assert await allowed(system, 3, ("chat", "usr_1")) == [True, True, False]
            assert await allowed(system, 3, ("chat", "usr_2")) == [True, True, False]
            assert await allowed(system, 3, ("address", "192.0.2.1")) == [True, True, False]


async def test_a_request_that_one_limit_refuses_costs_nothing_of_the_other(autojump_clock: MockClock) -> None:
    with trio.fail_after(3600):
        async with ActorSystem("test") as system:
            await system.spawn(limits_spec(rate_limit_max=2, user_rate_limit_max=4))
            both = (("chat", "usr_1"), ("user", "usr_1"))
            assert await allowed(system, 5, *both) == [True, True, False, False, False]
            assert await allowed(system, 3, ("user", "usr_1")) == [True, True, False]


async def test_the_headers_are_those_of_the_limit_nearest_to_its_end(autojump_clock: MockClock) -> None:
    with trio.fail_after(3600):
        async with ActorSystem("test") as system:
            await system.spawn(limits_spec(rate_limit_max=10, user_rate_limit_max=3))
            seen = [await take(system, ("chat", "usr_1"), ("user", "usr_1")) for _ in range(4)]
            assert [(a.limit, a.remaining, a.allowed) for a in seen] == [
                (3, 2, True),
                (3, 1, True),
                (3, 0, True),
                (3, 0, False),
            ]


async def test_zero_switches_a_limit_off_and_an_unknown_class_has_none() -> None:
    async with ActorSystem("test") as system:
        await system.spawn(limits_spec(rate_limit_max=0, user_rate_limit_max=0))
        for bucket in (("chat", "usr_1"), ("user", "usr_1"), ("nonsense", "usr_1")):
            assert all(await allowed(system, 200, bucket))
        assert (await take(system, ("chat", "usr_1"))).limit == 0


async def test_naming_a_bucket_twice_takes_one_token(autojump_clock: MockClock) -> None:
    with trio.fail_after(3600):
        async with ActorSystem("test") as system:
            await system.spawn(limits_spec(rate_limit_max=2, user_rate_limit_max=0))
            twice = (("chat", "usr_1"), ("chat", "usr_1"))
            assert await allowed(system, 3, *twice) == [True, True, False]


async def test_a_flood_of_subjects_does_not_fill_the_memory() -> None:
    async with ActorSystem("test") as system:
        await system.spawn(ChildSpec(LIMITS, Limits, args=({"address": Rate(5)}, 100)))
        for number in range(1000):
            await take(system, ("address", f"192.0.2.{number}"))
        assert (await system.inspect(LIMITS))["buckets"] == 100
