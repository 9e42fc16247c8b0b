"""When a webhook's deliveries are tried, and what becomes of them: with a clock that jumps."""

import attrs
import msgspec
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.actors.webhooks.stage import HOME, MIRA, URL, Stage, staged
from understudy.actors.webhooks.messages import (
    UNCHANGED,
    WEBHOOKS,
    ChangeWebhook,
    DeleteWebhook,
    DeliveryStatus,
    DisabledReason,
    Owner,
    ReplayDelivery,
    TestWebhook,
    webhook_address,
)
from understudy.actors.webhooks.webhook import AT_ONCE, LEASE, MOST_FAILURES

PENDING, SUCCESS, FAILED = DeliveryStatus
OWNER = Owner(MIRA)


async def until_status(stage: Stage, webhook_id: str, status: DeliveryStatus) -> None:
    """Wait (in the clock that jumps) until the newest delivery is that."""
    while (await stage.store.webhooks.history(MIRA, webhook_id, limit=1))[0].status is not status:
        await trio.sleep(5)


async def test_a_fact_is_delivered_at_once_in_its_envelope(autojump_clock: MockClock) -> None:
    async with staged() as stage:
        mine = await stage.webhook()
        (event_id,) = await stage.happen("heartbeat.fired", heartbeatId="hbt_2", itemCount=2)
        await wait_all_tasks_blocked()
        (request,) = stage.network.got
        assert request.at == 0
        assert request.url == URL
        assert msgspec.json.decode(request.body) == {
            "id": event_id,
            "event": "heartbeat.fired",
            "timestamp": "2026-11-21T12:00:00.000Z",
            "workspaceId": HOME,
            "data": {"heartbeatId": "hbt_2", "itemCount": 2},
        }
        (delivery,) = await stage.history(mine)
        assert (delivery.status, delivery.attempts, delivery.response_status) == (SUCCESS, 1, 200)
        assert request.headers["x-astra-event"] == "heartbeat.fired"
        assert request.headers["x-astra-delivery"] == delivery.id
        assert request.headers["webhook-id"] == delivery.event_id == event_id
        assert request.headers["user-agent"].startswith("understudy")


async def test_tries_come_as_the_schedule_says_and_the_last_failure_is_a_dead_letter(
    autojump_clock: MockClock,
) -> None:
    async with staged(*[500] * 6) as stage:
        mine = await stage.webhook()
        await stage.happen()
        await until_status(stage, mine.id, FAILED)
        gaps = [later - sooner for sooner, later in zip(stage.network.times(), stage.network.times()[1:], strict=False)]
        # The longer ones are found by the sweeper, which looks every 5 s.
        for gap, scheduled in zip(gaps, [5, 30, 120, 600, 3600], strict=True):
            assert scheduled <= gap <= scheduled + (5.1 if scheduled > 60 else 0.1)
        (dead,) = await stage.history(mine)
        assert (dead.attempts, dead.error, dead.next_attempt_at) == (6, "answered 500", None)
        assert len({request.headers["webhook-id"] for request in stage.network.got}) == 1
        assert len({request.body for request in stage.network.got}) == 1
        await trio.sleep(4000)
        assert len(stage.network.got) == 6


async def test_waits_are_spread_by_a_fifth(autojump_clock: MockClock) -> None:
    async with staged(*[500] * 40, jitter=0.2) as stage:
        await stage.webhook()
        await stage.happen(times=40)
        await trio.sleep(7)
        waits = sorted(stage.network.times()[40:])
        assert len(waits) == 40
        assert 4.0 <= waits[0] < 4.4
        assert 5.6 < waits[-1] <= 6.1


async def test_a_try_that_ends_well_ends_the_delivery(autojump_clock: MockClock) -> None:
    async with staged(500, None, 204) as stage:
        mine = await stage.webhook()
        await stage.happen()
        await until_status(stage, mine.id, SUCCESS)
        assert stage.network.times() == [0, 5, 35]
        (delivery,) = await stage.history(mine)
        assert (delivery.attempts, delivery.response_status, delivery.error) == (3, 204, None)


@pytest.mark.parametrize("status", [301, 302, 308, 404, 429, 503])
async def test_what_is_no_2xx_is_a_failure(autojump_clock: MockClock, status: int) -> None:
    async with staged(status) as stage:
        mine = await stage.webhook()
        await stage.happen()
        await wait_all_tasks_blocked()
        (delivery,) = await stage.history(mine)
        assert (delivery.status, delivery.response_status) == (PENDING, status)


async def test_many_are_delivered_side_by_side_and_no_more_than_so_many(autojump_clock: MockClock) -> None:
    async with staged(latency=1.0) as stage:
        mine = await stage.webhook()
        await stage.happen(times=100)
        await trio.sleep(1 + 100 / AT_ONCE)
        assert stage.network.most_at_once == AT_ONCE
        assert {each.status for each in await stage.history(mine)} == {SUCCESS}
        assert len(stage.network.got) == 100


async def test_gone_disables_at_once(autojump_clock: MockClock) -> None:
    async with staged(410) as stage:
        mine = await stage.webhook()
        await stage.happen()
        await wait_all_tasks_blocked()
        assert stage.store.tables.webhooks[mine.id].disabled_reason is DisabledReason.GONE
        (delivery,) = await stage.history(mine)
        assert (delivery.status, delivery.attempts) == (FAILED, 1)
        await stage.happen()
        await trio.sleep(10_000)
        assert len(stage.network.got) == 1


async def test_fifty_failures_in_a_row_disable_and_tell_and_what_waits_goes_on_when_enabled(
    autojump_clock: MockClock,
) -> None:
    async with staged(*[500] * MOST_FAILURES) as stage:
        mine = await stage.webhook(url=f"{URL}?token=hidden")
        await stage.happen(times=MOST_FAILURES)
        await wait_all_tasks_blocked()
        stopped = stage.store.tables.webhooks[mine.id]
        assert (stopped.enabled, stopped.disabled_reason) == (False, DisabledReason.FAILURES)
        await trio.sleep(10_000)
        assert len(stage.network.got) == MOST_FAILURES
        (told,) = [out.item for out in stage.store.tables.outbox.values()]
        assert told.topic == "webhook.disabled"
        data = msgspec.json.decode(told.payload)["data"]
        assert data == {"webhookId": mine.id, "url": URL, "reason": "failures", "failures": MOST_FAILURES}
        assert [line.entry.event for line in stage.store.tables.audit] == ["webhook.created", "webhook.disabled"]
        enabled = await stage.system.ask(WEBHOOKS, ChangeWebhook(OWNER, mine.id, enabled=True))
        assert (enabled.failures, enabled.disabled_reason) == (0, None)
        await wait_all_tasks_blocked()
        assert {each.status for each in await stage.history(mine)} == {SUCCESS}


async def test_what_a_dead_node_had_taken_is_tried_again_when_its_lease_ends(autojump_clock: MockClock) -> None:
    async with staged() as stage:
        mine = await stage.webhook()
        (event_id,) = await stage.happen()
        await wait_all_tasks_blocked()
        sent = next(iter(stage.store.tables.deliveries.values()))
        # As if it had been taken, perhaps sent, and its result lost with the node.
        sent.status, sent.next_attempt_at = PENDING, stage.now() + LEASE
        await trio.sleep(LEASE.total_seconds() + 5)
        assert [request.headers["webhook-id"] for request in stage.network.got] == [event_id] * 2
        assert (await stage.history(mine))[0].status is SUCCESS


async def test_a_slow_receiver_keeps_its_lease_and_gets_it_once(autojump_clock: MockClock) -> None:
    async with staged(latency=9.5) as stage:
        mine = await stage.webhook()
        await stage.happen()
        await trio.sleep(9)
        due = (await stage.history(mine))[0].next_attempt_at
        assert due is not None
        assert due > stage.now()
        await trio.sleep(20)
        assert len(stage.network.got) == 1
        assert (await stage.history(mine))[0].status is SUCCESS


async def test_killed_in_the_middle_it_is_delivered_again_and_the_late_result_is_void(
    autojump_clock: MockClock,
) -> None:
    async with staged(latency=3.0) as stage:
        mine = await stage.webhook()
        await stage.happen(times=3)
        await trio.sleep(1)
        await stage.system.kill(webhook_address(mine.id))
        await trio.sleep(30)
        assert len(stage.network.got) == 6
        assert [each.status for each in await stage.history(mine)] == [SUCCESS] * 3
        assert {each.attempts for each in await stage.history(mine)} == {1}


async def test_told_to_stop_it_lets_tries_end_and_puts_back_what_does_not(autojump_clock: MockClock) -> None:
    for latency, expected in ((2.0, SUCCESS), (8.0, PENDING)):
        async with staged(latency=latency) as stage:
            mine = await stage.webhook()
            await stage.happen()
            await trio.sleep(0.1)
            began = trio.current_time()
            await stage.system.stop()
            assert trio.current_time() - began < 4
            (delivery,) = await stage.history(mine)
            assert delivery.status is expected
            assert expected is SUCCESS or delivery.next_attempt_at <= stage.now()


async def test_an_actor_with_nothing_to_do_leaves_and_is_woken_by_the_next_fact(autojump_clock: MockClock) -> None:
    async with staged(500, 500, 500) as stage:
        mine = await stage.webhook()
        address = webhook_address(mine.id)
        assert stage.system.whereis(address) is None
        await stage.happen()
        await trio.sleep(20)
        assert stage.system.whereis(address) is not None, "the next try is near"
        await trio.sleep(80)
        assert stage.system.whereis(address) is None, "the next try is far"
        await trio.sleep(120)
        assert (await stage.history(mine))[0].status is SUCCESS
        await trio.sleep(60)
        assert stage.system.whereis(address) is None
        await stage.happen()
        await wait_all_tasks_blocked()
        assert len(stage.network.got) == 5


async def test_a_database_that_is_away_delays_and_loses_nothing(autojump_clock: MockClock) -> None:
    async with staged(latency=1.0) as stage:
        mine = await stage.webhook()
        await stage.happen(times=2)
        await trio.sleep(0.5)
        stage.store.tables.available = False
        await trio.sleep(4)
        stage.store.tables.available = True
        await trio.sleep(15)
        assert [each.status for each in await stage.history(mine)] == [SUCCESS] * 2


async def test_a_try_that_outlasts_an_outage_of_the_database_is_not_made_twice(autojump_clock: MockClock) -> None:
    async with staged(latency=12.0) as stage:
        mine = await stage.webhook()
        await stage.happen()
        await trio.sleep(1)
        stage.store.tables.available = False
        await trio.sleep(8)
        stage.store.tables.available = True
        await trio.sleep(20)
        assert len(stage.network.got) == 1
        assert (await stage.history(mine))[0].status is SUCCESS


async def test_two_nodes_share_a_queue_and_send_nothing_twice(autojump_clock: MockClock) -> None:
    async with staged(latency=9.0) as stage, stage.another_node():
        mine = await stage.webhook()
        await stage.happen(times=20)
        await trio.sleep(60)
        assert len(stage.network.got) == 20
        assert stage.network.most_at_once > AT_ONCE, "both took part"
        assert {each.status for each in await stage.history(mine)} == {SUCCESS}


async def test_a_paused_webhook_gets_nothing_and_a_deleted_one_nothing_more(autojump_clock: MockClock) -> None:
    async with staged(500, 500) as stage:
        mine = await stage.webhook()
        await stage.happen()
        await wait_all_tasks_blocked()
        await stage.system.ask(WEBHOOKS, ChangeWebhook(OWNER, mine.id, enabled=False))
        await trio.sleep(100)
        assert len(stage.network.got) == 1
        await stage.system.ask(WEBHOOKS, ChangeWebhook(OWNER, mine.id, enabled=True))
        await wait_all_tasks_blocked()
        assert len(stage.network.got) == 2
        await stage.system.ask(WEBHOOKS, DeleteWebhook(OWNER, mine.id))
        await trio.sleep(10_000)
        assert len(stage.network.got) == 2
        assert stage.store.tables.deliveries == {}


async def test_a_replay_is_the_same_delivery_again(autojump_clock: MockClock) -> None:
    async with staged(410, 500) as stage:
        mine = await stage.webhook()
        await stage.happen()
        await wait_all_tasks_blocked()
        await stage.system.ask(WEBHOOKS, ChangeWebhook(OWNER, mine.id, enabled=True))
        (dead,) = await stage.history(mine)
        replayed = await stage.system.ask(WEBHOOKS, ReplayDelivery(OWNER, mine.id, dead.id))
        assert replayed.status is PENDING
        await until_status(stage, mine.id, SUCCESS)
        assert stage.network.times() == [0, 0, 5]
        first, *others = [(request.body, request.headers["webhook-id"]) for request in stage.network.got]
        assert others == [first] * 2


async def test_a_test_is_one_try_of_its_own(autojump_clock: MockClock) -> None:
    async with staged(500, latency=0.25) as stage:
        mine = await stage.webhook(enabled=False)
        tested = await stage.system.ask(WEBHOOKS, TestWebhook(OWNER, mine.id))
        assert (tested.delivered, tested.status, tested.duration_ms, tested.error) == (False, 500, 250, "answered 500")
        assert (await stage.system.ask(WEBHOOKS, TestWebhook(OWNER, mine.id))).delivered
        assert [(each.event, each.status) for each in await stage.history(mine)] == [
            ("webhook.test", SUCCESS),
            ("webhook.test", FAILED),
        ]
        await trio.sleep(100)
        assert len(stage.network.got) == 2
        assert attrs.asdict(stage.store.tables.webhooks[mine.id])["failures"] == 0


async def test_nothing_in_a_change_is_nothing_changed(autojump_clock: MockClock) -> None:
    async with staged() as stage:
        mine = await stage.webhook(description="what for")
        assert ChangeWebhook(OWNER, mine.id).description is UNCHANGED
        changed = await stage.system.ask(WEBHOOKS, ChangeWebhook(OWNER, mine.id))
        assert changed == mine
        cleared = await stage.system.ask(WEBHOOKS, ChangeWebhook(OWNER, mine.id, description=None))
        assert cleared == attrs.evolve(mine, description=None)
