"""Internal keys: made, used, limited to their scopes, run out and revoked."""

from datetime import timedelta
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from tests.support.identity import IdentityNode, Settings
from understudy.actors.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated, Unavailable
from understudy.actors.identity.keys import PREFIX, KeyRing
from understudy.actors.identity.messages import (
    IDENTITY,
    AuthenticateKey,
    CreateKey,
    KeyPrincipal,
    KeyScope,
    ListKeys,
    NewKey,
    RevokeKey,
)
from understudy.storage.memory import MemoryStore
from understudy.storage.oversight import AuditFilter
from understudy.storage.pool import Pool

AUDIT_ALL = AuditFilter()
OPERATOR = KeyPrincipal("internal", (KeyScope.ALL,))


@pytest.fixture
def node(pool: Pool) -> IdentityNode:
    return IdentityNode(pool)


async def make(node: IdentityNode, name: str = "ci", *scopes: str, **more: Any) -> NewKey:
    message = CreateKey(OPERATOR, name, scopes or (KeyScope.AUDIT,))
    return await node.system.ask(IDENTITY, attrs.evolve(message, **more))


async def test_a_key_opens_what_it_is_good_for_until_it_is_revoked(node: IdentityNode) -> None:
    async with node.running():
        made = await make(node, "ci", KeyScope.AUDIT, KeyScope.METRICS)
        assert made.secret.startswith(PREFIX)
        assert made.secret not in repr(made)
        for _ in range(2):  # read, and remembered
            holder = await node.system.ask(IDENTITY, AuthenticateKey(made.secret))
            assert (holder.name, holder.id) == ("ci", made.key.id)
            assert (holder.allows("audit"), holder.allows("metrics"), holder.allows("*")) == (True, True, False)
        assert made.key.id is not None
        await node.system.ask(IDENTITY, RevokeKey(OPERATOR, made.key.id, "req-9"))
        with pytest.raises(Unauthenticated):
            await node.system.ask(IDENTITY, AuthenticateKey(made.secret))
        with trio.fail_after(30):  # the last use is noted beside the answer
            while (await node.system.ask(IDENTITY, ListKeys()))[1].last_used_at is None:
                await trio.sleep(0.01)
        seeded, listed = await node.system.ask(IDENTITY, ListKeys())
        assert (seeded.id, seeded.name, seeded.scopes) == (None, "internal", ("*",))
        assert (listed.id, listed.revoked_at) == (made.key.id, node.clock())
        assert listed.last_used_at == node.clock()
        page, _ = await node.store.audit.list(AUDIT_ALL)
        assert [(line.entry.event, line.entry.metadata["of"]) for line in page] == [
            ("key.revoked", "ci"),
            ("key.created", "ci"),
        ]
        assert made.secret not in str(page)


async def test_a_key_runs_out_though_it_is_remembered(node: IdentityNode) -> None:
    async with node.running():
        made = await make(node, expires_at=node.clock() + timedelta(minutes=1))
        await node.system.ask(IDENTITY, AuthenticateKey(made.secret))
        node.clock.advance(60)
        with pytest.raises(Unauthenticated):
            await node.system.ask(IDENTITY, AuthenticateKey(made.secret))
        with pytest.raises(Invalid) as refused:
            await make(node, "late", expires_at=node.clock())
        assert refused.value.details[0].path == "expiresAt"


async def test_nobody_hands_on_or_takes_away_more_than_they_have(node: IdentityNode) -> None:
    async with node.running():
        strong = await make(node, "strong", KeyScope.ALL)
        writer = (await make(node, "writer", KeyScope.ADMIN_WRITE, KeyScope.AUDIT)).key
        by = KeyPrincipal(writer.name, writer.scopes, writer.id)
        assert (await node.system.ask(IDENTITY, CreateKey(by, "less", (KeyScope.AUDIT,)))).secret
        for scopes in ((KeyScope.ALL,), (KeyScope.AUDIT, KeyScope.AUTONOMOUS)):
            with pytest.raises(Forbidden):
                await node.system.ask(IDENTITY, CreateKey(by, "more", scopes))
        assert strong.key.id is not None
        with pytest.raises(Forbidden):
            await node.system.ask(IDENTITY, RevokeKey(by, strong.key.id))
        with pytest.raises(NotFound):
            await node.system.ask(IDENTITY, RevokeKey(OPERATOR, "key_nothing"))
        with pytest.raises(Conflict, match="name"):
            await make(node, "strong")


async def test_a_wrong_key_is_nobodys_and_without_any_key_there_is_no_operator(node: IdentityNode) -> None:
    async with node.running(Settings(internal_api_key="")):
        with pytest.raises(Unavailable):
            await node.system.ask(IDENTITY, AuthenticateKey(f"{PREFIX}guess"))
        await make(node)
        for guess in (f"{PREFIX}guess", "guess", "", PREFIX + "\ud800"):
            with pytest.raises(Unauthenticated):
                await node.system.ask(IDENTITY, AuthenticateKey(guess))


async def test_what_another_node_revoked_counts_for_five_seconds_at_most(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    clock = store.tables.now
    with trio.fail_after(600):
        ours, theirs = (KeyRing("", store.keys, clock) for _ in range(2))
        made = await ours.create(CreateKey(OPERATOR, "ci", (KeyScope.AUDIT,)))
        assert (await ours.look_up(made.secret)).name == "ci"
        assert made.key.id is not None
        await theirs.revoke(RevokeKey(OPERATOR, made.key.id))
        assert ours.at_hand(made.secret) is not None
        await trio.sleep(5.1)
        assert ours.at_hand(made.secret) is None
        with pytest.raises(Unavailable):
            await ours.look_up(made.secret)


async def test_the_last_use_is_noted_once_a_minute(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    holder = KeyPrincipal("ci", (), "key_1")
    with trio.fail_after(600):
        ring = KeyRing("", store.keys, store.tables.now)
        assert [ring.due(holder), ring.due(holder)] == [True, False]
        await trio.sleep(60)
        assert ring.due(holder)
        assert not ring.due(OPERATOR)
        store.tables.available = False
        await ring.note("key_1")
