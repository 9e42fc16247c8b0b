"""What waits and what is late, counted in a real database."""

from datetime import timedelta

from tests.support.storage import START, Store, at, message, opened
from understudy.storage.journal import Journal
from understudy.storage.oversight import Backlog
from understudy.storage.pool import Pool
from understudy.storage.probe import Probe
from understudy.storage.repositories import Repositories

LATER = START + timedelta(hours=1)
"""When it is looked at: what began with the tests has waited for an hour."""


async def test_an_empty_node_is_behind_with_nothing(pool: Pool) -> None:
    probe = Probe(pool)
    assert await probe.backlog(LATER) == Backlog()
    assert await probe.drift() == 0
    assert await probe.guarded()


async def test_each_thing_that_is_behind_is_counted_by_itself(pool: Pool) -> None:
    store = Store(Repositories.on(pool), Journal(pool))
    session = await store.session()
    uid, workspace_id = session.key.uid, session.key.workspace_id
    job = (
        "INSERT INTO jobs"
        " (id, workspace_id, uid, type, payload, priority, max_retries, timeout_seconds, run_at, created_at"
    )
    async with pool.connection() as connection:
        for statement in (
            f"{job}) VALUES ('job_1', %(w)s, %(u)s, 'noop', '{{}}', 0, 0, 1, %(start)s, %(start)s)",
            f"{job}) VALUES ('job_2', %(w)s, %(u)s, 'noop', '{{}}', 0, 0, 1, %(later)s + '1 h', %(start)s)",
            f"{job}, status, leased_until)"
            " VALUES ('job_3', %(w)s, %(u)s, 'noop', '{}', 0, 0, 1, %(start)s, %(start)s, 'running', %(start)s)",
            f"{job}, status, finished_at)"
            " VALUES ('job_4', %(w)s, %(u)s, 'noop', '{}', 0, 0, 1, %(start)s, %(start)s, 'failed', %(later)s)",
            "INSERT INTO webhooks (id, uid, url, events, enabled, disabled_reason, secret, created_at, updated_at)"
            " VALUES ('whk_1', %(u)s, 'https://example.org', '{*}', false, 'gone', 's', %(start)s, %(start)s)",
            "INSERT INTO webhook_deliveries (id, queue, webhook_id, uid, event_id, event, body, status, created_at)"
            " VALUES ('dlv_1', 'q', 'whk_1', %(u)s, 'evt_1', 'e', '{}', 'failed', %(later)s),"
            " ('dlv_2', 'q', 'whk_1', %(u)s, 'evt_2', 'e', '{}', 'success', %(later)s),"
            " ('dlv_3', 'q', 'whk_1', %(u)s, 'evt_3', 'e', '{}', 'pending', %(later)s)",
            "INSERT INTO heartbeat_configs (id, workspace_id, uid, document, interval_seconds, enabled, next_run_at,"
            " created_at, updated_at) VALUES ('hbt_1', %(w)s, %(u)s, '{}', 300, true, %(start)s, %(start)s, %(start)s),"
            " ('hbt_2', %(w)s, %(u)s, '{}', 300, false, %(start)s, %(start)s, %(start)s)",
            "INSERT INTO agent_health (workspace_id, agent_id, failures, last_error, failed_at, paused_until) VALUES"
            " (%(w)s, 'a', 5, 'e', %(start)s, %(later)s + interval '1 h'), (%(w)s, 'b', 5, 'e', %(start)s, %(later)s)",
            "INSERT INTO job_schedule (name, due)"
            " VALUES ('nightly', %(start)s), ('weekly', %(start)s - interval '1 d')",
            "INSERT INTO outbox (id, topic, payload, created_at) VALUES ('evt_9', 't', '', %(start)s),"
            " ('evt_8', 't', '', %(later)s)",
        ):
            named = {"u": uid, "w": workspace_id, "start": START, "later": LATER}
            await connection.execute(statement.encode(), named)
    found = await Probe(pool).backlog(LATER)
    assert found == Backlog(
        jobs_waiting=1,
        oldest_wait=3600.0,
        jobs_stuck=1,
        jobs_failed=1,
        deliveries=2,
        deliveries_failed=1,
        webhooks_disabled=1,
        heartbeats_late=1,
        facts_waiting=1,
        agents_paused=1,
        scheduled_at=START,
    )


async def test_deliveries_are_late_from_when_they_are_due_until_they_are_taken(pool: Pool) -> None:
    store = Store(Repositories.on(pool), Journal(pool))
    mira, _ = await store.user()
    async with pool.connection() as connection:
        await connection.execute(
            b"INSERT INTO webhooks (id, uid, url, events, enabled, secret, created_at, updated_at)"
            b" VALUES ('whk_1', %(u)s, 'https://example.org', '{*}', true, 's', %(start)s, %(start)s)",
            {"u": mira.id, "start": START},
        )
        await connection.execute(
            b"INSERT INTO webhook_deliveries"
            b" (id, queue, webhook_id, uid, event_id, event, body, status, next_attempt_at, created_at)"
            b" SELECT 'dlv_' || n, 'whk_1', 'whk_1', %(u)s, 'evt_' || n, 'e', '{}', 'pending',"
            b" %(start)s::timestamptz + n * interval '10 min', %(start)s FROM generate_series(1, 9) n",
            {"u": mira.id, "start": START},
        )
    probe = Probe(pool)
    assert await probe.late_deliveries(START) == (0, 0.0)
    assert await probe.late_deliveries(LATER) == (6, 3000.0)
    assert len(await store.repositories.deliveries.claim("whk_1", 5, now=LATER, until=LATER + timedelta(hours=1))) == 5
    assert await probe.late_deliveries(LATER) == (1, 0.0)


async def test_messages_that_are_indexed_by_other_words_are_counted(pool: Pool) -> None:
    store = Store(Repositories.on(pool), Journal(pool))
    session = await store.session()
    await store.write(opened(session, message=message(session, None, content="herons", created_at=at(1))))
    probe = Probe(pool)
    assert await probe.drift() == 0
    async with pool.connection() as connection:
        await connection.execute(b"ALTER TABLE session_messages ALTER COLUMN words DROP EXPRESSION")
        await connection.execute(b"UPDATE session_messages SET words = to_tsvector('simple', 'pelicans')")
    assert await probe.drift() == 1
