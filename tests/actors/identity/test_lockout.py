"""Guessing passwords is slow, however the guesses are sent."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.support.identity import HOME, IdentityNode
from understudy.actors.errors import RateLimited, Unauthenticated
from understudy.actors.identity.lockout import PATIENCE, KeyedLocks, network
from understudy.actors.identity.messages import (
    IDENTITY,
    Client,
)


async def fail(node: IdentityNode, times: int, email: str = "mira@example.org", client: Client = HOME) -> None:
    for _ in range(times):
        with pytest.raises(Unauthenticated):
            await node.login("wrong", email, client)


async def test_after_five_wrong_passwords_even_the_right_one_waits_fifteen_minutes(node: IdentityNode) -> None:
    async with node.running():
        await node.register()
        await fail(node, 5)
        with pytest.raises(RateLimited) as locked:
            await node.login()
        assert locked.value.retry_after == 900
        node.clock.advance(899)
        with pytest.raises(RateLimited):
            await node.login()
        node.clock.advance(1.5)
        await node.login()


async def test_each_further_lock_is_twice_as_long_up_to_an_hour(node: IdentityNode) -> None:
    async with node.running():
        await node.register()
        waits = []
        for _ in range(4):
            await fail(node, 5)
            with pytest.raises(RateLimited) as locked:
                await node.login()
            assert locked.value.retry_after is not None
            waits.append(locked.value.retry_after)
            node.clock.advance(locked.value.retry_after + 1)
        assert waits == [900, 1800, 3600, 3600]


async def test_a_right_password_forgives_the_wrong_ones_before_it(node: IdentityNode) -> None:
    async with node.running():
        await node.register()
        for _ in range(3):
            await fail(node, 4)
            await node.login()


async def test_twenty_wrong_guesses_from_an_address_lock_it_for_every_email(node: IdentityNode) -> None:
    async with node.running():
        await node.register()
        for guess in range(20):
            await fail(node, 1, f"victim{guess}@example.org")
        with pytest.raises(RateLimited):
            await node.login()
        await node.login(client=Client(ip="192.0.2.2"))


async def test_signing_in_oneself_buys_no_guesses_for_the_address(node: IdentityNode) -> None:
    async with node.running():
        await node.register()
        for guess in range(20):
            await fail(node, 1, f"victim{guess}@example.org")
            if guess < 19:
                await node.login()
        with pytest.raises(RateLimited):
            await node.login()


async def test_a_burst_of_guesses_sent_at_once_gets_no_more_than_five(node: IdentityNode) -> None:
    async with node.running():
        await node.register()
        outcomes: list[type[Exception]] = []

        async def guess(number: int) -> None:
            try:
                await node.login(f"guess {number}", client=Client(ip=f"198.51.100.{number}"))
            except (Unauthenticated, RateLimited) as refusal:
                outcomes.append(type(refusal))

        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(guess, number)
        assert outcomes.count(Unauthenticated) == 5
        assert outcomes.count(RateLimited) == 35


async def test_a_burst_over_many_emails_from_one_address_gets_no_more_than_twenty(node: IdentityNode) -> None:
    async with node.running():
        outcomes: list[type[Exception]] = []

        async def guess(number: int) -> None:
            try:
                await node.login("wrong", f"victim{number}@example.org")
            except (Unauthenticated, RateLimited) as refusal:
                outcomes.append(type(refusal))

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(guess, number)
        assert outcomes.count(Unauthenticated) == 20


async def test_a_lock_survives_the_actor_and_the_node(node: IdentityNode) -> None:
    async with node.running():
        await node.register()
        await fail(node, 5)
        await node.system.kill(IDENTITY)
        with pytest.raises(RateLimited):
            await node.login()
    async with node.running():
        with pytest.raises(RateLimited):
            await node.login()


async def test_a_lock_leaves_a_line_in_the_audit_log_without_the_password(node: IdentityNode) -> None:
    async with node.running():
        await node.register()
        await fail(node, 5)
        verdict = await node.store.audit.verify()
        assert verdict.entries == 2  # the registration and the lock


async def test_a_lock_is_kept_only_while_somebody_holds_or_wants_it() -> None:
    locks = KeyedLocks()
    order: list[int] = []

    async def hold(number: int) -> None:
        async with locks.hold("ip:192.0.2.1"):
            order.append(number)
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        async with locks.hold("ip:192.0.2.1"):
            nursery.start_soon(hold, 1)
            nursery.start_soon(hold, 2)
            await wait_all_tasks_blocked()
            assert order == []
            assert len(locks) == 1
        await wait_all_tasks_blocked()
    assert sorted(order) == [1, 2]
    assert len(locks) == 0


@pytest.mark.parametrize(
    ("ip", "counts_as"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("", "unknown"),
        ("no address\0", "unknown"),
    ],
)
def test_addresses_that_one_host_can_choose_among_count_as_one(ip: str, counts_as: str) -> None:
    assert network(ip) == counts_as


async def test_who_would_wait_too_long_for_a_lock_is_told_to_come_back() -> None:
    locks = KeyedLocks()
    refused = 0

    async def hold() -> None:
        nonlocal refused
        try:
            async with locks.hold("ip:192.0.2.1"):
                await trio.lowlevel.checkpoint()
        except RateLimited:
            refused += 1

    async with trio.open_nursery() as nursery:
        for _ in range(PATIENCE + 11):
            nursery.start_soon(hold)
    assert refused == 10
    assert len(locks) == 0


async def test_a_waiter_that_is_cancelled_leaves_no_lock_behind() -> None:
    locks = KeyedLocks()
    with trio.move_on_after(0.01):
        async with locks.hold("a"), trio.open_nursery() as nursery:

            async def wait() -> None:
                async with locks.hold("a"):
                    raise AssertionError("two hold one lock")

            nursery.start_soon(wait)
    assert len(locks) == 0
