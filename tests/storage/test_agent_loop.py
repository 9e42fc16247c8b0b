"""Summaries, requests for consent and the health of agents, whoever keeps the rows."""

import attrs
import pytest
import trio

from tests.support.storage import NODE, START, Store, at, closed, message, opened
from understudy.actors.facts import fact
from understudy.storage.entries import Compaction, MessagesAdded
from understudy.storage.errors import Fenced
from understudy.storage.records import (
    AgentHealth,
    Approval,
    ApprovalStatus,
    AuditEntry,
    Role,
    Session,
    Usage,
    new_id,
)
from understudy.storage.spending import Charge

TOLD = fact("agent.compacted", uid=None, workspace_id=None, data={}, at=START, id="evt_once")


async def three_turns(store: Store) -> tuple[Session, list[str]]:
    session = await store.session()
    for _ in range(3):
        begin = opened(session)
        await store.write(begin)
        await store.write(closed(session, begin.turn_id))
    return session, [m.id for m in await store.repositories.sessions.messages(session.id)]


async def test_a_summary_is_stored_with_its_cost_and_flags_what_it_stands_for_once(store: Store) -> None:
    session, ids = await three_turns(store)
    charge = Charge("claude", "x", Usage(30, 10), START, 7)
    said = await store.repositories.sessions.messages(session.id)
    wanted = Compaction(session.id, session.epoch, said[0].turn_id or "", ids[3], "so far", (TOLD,), (charge,))
    compact = store.repositories.compaction.compact
    assert await compact(wanted) is True
    assert await compact(wanted) is False
    assert await compact(attrs.evolve(wanted, last_message_id=ids[1], summary="older")) is False
    found = await store.repositories.sessions.load(session.id)
    assert found is not None
    assert (found.summary, found.message_count) == ("so far", 6)
    flags = [m.compacted for m in await store.repositories.sessions.messages(session.id)]
    assert flags == [True] * 4 + [False] * 2
    spent = await store.repositories.costs.spent(session.key.workspace_id, at(-1), at(1))
    assert spent.total == 7
    (item,) = [i for i in await store.repositories.outbox.claim(99, now=at(9), lease=at(9) - at(0)) if i.id == TOLD.id]
    assert item.topic == "agent.compacted"


async def test_a_summary_of_a_dispossessed_incarnation_is_refused(store: Store) -> None:
    session, ids = await three_turns(store)
    await store.repositories.sessions.claim(session.id, NODE)
    with pytest.raises(Fenced):
        await store.repositories.compaction.compact(Compaction(session.id, session.epoch, "trn_1", ids[0], "late"))
    found = await store.repositories.sessions.load(session.id)
    assert found is not None
    assert found.summary is None


async def test_commands_are_kept_as_what_they_are(store: Store) -> None:
    session = await store.session()
    begin = opened(session, message=message(session, "trn_1", content="/help", status="command"), turn_id="trn_1")
    await store.write(begin)
    await store.write(MessagesAdded(session.epoch, session.id, (message(session, "trn_1", Role.ASSISTANT),)))
    assert [m.status for m in await store.repositories.sessions.messages(session.id)] == ["command", "complete"]


async def request(store: Store) -> Approval:
    session = await store.session()
    key = session.key
    wanted = Approval(
        new_id("apr"), key.workspace_id, key.uid, key.agent_id, session.id, "trn_1", "call_1", "shell_exec",
        '{"command":"ls"}', START, at(300),
    )  # fmt: skip
    return await store.repositories.approvals.request(wanted, TOLD)


def line() -> AuditEntry:
    return AuditEntry(new_id("aud"), "approval.decided", "info", at(1))


async def test_of_those_who_decide_at_the_same_time_exactly_one_does(store: Store) -> None:
    asked, approvals = await request(store), store.repositories.approvals
    outcomes: list[Approval | None] = []

    async def decide(number: int) -> None:
        status = ApprovalStatus.APPROVED if number % 2 else ApprovalStatus.DENIED
        done = await approvals.decide(asked.id, status, by=f"usr_{number}", note=None, now=at(1), audit=line())
        outcomes.append(done)

    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(decide, number)
    (winner,) = [each for each in outcomes if each is not None]
    assert await approvals.get(asked.workspace_id, asked.id) == winner
    assert (winner.decided_at, winner.status is ApprovalStatus.PENDING) == (at(1), False)
    assert await approvals.end([asked.id], ApprovalStatus.CANCELLED, at(2)) == 0


async def test_a_decision_whose_answer_was_lost_is_found_again(store: Store) -> None:
    asked, mine = await request(store), line()
    decide = store.repositories.approvals.decide
    first = await decide(asked.id, ApprovalStatus.DENIED, by="usr_1", note="no", now=at(1), audit=mine)
    again = await decide(asked.id, ApprovalStatus.DENIED, by="usr_1", note="no", now=at(1), audit=mine)
    assert first == again
    assert again is not None
    assert again.note == "no"


async def test_what_has_run_out_cannot_be_decided_and_is_ended_once(store: Store) -> None:
    asked, approvals = await request(store), store.repositories.approvals
    late = await approvals.decide(asked.id, ApprovalStatus.APPROVED, by="u", note=None, now=at(300), audit=line())
    assert late is None
    assert await approvals.pending() == (asked,)
    assert [await approvals.end([asked.id], ApprovalStatus.EXPIRED, at(300)) for _ in range(2)] == [1, 0]
    assert await approvals.pending() == ()


async def test_requests_are_seen_by_whom_they_concern_only(store: Store) -> None:
    mine, other = await request(store), await request(store)
    approvals = store.repositories.approvals
    assert await approvals.request(mine, TOLD) == mine
    assert await approvals.list(mine.workspace_id, uid=mine.uid) == ((mine,), 1)
    assert await approvals.list(mine.workspace_id, status=ApprovalStatus.DENIED) == ((), 0)
    assert await approvals.list(mine.workspace_id, uid=other.uid) == ((), 0)
    assert await approvals.get(mine.workspace_id, other.id) is None
    assert await approvals.get(mine.workspace_id, mine.id, uid=other.uid) is None
    assert await approvals.get(mine.workspace_id, mine.id, uid=mine.uid) == mine


async def test_decided_requests_are_pruned_and_pending_ones_are_not(store: Store) -> None:
    old, pending = await request(store), await request(store)
    approvals = store.repositories.approvals
    await approvals.end([old.id], ApprovalStatus.CANCELLED, at(1))
    assert await approvals.prune(START) == 0
    assert await approvals.prune(at(60)) == 1
    assert await approvals.pending() == (pending,)


async def test_an_agents_health_is_as_it_was_noted_last_until_it_is_well(store: Store) -> None:
    _, workspace = await store.user()
    health = AgentHealth(workspace.id, "chad", 1, "PROVIDER_ERROR", START)
    worse = attrs.evolve(health, failures=3, paused_until=at(900))
    for each in (health, worse, worse):
        await store.repositories.health.note(each, TOLD)
    assert await store.repositories.health.unwell() == (worse,)
    await store.repositories.health.note(attrs.evolve(health, workspace_id="ws_gone"))
    assert await store.repositories.health.unwell() == (worse,)
    await store.repositories.health.clear(workspace.id, "chad", TOLD)
    assert await store.repositories.health.unwell() == ()
