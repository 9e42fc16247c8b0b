"""Accounts as a user meets them: registering, signing in and out, and the tokens in between."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import argon2
import attrs
import jwt
import pytest
import trio

from tests.support.clock import WallClock
from tests.support.writing import DirectWriter
from understudy.actors.errors import Conflict, Invalid, RateLimited, TokenReplay, Unauthenticated, Unavailable
from understudy.actors.identity.actor import identity_spec
from understudy.actors.identity.messages import (
    IDENTITY,
    Authenticate,
    AuthenticateKey,
    Client,
    KeyPrincipal,
    Login,
    Logout,
    Refresh,
    Register,
    SignedIn,
    TokenPair,
)
from understudy.actors.identity.passwords import Passwords
from understudy.runtime import ActorSystem
from understudy.storage.journal import Journal
from understudy.storage.pool import Pool
from understudy.storage.repositories import Repositories

HOME = Client(ip="192.0.2.1", user_agent="tests", request_id="req-1")
PASSWORD = "s3cret!"
SECRET = "the current secret, which is long enough for HS256"
FAST = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@attrs.frozen
class Settings:
    jwt_secret: str = SECRET
    jwt_secret_prev: str | None = None
    jwt_access_seconds: int = 900
    jwt_refresh_seconds: int = 604_800
    internal_api_key: str = "the operator's key"
    password_min_length: int = 6


class Node:
    """One identity actor on a database that outlives it."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.store = Repositories.on(pool)
        self.clock = WallClock()
        self.system: ActorSystem

    @asynccontextmanager
    async def running(
        self, settings: Settings = Settings(), hasher: argon2.PasswordHasher = FAST
    ) -> AsyncIterator["Node"]:
        with trio.fail_after(20):
            async with ActorSystem("test") as self.system:
                await self.system.spawn(
                    identity_spec(
                        settings,
                        self.store,
                        DirectWriter(Journal(self.pool)),
                        now=self.clock,
                        passwords=lambda: Passwords(hasher=hasher),
                    )
                )
                yield self

    async def register(self, email: str = "mira@example.org", client: Client = HOME) -> SignedIn:
        return await self.system.ask(IDENTITY, Register(email, PASSWORD, client))

    async def login(self, password: str = PASSWORD, email: str = "mira@example.org", client: Client = HOME) -> SignedIn:
        return await self.system.ask(IDENTITY, Login(email, password, client))

    async def refresh(self, token: str) -> TokenPair:
        return await self.system.ask(IDENTITY, Refresh(token, HOME))

    async def whose(self, token: str) -> str:
        return (await self.system.ask(IDENTITY, Authenticate(token))).uid

    async def counts(self, token: str) -> bool:
        try:
            await self.whose(token)
        except Unauthenticated:
            return False
        return True

    async def audited(self, uid: str) -> list[str]:
        return [entry.event for entry in await self.store.audit.of_user(uid)]


@pytest.fixture
async def node(pg_dsn: str) -> AsyncIterator[Node]:
    pool = Pool(pg_dsn, min_size=0, max_size=8, timeout=0.5)
    await pool.open()
    try:
        yield Node(pool)
    finally:
        await pool.close()


# ---- registering ---------------------------------------------------------------------------------------------------


async def test_who_registers_is_signed_in_and_owns_a_workspace(node: Node) -> None:
    async with node.running():
        signed_in = await node.register("Mira@Example.org")
        assert signed_in.user.email == "mira@example.org"
        assert await node.whose(signed_in.access_token) == signed_in.user.id
        (membership,) = await node.store.workspaces.memberships(signed_in.user.id)
        assert (membership.workspace.id, membership.role) == (signed_in.workspace_id, "owner")


async def test_an_email_is_taken_in_any_spelling(node: Node) -> None:
    async with node.running():
        await node.register("mira@example.org")
        with pytest.raises(Conflict):
            await node.register("MIRA@example.ORG")


async def test_of_many_who_register_one_email_at_once_one_gets_it(node: Node) -> None:
    async with node.running():
        outcomes: list[str] = []

        async def register() -> None:
            try:
                await node.register()
                outcomes.append("made")
            except Conflict:
                outcomes.append("taken")

        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(register)
        assert sorted(outcomes) == ["made", *["taken"] * 7]


async def test_a_registration_that_is_wrong_changes_nothing(node: Node) -> None:
    async with node.running():
        with pytest.raises(Invalid):
            await node.system.ask(IDENTITY, Register("nobody", "12345", HOME))
        assert await node.store.users.by_email("nobody") is None


# ---- signing in ----------------------------------------------------------------------------------------------------


async def test_the_right_password_signs_in_whatever_the_email_s_case(node: Node) -> None:
    async with node.running():
        registered = await node.register()
        signed_in = await node.login(email="MIRA@example.org")
        assert signed_in.user == registered.user
        assert signed_in.workspace_id == registered.workspace_id
        assert await node.whose(signed_in.access_token) == registered.user.id


async def test_a_wrong_password_and_an_unknown_user_are_told_the_same(node: Node) -> None:
    async with node.running():
        await node.register()
        said = set()
        for email in ("mira@example.org", "nobody@example.org", "no email at all", "x" * 5000):
            with pytest.raises(Unauthenticated) as info:
                await node.login("wrong", email, Client(ip=email[:20]))
            said.add(str(info.value))
        assert len(said) == 1


async def test_a_password_that_only_begins_right_is_wrong(node: Node) -> None:
    async with node.running():
        await node.system.ask(IDENTITY, Register("mira@example.org", "x" * 128, HOME))
        with pytest.raises(Unauthenticated):
            await node.login("x" * 129)
        await node.login("x" * 128)


async def test_a_hash_with_old_parameters_is_made_anew_at_the_next_sign_in(node: Node) -> None:
    async with node.running():
        uid = (await node.register()).user.id
    old = await node.store.users.by_id(uid)
    stronger = argon2.PasswordHasher(time_cost=2, memory_cost=16, parallelism=1)
    async with node.running(hasher=stronger):
        await node.login()
        new = await node.store.users.by_id(uid)
        assert old is not None
        assert new is not None
        assert old.password_hash != new.password_hash
        assert not stronger.check_needs_rehash(new.password_hash)
        await node.login()


# ---- lockout -------------------------------------------------------------------------------------------------------


async def fail(node: Node, times: int, email: str = "mira@example.org", client: Client = HOME) -> None:
    for _ in range(times):
        with pytest.raises(Unauthenticated):
            await node.login("wrong", email, client)


async def test_after_five_wrong_passwords_even_the_right_one_waits_fifteen_minutes(node: Node) -> None:
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


async def test_each_further_lock_is_twice_as_long_up_to_an_hour(node: Node) -> None:
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


async def test_a_right_password_forgives_the_wrong_ones_before_it(node: Node) -> None:
    async with node.running():
        await node.register()
        for _ in range(3):
            await fail(node, 4)
            await node.login()


async def test_twenty_wrong_guesses_from_an_address_lock_it_for_every_email(node: Node) -> None:
    async with node.running():
        await node.register()
        for guess in range(20):
            await fail(node, 1, f"victim{guess}@example.org")
        with pytest.raises(RateLimited):
            await node.login()
        await node.login(client=Client(ip="192.0.2.2"))


async def test_signing_in_oneself_buys_no_guesses_for_the_address(node: Node) -> None:
    async with node.running():
        await node.register()
        for guess in range(20):
            await fail(node, 1, f"victim{guess}@example.org")
            if guess < 19:
                await node.login()
        with pytest.raises(RateLimited):
            await node.login()


async def test_a_burst_of_guesses_sent_at_once_gets_no_more_than_five(node: Node) -> None:
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


async def test_a_burst_over_many_emails_from_one_address_gets_no_more_than_twenty(node: Node) -> None:
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


async def test_a_lock_survives_the_actor_and_the_node(node: Node) -> None:
    async with node.running():
        await node.register()
        await fail(node, 5)
        await node.system.kill(IDENTITY)
        with pytest.raises(RateLimited):
            await node.login()
    async with node.running():
        with pytest.raises(RateLimited):
            await node.login()


async def test_a_lock_leaves_a_line_in_the_audit_log_without_the_password(node: Node) -> None:
    async with node.running():
        await node.register()
        await fail(node, 5)
        verdict = await node.store.audit.verify()
        assert verdict.entries == 2  # the registration and the lock


# ---- refreshing ----------------------------------------------------------------------------------------------------


async def test_a_refresh_gives_a_new_pair_that_works(node: Node) -> None:
    async with node.running():
        first = await node.register()
        second = await node.refresh(first.refresh_token)
        assert second.refresh_token != first.refresh_token
        assert await node.whose(second.access_token) == first.user.id
        third = await node.refresh(second.refresh_token)
        assert await node.whose(third.access_token) == first.user.id


async def test_refreshes_that_race_all_get_the_same_pair(node: Node) -> None:
    async with node.running():
        token = (await node.register()).refresh_token
        pairs: list[TokenPair] = []

        async def refresh() -> None:
            pairs.append(await node.refresh(token))

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(refresh)
        assert len(pairs) == 10
        assert len(set(pairs)) == 1
        assert await node.counts(pairs[0].access_token)


async def test_the_same_pair_is_given_again_after_a_restart_within_the_grace(node: Node) -> None:
    async with node.running():
        token = (await node.register()).refresh_token
        first = await node.refresh(token)
    node.clock.advance(9)
    async with node.running():
        assert await node.refresh(token) == first


async def test_a_replayed_refresh_token_ends_its_family_and_raises_an_alarm(node: Node) -> None:
    async with node.running():
        first = await node.register()
        second = await node.refresh(first.refresh_token)
        node.clock.advance(11)
        with pytest.raises(TokenReplay):
            await node.refresh(first.refresh_token)
        with pytest.raises(Unauthenticated):
            await node.refresh(second.refresh_token)
        assert not await node.counts(second.access_token)
        assert "security.token_replay" in await node.audited(first.user.id)


async def test_a_replay_leaves_the_user_s_other_sign_ins_alone(node: Node) -> None:
    async with node.running():
        stolen = await node.register()
        other = await node.login()
        await node.refresh(stolen.refresh_token)
        node.clock.advance(11)
        with pytest.raises(TokenReplay):
            await node.refresh(stolen.refresh_token)
        renewed = await node.refresh(other.refresh_token)
        assert await node.counts(renewed.access_token)


async def test_an_expired_refresh_token_is_refused(node: Node) -> None:
    async with node.running():
        token = (await node.register()).refresh_token
        node.clock.advance(604_800 + 31)
        with pytest.raises(Unauthenticated, match="expired"):
            await node.refresh(token)


async def test_an_access_token_does_not_refresh_and_a_refresh_token_gives_no_access(node: Node) -> None:
    async with node.running():
        signed_in = await node.register()
        with pytest.raises(Unauthenticated):
            await node.refresh(signed_in.access_token)
        with pytest.raises(Unauthenticated):
            await node.whose(signed_in.refresh_token)


async def test_a_refresh_token_that_was_never_given_out_is_refused_though_well_signed(node: Node) -> None:
    async with node.running():
        token = (await node.register()).refresh_token
        claims = jwt.decode(token, SECRET, algorithms=["HS256"], options={"verify_exp": False, "verify_iat": False})
        made_up = jwt.encode({**claims, "jti": "ref_made_up"}, SECRET, algorithm="HS256")
        with pytest.raises(Unauthenticated):
            await node.refresh(made_up)


# ---- authenticating ------------------------------------------------------------------------------------------------


async def test_forged_expired_and_unsigned_tokens_are_refused_and_the_good_one_still_counts(node: Node) -> None:
    async with node.running():
        token = (await node.register()).access_token
        claims = jwt.decode(token, options={"verify_signature": False})
        bad = [
            "",
            "not a token",
            token + "x",
            token[:-2],
            jwt.encode(claims, "somebody else's secret of sufficient length", algorithm="HS256"),
            jwt.encode(claims, None, algorithm="none"),
            jwt.encode({**claims, "exp": claims["iat"] - 60}, SECRET, algorithm="HS256"),
            jwt.encode({**claims, "uid": "usr_else", "sub": "usr_else"}, SECRET, algorithm="HS256"),
        ]
        for forged in bad:
            assert not await node.counts(forged)
        assert await node.counts(token)


async def test_a_token_that_was_known_expires_all_the_same(node: Node) -> None:
    async with node.running():
        token = (await node.register()).access_token
        assert await node.counts(token)
        node.clock.advance(900 + 31)
        with pytest.raises(Unauthenticated, match="expired"):
            await node.whose(token)


async def test_tokens_of_the_previous_secret_count_until_it_is_dropped(node: Node) -> None:
    async with node.running():
        signed_in = await node.register()
    new = "another secret, just as long as the one before it"
    async with node.running(Settings(jwt_secret=new, jwt_secret_prev=SECRET)):
        assert await node.counts(signed_in.access_token)
        renewed = await node.refresh(signed_in.refresh_token)
    async with node.running(Settings(jwt_secret=new)):
        assert not await node.counts(signed_in.access_token)
        assert await node.counts(renewed.access_token)


async def test_a_known_token_is_answered_while_the_database_is_away_and_an_unknown_one_is_not(node: Node) -> None:
    async with node.running():
        known = (await node.register()).access_token
        other = (await node.register("eve@example.org")).access_token
        assert await node.counts(known)
        await node.pool.close()
        assert await node.counts(known)
        with pytest.raises(Unavailable):
            await node.whose(other)
        await node.pool.open()
        assert await node.counts(other)


# ---- signing out ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["access", "refresh", "both"])
async def test_signing_out_ends_all_of_the_user_s_tokens_at_once(node: Node, by: str) -> None:
    async with node.running():
        here = await node.register()
        there = await node.login()
        stranger = await node.register("eve@example.org")
        for token in (here.access_token, there.access_token, stranger.access_token):
            assert await node.counts(token)
        await node.system.ask(
            IDENTITY,
            Logout(
                here.access_token if by in {"access", "both"} else None,
                here.refresh_token if by in {"refresh", "both"} else None,
            ),
        )
        assert not await node.counts(here.access_token)
        assert not await node.counts(there.access_token)
        for token in (here.refresh_token, there.refresh_token):
            with pytest.raises(Unauthenticated):
                await node.refresh(token)
        assert await node.counts(stranger.access_token)
        assert "security.token_revoked" in await node.audited(here.user.id)


async def test_a_refresh_token_signs_out_though_the_access_token_has_run_out(node: Node) -> None:
    async with node.running():
        signed_in = await node.register()
        node.clock.advance(1000)
        await node.system.ask(IDENTITY, Logout(signed_in.access_token, signed_in.refresh_token))
        with pytest.raises(Unauthenticated):
            await node.refresh(signed_in.refresh_token)


@pytest.mark.parametrize("tokens", [(None, None), ("forged", None), (None, "forged"), ("forged", "forged")])
async def test_who_proves_nothing_signs_nobody_out(node: Node, tokens: tuple[str | None, str | None]) -> None:
    async with node.running():
        signed_in = await node.register()
        with pytest.raises(Unauthenticated):
            await node.system.ask(IDENTITY, Logout(*tokens))
        assert await node.counts(signed_in.access_token)


async def test_a_spent_refresh_token_signs_nobody_out(node: Node) -> None:
    async with node.running():
        signed_in = await node.register()
        renewed = await node.refresh(signed_in.refresh_token)
        with pytest.raises(Unauthenticated):
            await node.system.ask(IDENTITY, Logout(None, signed_in.refresh_token))
        assert await node.counts(renewed.access_token)


async def test_who_signed_out_can_sign_in_again(node: Node) -> None:
    async with node.running():
        await node.system.ask(IDENTITY, Logout((await node.register()).access_token))
        assert await node.counts((await node.login()).access_token)


# ---- the internal key ----------------------------------------------------------------------------------------------


async def test_the_internal_key_is_known_by_its_value_only(node: Node) -> None:
    async with node.running():
        holder = await node.system.ask(IDENTITY, AuthenticateKey("the operator's key"))
        assert holder == KeyPrincipal("internal", ("all",))
        for key in ("", "the operator's ke", "the operator's key ", "\ud800"):
            with pytest.raises(Unauthenticated):
                await node.system.ask(IDENTITY, AuthenticateKey(key))


async def test_without_an_internal_key_nobody_is_the_operator(node: Node) -> None:
    async with node.running(Settings(internal_api_key="")):
        for key in ("", "anything"):
            with pytest.raises(Unavailable):
                await node.system.ask(IDENTITY, AuthenticateKey(key))


def test_no_message_shows_a_password_or_a_token() -> None:
    messages = [
        Register("a@b", "hidden-1", HOME),
        Login("a@b", "hidden-2", HOME),
        Refresh("hidden-3", HOME),
        Logout("hidden-4", "hidden-5"),
        Authenticate("hidden-6"),
        AuthenticateKey("hidden-7"),
        TokenPair("hidden-8", "hidden-9"),
    ]
    assert "hidden" not in repr(messages)
