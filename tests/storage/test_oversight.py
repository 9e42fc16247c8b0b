"""What operators have: keys, the audit log, a look across tenants. In memory and on PostgreSQL."""

import hashlib
from datetime import timedelta
from typing import Any

import attrs
import pytest

from tests.support.database import TestServer
from tests.support.storage import START, Store, at, closed, opened
from understudy.storage.audit import AuditRepository
from understudy.storage.errors import StoreConflict
from understudy.storage.keys import MOST_KEYS
from understudy.storage.oversight import AuditFilter, InternalKey, Used
from understudy.storage.pool import Pool
from understudy.storage.records import Agent, AgentVersion, AuditEntry, Usage, new_id
from understudy.storage.spending import Charge


def key(name: str, secret: str = "", **more: Any) -> InternalKey:
    digest = hashlib.sha256((secret or new_id("secret")).encode()).digest()
    made = InternalKey(new_id("key"), name, digest, ("audit", "metrics"), "internal", START)
    return attrs.evolve(made, **more)


def line(event: str = "key.created", second: float = 0, **more: Any) -> AuditEntry:
    return AuditEntry(new_id("aud"), event, "info", at(second), **more)


async def test_a_key_is_found_by_its_digest_until_it_is_revoked_or_has_run_out(store: Store) -> None:
    keys = store.repositories.keys
    assert await keys.any(at(0)) is False
    ci = key("ci", "s3cret", expires_at=at(60))
    for _ in range(2):
        await keys.add(ci, line())
    found = await keys.find(hashlib.sha256(b"s3cret").digest())
    assert found == ci
    assert await keys.find(hashlib.sha256(b"other").digest()) is None
    assert (ci.counts(at(59)), ci.counts(at(60))) == (True, False)
    assert (await keys.any(at(59)), await keys.any(at(60))) == (True, False)
    await keys.used(ci.id, at(9))
    await keys.used(ci.id, at(5))
    for moment in (20, 30):
        revoked = await keys.revoke(ci.id, line("key.revoked"), now=at(moment))
        assert revoked is not None
        assert (revoked.revoked_at, revoked.last_used_at, revoked.counts(at(21))) == (at(20), at(9), False)
    assert await keys.revoke("key_nothing", line(), now=at(1)) is None
    assert await keys.any(at(1)) is False


async def test_a_key_that_has_run_out_leaves_its_name_and_its_place_to_others(store: Store) -> None:
    keys = store.repositories.keys
    for number in range(MOST_KEYS):
        await keys.add(key(f"key {number}", expires_at=at(10)), line())
    for name, what in (("key 0", "number of keys"), ("other", "number of keys")):
        with pytest.raises(StoreConflict, match=what):
            await keys.add(key(name, created_at=at(9)), line())
    again = key("key 0", created_at=at(10))
    await keys.add(again, line())
    listed = await keys.list()
    assert listed[0] == again
    assert {each.revoked_at for each in listed[1:]} == {at(10)}


async def test_names_are_of_one_counting_key_each_and_keys_are_not_without_number(store: Store) -> None:
    keys = store.repositories.keys
    first = key("ci")
    await keys.add(first, line())
    with pytest.raises(StoreConflict) as taken:
        await keys.add(key("ci"), line())
    assert taken.value.what == "key name"
    await keys.revoke(first.id, line(), now=at(1))
    again = key("ci", created_at=at(2))
    await keys.add(again, line())
    assert [each.id for each in await keys.list()] == [again.id, first.id]
    for number in range(MOST_KEYS - 1):
        await keys.add(key(f"key {number}"), line())
    with pytest.raises(StoreConflict) as full:
        await keys.add(key("one more"), line())
    assert full.value.what == "number of keys"


async def test_the_audit_log_is_read_in_pages_and_walked_by_place(store: Store) -> None:
    audit = store.repositories.audit
    events = ("a", "b", "a", "b", "a")
    for second, event in enumerate(events):
        await audit.append(line(event, second, uid="usr_1" if second % 2 else "usr_2", workspace_id="ws_1"))
    await audit.append(line("a", 9, workspace_id="ws_2"))
    page, total = await audit.list(AuditFilter(event="a"), limit=2, offset=1)
    assert ([found.position for found in page], total) == ([5, 3], 4)
    assert page[0].hash
    mine = AuditFilter(workspace_id="ws_1", since=at(1), until=at(3))
    assert [found.position for found in (await audit.list(mine))[0]] == [4, 3, 2]
    assert [found.position for found in await audit.scan(AuditFilter(uid="usr_1"), after=2)] == [4]
    assert [found.position for found in await audit.scan(AuditFilter(), after=3, limit=2)] == [4, 5]
    assert await audit.end() == 6
    third = await audit.at(3)
    assert third is not None
    assert (third.entry.event, await audit.at(7)) == ("a", None)


async def test_a_line_that_was_changed_or_taken_out_is_named(pg_server: TestServer) -> None:
    with pg_server.database() as dsn:
        pool = Pool(dsn, min_size=0, max_size=2)
        await pool.open()
        try:
            audit = AuditRepository(pool)
            await audit.append(*(line("login", second) for second in range(5)))
            assert (await audit.verify()).broken_at is None

            async def tamper(statement: bytes) -> int | None:
                async with pool.connection() as connection:
                    await connection.execute(b"SET session_replication_role = replica")
                    await connection.execute(statement)
                    await connection.execute(b"RESET session_replication_role")
                return (await audit.verify()).broken_at

            assert await tamper(b"UPDATE audit_log SET event = 'logout' WHERE position = 4") == 4
            assert await tamper(b"DELETE FROM audit_log WHERE position = 2") == 3
            assert await tamper(b"DELETE FROM audit_log WHERE position > 2") == 2, "the newest are missing"
        finally:
            await pool.close()


async def test_agents_of_all_workspaces_are_one_list(store: Store) -> None:
    _, mine = await store.user("a@example.org")
    _, yours = await store.user("b@example.org")

    def agent(workspace_id: str, name: str) -> Agent:
        return Agent(new_id("agc"), workspace_id, name, AgentVersion(new_id("agv"), 1, {}, START), START, START)

    first, second = sorted((mine.id, yours.id))
    for workspace_id, name in ((second, "x"), (first, "z"), (first, "y")):
        await store.repositories.agents.create(agent(workspace_id, name), line())
    await store.repositories.agents.delete(first, "z", line(), now=START)
    page, total = await store.repositories.admin.agents(limit=1, offset=1)
    assert ([(found.workspace_id, found.id) for found in page], total) == ([(second, "x")], 2)


async def test_what_a_user_used_is_added_up_agent_by_agent(store: Store) -> None:
    session = await store.session()

    async def turn(second: float, cost: int | None) -> None:
        name = new_id("trn")
        await store.write(opened(session, name))
        charge = Charge("openai", "m", Usage(10, 2), at(second), cost)
        await store.write(closed(session, name, charges=(charge,)))

    await turn(1, 700)
    await turn(2, None)
    await turn(99, 5)
    usage = await store.repositories.admin.usage(session.key.uid, START, START + timedelta(seconds=99))
    assert usage.total == Used(Usage(20, 4), 700)
    assert usage.by_agent == {"chad": Used(Usage(20, 4), 700)}
    assert (await store.repositories.admin.usage("usr_nobody", START, at(999))).by_agent == {}
