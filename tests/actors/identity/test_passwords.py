"""Password hashing: off the loop, bounded, and as slow for nobody as for somebody."""

import threading
import time

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


class Waiting(argon2.PasswordHasher):
    """Hashes when the loop says so."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.began, self.go_on = threading.Event(), threading.Event()

    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        self.began.set()
        assert self.go_on.wait(30), "the loop stood still"
        return super().hash(password, salt=salt)


async def test_the_loop_runs_on_while_passwords_are_hashed() -> None:
    hasher = Waiting()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Passwords(hasher=hasher).hash, "some password")
        while not hasher.began.is_set():
            await trio.sleep(0.001)
        hasher.go_on.set()


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
        began = time.process_time()  # what others do on this machine is not ours
        await passwords.verify(known, "a wrong one")
        return time.process_time() - began

    known, unknown = [], []
    for _ in range(7):
        known.append(await seconds(stored))
        unknown.append(await seconds(None))
    assert min(unknown) == pytest.approx(min(known), rel=0.5)
