"""Registering and signing in, as a user meets them."""

import argon2
import pytest
import trio

from tests.support.identity import HOME, IdentityNode
from understudy.actors.errors import Conflict, Invalid, Unauthenticated
from understudy.actors.identity.messages import (
    IDENTITY,
    Client,
    Register,
)


async def test_who_registers_is_signed_in_and_owns_a_workspace(node: IdentityNode) -> None:
    async with node.running():
        signed_in = await node.register("Mira@Example.org")
        assert signed_in.user.email == "mira@example.org"
        assert await node.whose(signed_in.access_token) == signed_in.user.id
        (membership,) = await node.store.workspaces.memberships(signed_in.user.id)
        assert (membership.workspace.id, membership.role) == (signed_in.workspace_id, "owner")


async def test_an_email_is_taken_in_any_spelling(node: IdentityNode) -> None:
    async with node.running():
        await node.register("mira@example.org")
        with pytest.raises(Conflict):
            await node.register("MIRA@example.ORG")


async def test_of_many_who_register_one_email_at_once_one_gets_it(node: IdentityNode) -> None:
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


async def test_a_registration_that_is_wrong_changes_nothing(node: IdentityNode) -> None:
    async with node.running():
        with pytest.raises(Invalid):
            await node.system.ask(IDENTITY, Register("nobody", "12345", HOME))
        assert await node.store.users.by_email("nobody") is None


async def test_the_right_password_signs_in_whatever_the_email_s_case(node: IdentityNode) -> None:
    async with node.running():
        registered = await node.register()
        signed_in = await node.login(email="MIRA@example.org")
        assert signed_in.user == registered.user
        assert signed_in.workspace_id == registered.workspace_id
        assert await node.whose(signed_in.access_token) == registered.user.id


async def test_a_wrong_password_and_an_unknown_user_are_told_the_same(node: IdentityNode) -> None:
    async with node.running():
        await node.register()
        said = set()
        for email in ("mira@example.org", "nobody@example.org", "no email at all", "x" * 5000):
            with pytest.raises(Unauthenticated) as info:
                await node.login("wrong", email, Client(ip=email[:20]))
            said.add(str(info.value))
        assert len(said) == 1


async def test_a_password_that_only_begins_right_is_wrong(node: IdentityNode) -> None:
    async with node.running():
        await node.system.ask(IDENTITY, Register("mira@example.org", "x" * 128, HOME))
        with pytest.raises(Unauthenticated):
            await node.login("x" * 129)
        await node.login("x" * 128)


async def test_a_hash_with_old_parameters_is_made_anew_at_the_next_sign_in(node: IdentityNode) -> None:
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
