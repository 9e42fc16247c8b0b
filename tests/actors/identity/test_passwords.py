"""Password hashing: off the loop, bounded, and as slow for nobody as for somebody."""

import time
from statistics import median

import argon2
import pytest
import trio

from understudy.actors.errors import RateLimited
from understudy.actors.identity.passwords import DEFAULT_HASHER, Passwords

FAST = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


async def test_a_hash_verifies_its_own_password_and_no_other() -> None:
    passwords = Passwords(hasher=FAST)
    stored = await passwords.hash("correct horse")
    assert stored.startswith("$argon2id$")
    assert await passwords.verify(stored, "correct horse")
    assert not await passwords.verify(stored, "correct horsf")


async def test_nobody_s_password_is_never_right_not_even_the_decoy_s_own() -> None:
    passwords = Passwords(hasher=FAST)
    assert not await passwords.verify(None, "a password that nobody has")


async def test_what_is_stored_but_no_hash_counts_as_wrong() -> None:
    passwords = Passwords(hasher=FAST)
    assert not await passwords.verify("plain text", "plain text")
    assert not await passwords.verify("", "")


async def test_the_same_characters_typed_on_two_keyboards_are_the_same_password() -> None:
    passwords = Passwords(hasher=FAST)
    assert await passwords.verify(await passwords.hash("caf\u00e9 noir"), "cafe\u0301 noir")


async def test_a_lone_surrogate_is_a_character_like_any_other() -> None:
    passwords = Passwords(hasher=FAST)
    assert await passwords.verify(await passwords.hash("\ud800 secret"), "\ud800 secret")


async def test_a_hash_of_other_parameters_is_outdated_and_still_verifies() -> None:
    old = await Passwords(hasher=FAST).hash("pa55word")
    passwords = Passwords()
    assert passwords.outdated(old)
    assert await passwords.verify(old, "pa55word")
    assert not passwords.outdated(DEFAULT_HASHER.hash("pa55word"))


async def test_the_loop_runs_on_while_passwords_are_hashed() -> None:
    passwords = Passwords()
    rounds = 0

    async def count() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await trio.sleep(0.001)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        await passwords.hash("some password")
        nursery.cancel_scope.cancel()
    assert rounds > 3


async def test_who_would_wait_behind_too_many_is_told_to_come_back() -> None:
    passwords = Passwords(concurrency=1, queue=2)
    refused: list[float | None] = []

    async def hash_one() -> None:
        try:
            await passwords.hash("some password")
        except RateLimited as limited:
            refused.append(limited.retry_after)

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(hash_one)
    assert refused == [1.0, 1.0]


async def test_an_unknown_user_takes_as_long_as_a_wrong_password() -> None:
    passwords = Passwords()
    stored = await passwords.hash("the right one")
    await passwords.verify(None, "warm")

    async def seconds(known: str | None) -> float:
        began = time.perf_counter()
        await passwords.verify(known, "a wrong one")
        return time.perf_counter() - began

    known, unknown = [], []
    for _ in range(7):
        known.append(await seconds(stored))
        unknown.append(await seconds(None))
    assert median(unknown) == pytest.approx(median(known), rel=0.5)
