"""Whose token or key this is, and how it stops counting."""

import jwt
import pytest

from tests.support.identity import HOME, SECRET, IdentityNode, Settings
from understudy.actors.errors import Unauthenticated, Unavailable
from understudy.actors.identity.messages import (
    IDENTITY,
    Authenticate,
    AuthenticateKey,
    KeyPrincipal,
    KeyScope,
    Login,
    Logout,
    Refresh,
    Register,
    TokenPair,
)


async def test_forged_expired_and_unsigned_tokens_are_refused_and_the_good_one_still_counts(node: IdentityNode) -> None:
    async with node.running():
        token = (await node.register()).access_token
        claims = jwt.decode(token, options={"verify_signature": False})
        bad = [
            "",
            "not a token",
            token + "x",
            token[:-2],
            jwt.encode(claims, "somebody else's secret of sufficient length", algorithm="HS256"),
            jwt.encode(claims, "", algorithm="none"),
            jwt.encode({**claims, "exp": claims["iat"] - 60}, SECRET, algorithm="HS256"),
            jwt.encode({**claims, "uid": "usr_else", "sub": "usr_else"}, SECRET, algorithm="HS256"),
        ]
        for forged in bad:
            assert not await node.counts(forged)
        assert await node.counts(token)


async def test_a_token_that_was_known_expires_all_the_same(node: IdentityNode) -> None:
    async with node.running():
        token = (await node.register()).access_token
        assert await node.counts(token)
        node.clock.advance(900 + 31)
        with pytest.raises(Unauthenticated, match="expired"):
            await node.whose(token)


async def test_tokens_of_the_previous_secret_count_until_it_is_dropped(node: IdentityNode) -> None:
    async with node.running():
        signed_in = await node.register()
    new = "another secret, just as long as the one before it"
    async with node.running(Settings(jwt_secret=new, jwt_secret_prev=SECRET)):
        assert await node.counts(signed_in.access_token)
        renewed = await node.refresh(signed_in.refresh_token)
    async with node.running(Settings(jwt_secret=new)):
        assert not await node.counts(signed_in.access_token)
        assert await node.counts(renewed.access_token)


async def test_while_the_database_is_away_a_known_token_is_answered_and_an_unknown_one_is_not(
    node: IdentityNode,
) -> None:
    async with node.running():
        known = (await node.register()).access_token
        other = (await node.register("eve@example.org")).access_token
        assert await node.counts(known)
        node.pool.timeout = 0.5
        await node.pool.close()
        assert await node.counts(known)
        with pytest.raises(Unavailable):
            await node.whose(other)
        node.pool.timeout = 5.0
        await node.pool.open()
        assert await node.counts(other)


@pytest.mark.parametrize("by", ["access", "refresh", "both"])
async def test_signing_out_ends_all_of_the_user_s_tokens_at_once(node: IdentityNode, by: str) -> None:
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


async def test_a_refresh_token_signs_out_though_the_access_token_has_run_out(node: IdentityNode) -> None:
    async with node.running():
        signed_in = await node.register()
        node.clock.advance(1000)
        await node.system.ask(IDENTITY, Logout(signed_in.access_token, signed_in.refresh_token))
        with pytest.raises(Unauthenticated):
            await node.refresh(signed_in.refresh_token)


@pytest.mark.parametrize("tokens", [(None, None), ("forged", None), (None, "forged"), ("forged", "forged")])
async def test_who_proves_nothing_signs_nobody_out(node: IdentityNode, tokens: tuple[str | None, str | None]) -> None:
    async with node.running():
        signed_in = await node.register()
        with pytest.raises(Unauthenticated):
            await node.system.ask(IDENTITY, Logout(*tokens))
        assert await node.counts(signed_in.access_token)


async def test_a_spent_refresh_token_signs_nobody_out(node: IdentityNode) -> None:
    async with node.running():
        signed_in = await node.register()
        renewed = await node.refresh(signed_in.refresh_token)
        with pytest.raises(Unauthenticated):
            await node.system.ask(IDENTITY, Logout(None, signed_in.refresh_token))
        assert await node.counts(renewed.access_token)


async def test_who_signed_out_can_sign_in_again(node: IdentityNode) -> None:
    async with node.running():
        await node.system.ask(IDENTITY, Logout((await node.register()).access_token))
        assert await node.counts((await node.login()).access_token)


async def test_the_internal_key_is_known_by_its_value_only(node: IdentityNode) -> None:
    async with node.running():
        holder = await node.system.ask(IDENTITY, AuthenticateKey("the operator's key"))
        assert holder == KeyPrincipal("internal", (KeyScope.ALL,))
        for key in ("", "the operator's ke", "the operator's key ", "\ud800"):
            with pytest.raises(Unauthenticated):
                await node.system.ask(IDENTITY, AuthenticateKey(key))


async def test_without_an_internal_key_nobody_is_the_operator(node: IdentityNode) -> None:
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
