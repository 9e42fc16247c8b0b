"""Refresh tokens: spent once, the same pair for a moment, then an alarm."""

import jwt
import pytest
import trio

from tests.support.identity import SECRET, IdentityNode
from understudy.actors.errors import TokenReplay, Unauthenticated
from understudy.actors.identity.messages import (
    TokenPair,
)


async def test_a_refresh_gives_a_new_pair_that_works(node: IdentityNode) -> None:
    async with node.running():
        first = await node.register()
        second = await node.refresh(first.refresh_token)
        assert second.refresh_token != first.refresh_token
        assert await node.whose(second.access_token) == first.user.id
        third = await node.refresh(second.refresh_token)
        assert await node.whose(third.access_token) == first.user.id


async def test_refreshes_that_race_all_get_the_same_pair(node: IdentityNode) -> None:
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


async def test_the_same_pair_is_given_again_after_a_restart_within_the_grace(node: IdentityNode) -> None:
    async with node.running():
        token = (await node.register()).refresh_token
        first = await node.refresh(token)
    node.clock.advance(9)
    async with node.running():
        assert await node.refresh(token) == first


async def test_a_replayed_refresh_token_ends_its_family_and_raises_an_alarm(node: IdentityNode) -> None:
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


async def test_a_replay_leaves_the_user_s_other_sign_ins_alone(node: IdentityNode) -> None:
    async with node.running():
        stolen = await node.register()
        other = await node.login()
        await node.refresh(stolen.refresh_token)
        node.clock.advance(11)
        with pytest.raises(TokenReplay):
            await node.refresh(stolen.refresh_token)
        renewed = await node.refresh(other.refresh_token)
        assert await node.counts(renewed.access_token)


async def test_an_expired_refresh_token_is_refused(node: IdentityNode) -> None:
    async with node.running():
        token = (await node.register()).refresh_token
        node.clock.advance(604_800 + 31)
        with pytest.raises(Unauthenticated, match="expired"):
            await node.refresh(token)


async def test_an_access_token_does_not_refresh_and_a_refresh_token_gives_no_access(node: IdentityNode) -> None:
    async with node.running():
        signed_in = await node.register()
        with pytest.raises(Unauthenticated):
            await node.refresh(signed_in.access_token)
        with pytest.raises(Unauthenticated):
            await node.whose(signed_in.refresh_token)


async def test_a_refresh_token_that_was_never_given_out_is_refused_though_well_signed(node: IdentityNode) -> None:
    async with node.running():
        token = (await node.register()).refresh_token
        claims = jwt.decode(token, SECRET, algorithms=["HS256"], options={"verify_exp": False, "verify_iat": False})
        made_up = jwt.encode({**claims, "jti": "ref_made_up"}, SECRET, algorithm="HS256")
        with pytest.raises(Unauthenticated):
            await node.refresh(made_up)
