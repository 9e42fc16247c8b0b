"""What is promised of webhooks and of the queues of their deliveries, whoever keeps the rows."""

from datetime import timedelta
from typing import Any

import attrs
import pytest

from tests.support.storage import START, Store, at, closed, opened
from understudy.storage.deliveries import (
    Attempted,
    Callback,
    Claimed,
    Delivery,
    DeliveryStatus,
    DisabledReason,
    Happening,
    Webhook,
    delivery_id,
)
from understudy.storage.entries import Published
from understudy.storage.errors import StoreConflict
from understudy.storage.records import AuditEntry, TurnStatus, Usage, Workspace, new_id

PENDING, SUCCESS, FAILED = DeliveryStatus


def line(event: str = "webhook.changed") -> AuditEntry:
    return AuditEntry(new_id("aud"), event, "info", START)


def webhook(uid: str, **more: Any) -> Webhook:
    known = {"url": "https://example.org/hook", "events": ("*",), "secret": "whsec_c2VjcmV0", "created_at": START}
    return Webhook(**{"id": new_id("whk"), "uid": uid, "updated_at": START, **known, **more})


async def made(store: Store, uid: str, **more: Any) -> Webhook:
    created = webhook(uid, **more)
    await store.repositories.webhooks.create(created, line(), most=50)
    return created


def told(uid: str | None, workspace: Workspace | None = None, event: str = "agent.completed", **more: Any) -> Happening:
    where = workspace.id if workspace is not None else None
    return Happening(more.pop("id", None) or new_id("evt"), event, uid, where, '{"a": "b\\u0000"}', **more)


async def fan_out(store: Store, *happenings: Happening, most: int = 100, seconds: float = 0) -> tuple[str, ...]:
    worth = await store.repositories.deliveries.asked_for(happenings)
    queues: set[str] = set()
    for each in happenings:
        due = await store.repositories.deliveries.fan_out(each, now=at(seconds), most=most)
        assert not due or each.id in worth, "what is not asked for makes no deliveries"
        queues.update(due)
    return tuple(sorted(queues))


async def claim(store: Store, of: Webhook | str, seconds: float = 0, limit: int = 10) -> tuple[Claimed, ...]:
    queue = of if isinstance(of, str) else of.id
    return await store.repositories.deliveries.claim(queue, limit, now=at(seconds), until=at(seconds + 10))


def disable(webhook: Webhook, reason: DisabledReason) -> tuple[Published, AuditEntry]:
    return Published(f"evt_{reason}", "webhook.disabled", None, webhook.id.encode(), START), line("webhook.disabled")


async def settle(store: Store, of: Webhook | str, *attempts: Attempted) -> Webhook | None:
    queue = of if isinstance(of, str) else of.id
    return await store.repositories.deliveries.settle(queue, attempts, most_failures=3, disable=disable)


def failed(claimed: Claimed, then: float | None = None, status: int = 500) -> Attempted:
    following = at(then) if then is not None else None
    return Attempted(claimed.id, claimed.claim, False, status, 7, f"answered {status}", following, gone=status == 410)


async def history(store: Store, of: Webhook) -> tuple[Delivery, ...]:
    return await store.repositories.webhooks.history(of.uid, of.id, limit=50)


async def test_a_webhook_is_read_as_it_was_made_by_its_owner_alone(store: Store) -> None:
    mira, workspace = await store.user()
    noor, _ = await store.user("noor@example.org")
    rotated = {"old_secret": "before", "old_secret_until": at(60)}
    first = await made(store, mira.id, workspace_id=workspace.id, description="Ümläut", **rotated)
    second = await made(store, mira.id, created_at=at(1), events=("agent.failed", "heartbeat.fired"))
    webhooks = store.repositories.webhooks
    assert await webhooks.find(mira.id, first.id) == first
    assert await webhooks.list(mira.id) == (first, second)
    assert (first.secrets(at(59)), first.secrets(at(60))) == ((first.secret, "before"), (first.secret,))
    assert "whsec" not in repr(first)
    assert await webhooks.find(noor.id, first.id) is None
    assert await webhooks.list(noor.id) == ()
    assert await webhooks.change(noor.id, first.id, lambda known: known, line()) is None
    assert not await webhooks.delete(noor.id, first.id, line())
    assert await webhooks.history(noor.id, first.id, limit=50) == ()


async def test_a_user_has_so_many_webhooks_and_making_one_twice_makes_one(store: Store) -> None:
    mira, _ = await store.user()
    created, audit = webhook(mira.id), line()
    for _ in range(2):
        await store.repositories.webhooks.create(created, audit, most=1)
    with pytest.raises(StoreConflict, match="number of webhooks"):
        await store.repositories.webhooks.create(webhook(mira.id), line(), most=1)


async def test_a_fact_goes_once_to_each_webhook_of_its_person_that_wants_it(store: Store) -> None:
    mira, home = await store.user()
    noor, elsewhere = await store.user("noor@example.org")
    wanting = [await made(store, mira.id), await made(store, mira.id, events=("agent.completed",))]
    wanting.append(await made(store, mira.id, workspace_id=home.id))
    await made(store, mira.id, events=("agent.failed",))
    await made(store, mira.id, enabled=False)
    await made(store, noor.id)
    happened = told(mira.id, home)
    assert await fan_out(store, happened) == tuple(sorted(each.id for each in wanting))
    assert await fan_out(store, happened, seconds=5) == ()
    (only,) = await history(store, wanting[0])
    assert only == Delivery(
        delivery_id(wanting[0].id, happened.id),
        wanting[0].id,
        happened.id,
        "agent.completed",
        PENDING,
        START,
        next_attempt_at=START,
    )
    # Of a workspace that she does not belong to (any more) she is told nothing.
    assert await fan_out(store, told(mira.id, elsewhere)) == ()
    # What is of no workspace goes to webhooks for all of them.
    assert await fan_out(store, told(mira.id)) == tuple(sorted(each.id for each in wanting[:2]))


async def test_what_happened_to_nobody_goes_to_webhooks_of_the_workspace_that_its_admins_have(store: Store) -> None:
    mira, home = await store.user()
    await made(store, mira.id)
    mine = await made(store, mira.id, workspace_id=home.id)
    assert await fan_out(store, told(None, home), told(None), told("usr_unknown")) == (mine.id,)
    assert len(await claim(store, mine)) == 1


async def test_each_fact_is_a_delivery_of_its_own(store: Store) -> None:
    mira, home = await store.user()
    mine = await made(store, mira.id)
    happened = [told(mira.id, home) for _ in range(3)]
    assert await fan_out(store, *happened) == (mine.id,)
    assert {each.event_id for each in await claim(store, mine)} == {each.id for each in happened}


async def test_beyond_so_many_pending_ones_it_is_only_counted_what_was_missed(store: Store) -> None:
    mira, home = await store.user()
    mine = await made(store, mira.id)
    for _ in range(4):
        await fan_out(store, told(mira.id, home), most=2)
    assert len(await history(store, mine)) == 2
    found = await store.repositories.webhooks.find(mira.id, mine.id)
    assert found is not None
    assert found.missed == 2


async def test_what_is_taken_is_nobody_elses_until_its_lease_ends_and_the_late_one_changes_nothing(
    store: Store,
) -> None:
    mira, home = await store.user()
    mine = await made(store, mira.id)
    happened = told(mira.id, home)
    await fan_out(store, happened)
    (taken,) = await claim(store, mine)
    assert taken == Claimed(
        delivery_id(mine.id, happened.id),
        1,
        0,
        happened.id,
        "agent.completed",
        mine.url,
        (mine.secret,),
        '{"a": "b\\u0000"}',
    )
    assert await claim(store, mine, 9) == ()
    still = await store.repositories.deliveries.renew({taken.id: taken.claim, "dlv_another": 1}, at(20))
    assert still == {taken.id}
    assert await store.repositories.deliveries.next_due(mine.id) == at(20)
    assert await claim(store, mine, 19) == ()
    (again,) = await claim(store, mine, 20)
    assert again.claim == 2
    assert not await store.repositories.deliveries.renew({taken.id: taken.claim}, at(99))
    await settle(store, mine, Attempted(taken.id, taken.claim, ok=True, response_status=200))
    assert (await history(store, mine))[0].next_attempt_at == at(30)
    await settle(store, mine, Attempted(again.id, again.claim, True, 204, 12))
    (shown,) = await history(store, mine)
    assert (shown.status, shown.attempts, shown.response_status, shown.duration_ms) == (SUCCESS, 1, 204, 12)
    assert shown.next_attempt_at is None


async def test_the_oldest_due_come_first_and_no_more_than_asked_for(store: Store) -> None:
    mira, home = await store.user()
    mine = await made(store, mira.id)
    happened = [told(mira.id, home) for _ in range(3)]
    for second, each in enumerate(happened):
        await fan_out(store, each, seconds=second)
    assert await claim(store, mine, -1) == ()
    assert [each.event_id for each in await claim(store, mine, 1, limit=1)] == [happened[0].id]
    assert [each.event_id for each in await claim(store, mine, 5)] == [happened[1].id, happened[2].id]


async def test_a_failed_try_is_due_again_when_it_says_and_the_last_one_is_a_dead_letter(store: Store) -> None:
    mira, home = await store.user()
    mine = await made(store, mira.id)
    await fan_out(store, told(mira.id, home))
    (taken,) = await claim(store, mine)
    await settle(store, mine, failed(taken, 5))
    await settle(store, mine, failed(taken, 5))  # once more, because its answer was lost
    (shown,) = await history(store, mine)
    assert (shown.status, shown.attempts, shown.next_attempt_at) == (PENDING, 1, at(5))
    assert await store.repositories.deliveries.due(now=at(4), limit=10) == ()
    assert await store.repositories.deliveries.due(now=at(5), limit=10) == (mine.id,)
    (taken,) = await claim(store, mine, 5)
    assert taken.step == 1
    await settle(store, mine, failed(taken))
    (shown,) = await history(store, mine)
    assert (shown.status, shown.attempts, shown.error) == (FAILED, 2, "answered 500")
    assert await store.repositories.deliveries.next_due(mine.id) is None


async def test_failures_in_a_row_disable_and_a_success_between_them_begins_anew(store: Store) -> None:
    mira, home = await store.user()
    mine = await made(store, mira.id)
    await fan_out(store, *(told(mira.id, home) for _ in range(6)))
    taken = await claim(store, mine)
    good = Attempted(taken[2].id, taken[2].claim, True, 200)
    assert await settle(store, mine, failed(taken[0]), failed(taken[1]), good, failed(taken[3])) is None
    assert (await store.repositories.webhooks.list(mira.id))[0].failures == 1
    stopped = await settle(store, mine, failed(taken[4], 9), failed(taken[5], 9))
    assert stopped is not None
    assert (stopped.enabled, stopped.disabled_reason, stopped.failures) == (False, DisabledReason.FAILURES, 3)
    assert await store.repositories.webhooks.find(mira.id, mine.id) == stopped
    assert {each.next_attempt_at for each in await history(store, mine)} == {None}
    published = await store.repositories.outbox.claim(9, now=at(0), lease=timedelta(0))
    assert [(item.topic, item.payload) for item in published] == [("webhook.disabled", mine.id.encode())]
    assert await fan_out(store, told(mira.id, home)) == ()


async def test_gone_disables_at_once_and_what_waits_goes_on_when_it_is_enabled_again(store: Store) -> None:
    mira, home = await store.user()
    mine = await made(store, mira.id)
    await fan_out(store, told(mira.id, home), told(mira.id, home))
    (taken,) = await claim(store, mine, limit=1)
    stopped = await settle(store, mine, failed(taken, status=410))
    assert stopped is not None
    assert stopped.disabled_reason is DisabledReason.GONE
    assert await claim(store, mine, 1000) == ()
    enabled = attrs.evolve(stopped, enabled=True, disabled_reason=None, failures=0, updated_at=at(50))
    assert await store.repositories.webhooks.change(mira.id, mine.id, lambda _: enabled, line()) == enabled
    assert len(await claim(store, mine, 50)) == 1


async def test_what_was_under_way_when_its_webhook_was_disabled_waits_too(store: Store) -> None:
    mira, home = await store.user()
    mine = await made(store, mira.id)
    await fan_out(store, told(mira.id, home))
    (taken,) = await claim(store, mine)
    paused = attrs.evolve(mine, enabled=False)
    await store.repositories.webhooks.change(mira.id, mine.id, lambda _: paused, line())
    await store.repositories.deliveries.renew({taken.id: taken.claim}, at(3))
    assert await settle(store, mine, failed(taken, 5)) is None
    (shown,) = await history(store, mine)
    assert (shown.status, shown.attempts, shown.next_attempt_at) == (PENDING, 1, None)


async def test_an_ended_delivery_is_replayed_with_all_its_tries_a_pending_one_is_not(store: Store) -> None:
    mira, home = await store.user()
    mine = await made(store, mira.id)
    webhooks = store.repositories.webhooks
    await fan_out(store, told(mira.id, home))
    (taken,) = await claim(store, mine)
    with pytest.raises(StoreConflict, match="delivery"):
        await webhooks.replay(mira.id, mine.id, taken.id, line(), now=at(2))
    await settle(store, mine, failed(taken))
    assert await webhooks.replay("usr_other", mine.id, taken.id, line(), now=at(2)) is None
    assert await webhooks.replay(mira.id, "whk_other", taken.id, line(), now=at(2)) is None
    audit = line()
    for _ in range(2):  # the second because the answer to the first was lost
        replayed = await webhooks.replay(mira.id, mine.id, taken.id, audit, now=at(2))
        assert replayed is not None
        assert (replayed.status, replayed.attempts, replayed.next_attempt_at) == (PENDING, 1, at(2))
    (again,) = await claim(store, mine, 2)
    assert (again.id, again.event_id, again.step) == (taken.id, taken.event_id, 0)
    await settle(store, mine, Attempted(again.id, again.claim, True, 200))
    assert (await history(store, mine))[0].attempts == 2
    await webhooks.change(mira.id, mine.id, lambda known: attrs.evolve(known, enabled=False), line())
    with pytest.raises(StoreConflict, match="webhook"):
        await webhooks.replay(mira.id, mine.id, taken.id, line(), now=at(3))


async def test_a_deleted_webhook_takes_its_deliveries_along_and_a_late_result_finds_nothing(store: Store) -> None:
    mira, home = await store.user()
    mine = await made(store, mira.id)
    await fan_out(store, told(mira.id, home), told(mira.id, home))
    taken = await claim(store, mine, limit=1)
    audit = line("webhook.deleted")
    assert await store.repositories.webhooks.delete(mira.id, mine.id, audit)
    assert await store.repositories.webhooks.delete(mira.id, mine.id, audit), "our own first attempt"
    assert await settle(store, mine, failed(taken[0], 5)) is None
    assert await claim(store, mine, 1000) == ()
    assert await history(store, mine) == ()


async def test_a_test_is_kept_in_the_history_and_old_deliveries_are_thrown_away(store: Store) -> None:
    mira, home = await store.user()
    mine = await made(store, mira.id)
    tested = Delivery(new_id("dlv"), mine.id, new_id("evt"), "webhook.test", SUCCESS, at(5), 1, None, 200, 3)
    for _ in range(2):
        await store.repositories.webhooks.record(mira.id, tested, "{}")
    await store.repositories.webhooks.record("usr_other", attrs.evolve(tested, id=new_id("dlv")), "{}")
    await fan_out(store, told(mira.id, home))
    assert [each.event for each in await history(store, mine)] == ["webhook.test", "agent.completed"]
    assert await store.repositories.deliveries.prune(at(1)) == 1
    assert await history(store, mine) == (tested,)


async def test_a_callback_waits_for_its_turn_and_is_then_due_with_its_answer(store: Store) -> None:
    session = await store.session()
    turn = opened(session)
    await store.write(turn)
    deliveries, owner = store.repositories.deliveries, session.key.uid
    wish = Callback(new_id("dlv"), "evt_1", "chat.answer", owner, turn.turn_id, "https://example.org/a?b=1", START)
    await deliveries.add_callback(wish)
    await deliveries.add_callback(attrs.evolve(wish, id=new_id("dlv")))
    assert await deliveries.answer_callbacks(now=at(1)) == ()
    assert await claim(store, owner, 1) == ()
    await store.write(closed(session, turn.turn_id, model="builtin/rehearsal", tools_used=("clock",)))
    assert await deliveries.answer_callbacks(now=at(3)) == (owner,)
    (taken,) = await claim(store, owner, 3)
    assert (taken.id, taken.event, taken.url, taken.secrets) == (wish.id, "chat.answer", wish.url, ())
    assert taken.turn is not None
    assert (taken.turn.session_id, taken.turn.agent_id) == (session.id, "chad")
    assert (taken.turn.status, taken.turn.content, taken.turn.usage, taken.turn.tools_used) == (
        TurnStatus.COMPLETED,
        "hi there",
        Usage(10, 5),
        ("clock",),
    )
    assert await settle(store, owner, failed(taken, 5)) is None
    assert await deliveries.next_due(owner) == at(5)


async def test_the_fact_of_a_turns_end_makes_its_callback_due_signed_as_the_webhook_at_that_url(store: Store) -> None:
    session = await store.session()
    turn = opened(session)
    owner = session.key.uid
    await made(store, owner, events=("agent.failed",), url="https://example.org/a?x=2")
    await store.write(turn)
    wish = Callback(new_id("dlv"), "evt_1", "chat.answer", owner, turn.turn_id, "https://example.org/a?b=1", START)
    await store.repositories.deliveries.add_callback(wish)
    await store.write(closed(session, turn.turn_id, TurnStatus.FAILED, error_code="TIMEOUT", error_message="slow"))
    assert await fan_out(store, told(owner, None, turn_id=turn.turn_id)) == (owner,)
    (taken,) = await claim(store, owner)
    assert taken.secrets == ("whsec_c2VjcmV0",)
    assert taken.turn is not None
    assert (taken.turn.error_code, taken.turn.error_message) == ("TIMEOUT", "slow")


async def test_what_nobody_asks_for_is_known_of_many_facts_at_once(store: Store) -> None:
    mira, home = await store.user("mira@example.org")
    noor, _ = await store.user("noor@example.org")
    scoped = await made(store, mira.id, workspace_id=home.id)
    facts = [told(mira.id, home), told(noor.id), told(None, home), told(None), told("usr_unknown")]
    assert await store.repositories.deliveries.asked_for(facts) == {facts[0].id, facts[2].id}
    assert await store.repositories.deliveries.asked_for([]) == frozenset()
    assert scoped.enabled
