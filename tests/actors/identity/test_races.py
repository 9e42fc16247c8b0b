"""What happens to accounts when things happen at once, or the actor is killed in the middle."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import attrs
import pytest
import trio

from tests.support.clock import WallClock
from tests.support.identity import FAST, HOME, PASSWORD, Settings
from tests.support.writing import DirectWriter
from understudy.actors.clock import utc_now
from understudy.actors.errors import TokenReplay, Unauthenticated
from understudy.actors.identity.actor import identity_spec
from understudy.actors.identity.messages import (
    IDENTITY,
    Authenticate,
    Client,
    Login,
    Logout,
    Refresh,
    Register,
    SignedIn,
)
from understudy.actors.identity.passwords import Passwords
from understudy.runtime import ActorCrashed, ActorSystem
from understudy.storage.journal import Journal
from understudy.storage.pool import Pool
from understudy.storage.repositories import Repositories


@asynccontextmanager
async def running(pool: Pool, now: Callable[[], datetime] = utc_now) -> AsyncIterator[ActorSystem]:
    with trio.fail_after(40):
        async with ActorSystem("test") as system:
            store, writer = Repositories.on(pool), DirectWriter(Journal(pool))
            await system.spawn(
                identity_spec(Settings(), store, writer, now=now, passwords=lambda: Passwords(hasher=FAST))
            )
            yield system


async def keep_refreshing(system: ActorSystem, token: str, access: list[str]) -> None:
    """Refresh as fast as one can, until it is refused; keep the access tokens."""
    while True:
        try:
            pair = await system.ask(IDENTITY, Refresh(token, HOME))
        except Unauthenticated:
            return
        token = pair.refresh_token
        access.append(pair.access_token)


async def test_no_refresh_that_races_with_a_logout_keeps_anybody_signed_in(pool: Pool) -> None:
    async with running(pool) as system:
        for number in range(25):
            signed_in = await system.ask(IDENTITY, Register(f"user{number}@example.org", PASSWORD, HOME))
            access = [signed_in.access_token]
            with trio.fail_after(30):  # who stayed signed in would refresh for ever
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(keep_refreshing, system, signed_in.refresh_token, access)
                    await trio.sleep(number * 0.0004)
                    await system.ask(IDENTITY, Logout(signed_in.access_token))
            for token in access:
                with pytest.raises(Unauthenticated):
                    await system.ask(IDENTITY, Authenticate(token))


async def test_no_refresh_that_races_with_an_alarm_outlives_it(pool: Pool) -> None:
    clock = WallClock()
    async with running(pool, clock) as system:
        for number in range(25):
            signed_in = await system.ask(IDENTITY, Register(f"user{number}@example.org", PASSWORD, HOME))
            thief = await system.ask(IDENTITY, Refresh(signed_in.refresh_token, HOME))
            clock.advance(11)
            access = [signed_in.access_token, thief.access_token]
            with trio.fail_after(30):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(keep_refreshing, system, thief.refresh_token, access)
                    await trio.sleep(number * 0.0004)
                    with pytest.raises(TokenReplay):
                        await system.ask(IDENTITY, Refresh(signed_in.refresh_token, HOME))
            for token in access:
                with pytest.raises(Unauthenticated):
                    await system.ask(IDENTITY, Authenticate(token))


async def test_killed_at_any_moment_identity_leaves_accounts_whole_and_serves_on(pool: Pool) -> None:
    async with running(pool) as system:
        answered: list[SignedIn] = []

        async def register(number: int) -> None:
            message = Register(f"user{number}@example.org", PASSWORD, HOME)
            try:
                answered.append(await system.ask(IDENTITY, message, timeout=10))
            except ActorCrashed:
                return

        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(register, number)
                if number % 10 == 7:
                    await trio.sleep(0.003 * number / 7)
                    await system.kill(IDENTITY)
        assert len(answered) > 0
        for signed_in in answered:
            principal = await system.ask(IDENTITY, Authenticate(signed_in.access_token))
            assert principal.uid == signed_in.user.id
        async with pool.connection() as connection:
            cursor = await connection.execute(
                b"SELECT count(*) FROM users u WHERE NOT EXISTS"
                b" (SELECT FROM workspace_members m WHERE m.uid = u.id AND m.role = 'owner')"
            )
            assert await cursor.fetchone() == (0,)


async def test_a_disabled_account_can_neither_sign_in_nor_refresh_nor_act(pool: Pool) -> None:
    async with running(pool) as system:
        signed_in = await system.ask(IDENTITY, Register("mira@example.org", PASSWORD, HOME))
        async with pool.connection() as connection:
            await connection.execute(b"UPDATE users SET disabled_at = %s", (datetime.now(UTC),))
        for attempt in (
            Login("mira@example.org", PASSWORD, HOME),
            Refresh(signed_in.refresh_token, HOME),
            Authenticate(signed_in.access_token),
        ):
            with pytest.raises(Unauthenticated):
                await system.ask(IDENTITY, attempt)


async def test_text_that_cannot_be_stored_crashes_nobody(pool: Pool) -> None:
    async with running(pool) as system:
        odd = Client(ip="\0", user_agent="\0\ud800\x1b[31m", request_id="req-1")
        signed_in = await system.ask(IDENTITY, Register("mira@example.org", "pass\0word\ud800", odd))
        assert signed_in == await _again(system, signed_in, odd)
        for email in ("mi\0ra@example.org", "\ud800@example.org"):
            with pytest.raises(Unauthenticated):
                await system.ask(IDENTITY, Login(email, PASSWORD, odd))
        node = system.node(IDENTITY)
        assert node is not None
        assert node.crash is None


async def _again(system: ActorSystem, signed_in: SignedIn, client: Client) -> SignedIn:
    again = await system.ask(IDENTITY, Login("mira@example.org", "pass\0word\ud800", client))
    return attrs.evolve(again, access_token=signed_in.access_token, refresh_token=signed_in.refresh_token)
