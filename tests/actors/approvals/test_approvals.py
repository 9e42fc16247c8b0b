"""Tool calls that wait for somebody's consent: given, refused, late, and nobody left to wait."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, cast

import attrs
import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock

from tests.actors.session.stage import CHAD, KEY, Line, Stage, say, stage, text, types
from understudy.actors.approvals.actor import approvals_spec
from understudy.actors.approvals.consent import ApprovalRules, Consent
from understudy.actors.approvals.messages import (
    APPROVALS,
    Approval,
    ApprovalStatus,
    Decide,
    ListApprovals,
)
from understudy.actors.approvals.ports import ApprovalStore
from understudy.actors.errors import Conflict, NotFound
from understudy.actors.inference.messages import Finished, ModelEvent, ToolCallCompleted, ToolCallStarted
from understudy.actors.presence.actor import presence_spec
from understudy.actors.presence.messages import PRESENCE, ListPresence
from understudy.actors.session.messages import DIRECTORY, CancelTurn, TurnStarted, session_address
from understudy.actors.session.toolcalls import MOST_ASKED
from understudy.actors.tools.messages import ToolContext
from understudy.storage.entries import Published
from understudy.storage.records import Role, ToolCall, Usage

RULES = ApprovalRules(tools=frozenset({"echo"}))


async def call(*names: str) -> AsyncIterator[ModelEvent]:
    for index, name in enumerate(names):
        yield ToolCallStarted(index, f"call_{index}", name)
        yield ToolCallCompleted(index, f"call_{index}", name, '{"x": 1, "password": "p"}')
    await trio.lowlevel.checkpoint()
    yield Finished("tool_calls", Usage(5, 5), "script-1")


@asynccontextmanager
async def consenting(*names: str, rules: ApprovalRules = RULES, **bounds: Any) -> AsyncGenerator[Stage, None]:
    """A stage whose model calls these tools at once."""

    def script(line: Line) -> AsyncIterator[ModelEvent]:
        return call(*(names or ("echo",))) if line.number == 0 else say("so be it")

    def consent(it: Stage) -> Consent:
        return Consent(it.system, rules, it.now)

    async with stage(script, consent=consent, **bounds) as it:
        await it.system.spawn(presence_spec())
        await it.system.spawn(approvals_spec(it.store.approvals, it.now))
        yield it


async def listed(it: Stage, status: ApprovalStatus | None = ApprovalStatus.PENDING) -> tuple[Approval, ...]:
    return (await it.system.ask(APPROVALS, ListApprovals(KEY.workspace_id, status=status))).approvals


async def asked(it: Stage, count: int = 1) -> tuple[Approval, ...]:
    while len(found := await listed(it)) < count:
        await trio.lowlevel.checkpoint()
    return found


async def decide(it: Stage, approval: Approval, *, approve: bool = True, **more: Any) -> Approval:
    return await it.system.ask(APPROVALS, Decide(KEY.workspace_id, approval.id, approve, "usr_2", **more))


async def results(it: Stage) -> list[str]:
    return [m.content for m in it.models.requests[1].messages if m.role is Role.TOOL]


async def awaiting(it: Stage) -> None:
    while [p.state for p in await it.system.ask(PRESENCE, ListPresence(KEY.uid, KEY.workspace_id))] != [
        "awaiting_approval"
    ]:
        await trio.lowlevel.checkpoint()


async def test_a_call_waits_until_somebody_agrees_and_everybody_can_see_that_it_does() -> None:
    async with consenting() as it:
        turn = await it.start("go")
        (approval,) = await asked(it)
        await awaiting(it)
        assert (approval.tool, approval.uid, approval.turn_id) == ("echo", KEY.uid, turn.turn_id)
        assert approval.expires_at - approval.requested_at == timedelta(seconds=300)
        assert it.tools.most == 0
        decided = await decide(it, approval)
        assert (decided.status, decided.decided_by) == (ApprovalStatus.APPROVED, "usr_2")
        events = await it.read(turn)
        assert text(events) == "so be it"
        assert await results(it) == ['echo {"x": 1, "password": "p"}']
        requested = next(e.data for e in events if e.type == "approval_requested")
        assert (requested["requestId"], requested["name"]) == (approval.id, "echo")
        assert "[redacted]" in requested["arguments"]
        assert requested["expiresAt"].endswith("Z")
        assert next(e.data["status"] for e in events if e.type == "approval_decided") == "approved"
        told = [o.item for o in it.store.tables.outbox.values() if o.item.topic == "approval.requested"]
        assert len(told) == 1
        assert b'"password":"[redacted]"' in told[0].payload
        assert [line.entry.event for line in it.store.tables.audit] == ["approval.approved"]


async def test_a_refusal_is_a_result_that_the_model_reads_with_its_note() -> None:
    async with consenting() as it:
        turn = await it.start("go")
        (approval,) = await asked(it)
        await decide(it, approval, approve=False, note="not on a Friday")
        events = await it.read(turn)
        assert types(events)[-1] == "done"
        assert "denied: not on a Friday" in (await results(it))[0]
        assert events[-1].data["toolsUsed"] == []
        assert it.tools.most == 0


@pytest.mark.parametrize(("allow", "ran"), [(False, 0), (True, 1)])
async def test_what_nobody_decides_in_time_is_decided_by_the_rule(
    allow: bool, ran: int, autojump_clock: MockClock
) -> None:
    rules = attrs.evolve(RULES, timeout=0.02, allow_on_timeout=allow)
    async with consenting(rules=rules) as it:
        turn = await it.start("go")
        await asked(it)
        it.pass_time(seconds=1)
        await it.read(turn)
        assert it.tools.most == ran
        (ended,) = await listed(it, None)
        assert ended.status is ApprovalStatus.EXPIRED
        with pytest.raises(Conflict, match="expired"):
            await decide(it, ended)


async def test_only_what_needs_consent_waits_and_each_call_is_decided_for_itself() -> None:
    agent = attrs.evolve(CHAD, tools=("echo", "free"))
    async with consenting("echo", "free", "echo", agent=agent) as it:
        turn = await it.start("go")
        newest, oldest = sorted(await asked(it, 2), key=lambda each: each.tool_call_id, reverse=True)
        await decide(it, newest)
        await decide(it, oldest, approve=False)
        await it.read(turn)
        found = await results(it)
        assert ["echo {" in said for said in found] == [False, True, True]


async def test_nobody_is_asked_about_a_hundred_calls_at_once() -> None:
    async with consenting(*["echo"] * 100) as it:
        turn = await it.start("go")
        for approval in await asked(it, MOST_ASKED):
            await decide(it, approval)
        await it.read(turn)
        assert sum("too many calls" in said for said in await results(it)) == 100 - MOST_ASKED
        assert len(await listed(it, None)) == MOST_ASKED


async def test_an_agent_may_need_consent_for_whatever_it_does() -> None:
    rules = ApprovalRules.parse(("agent:chad",), 300.0, allow_on_timeout=False)
    async with consenting(rules=rules) as it:
        turn = await it.start("go")
        await decide(it, (await asked(it))[0])
        assert types(await it.read(turn))[-1] == "done"


async def test_a_cancelled_turn_cancels_its_requests() -> None:
    async with consenting() as it:
        turn = await it.start("go")
        (approval,) = await asked(it)
        await it.system.ask(DIRECTORY, CancelTurn(KEY.uid, turn.session_id))
        while await listed(it):
            await trio.lowlevel.checkpoint()
        (ended,) = await listed(it, None)
        assert ended.status is ApprovalStatus.CANCELLED
        with pytest.raises(Conflict, match="cancelled already"):
            await decide(it, approval)


class Slow:
    """Storage that takes a while to store a request."""

    def __init__(self, store: ApprovalStore) -> None:
        self.store = store
        self.asked, self.go_on = trio.Event(), trio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    async def request(self, approval: Approval, *facts: Published) -> Approval:
        """As the real one, later."""
        self.asked.set()
        await self.go_on.wait()
        return await self.store.request(approval, *facts)


async def test_a_request_that_is_withdrawn_while_it_is_being_stored_is_cancelled() -> None:
    async with stage() as it:
        slow = Slow(it.store.approvals)
        await it.system.spawn(approvals_spec(cast("ApprovalStore", slow), it.now))
        consent = Consent(it.system, RULES, it.now)
        context = ToolContext(KEY.workspace_id, KEY.uid, "chad", "ses_1", "trn_1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(consent.request, ToolCall("call_1", "echo", "{}"), context)
            await slow.asked.wait()
            nursery.cancel_scope.cancel()
        slow.go_on.set()
        while not (found := await listed(it, None)) or found[0].status is ApprovalStatus.PENDING:
            await trio.lowlevel.checkpoint()
        assert found[0].status is ApprovalStatus.CANCELLED


async def test_a_session_that_crashes_leaves_no_request_behind() -> None:
    async with consenting() as it:
        turn = await it.start("go")
        await asked(it)
        await it.system.kill(session_address(turn.session_id))
        while await listed(it):
            await trio.lowlevel.checkpoint()
        assert (await listed(it, None))[0].status is ApprovalStatus.CANCELLED


async def test_a_decision_finds_its_turn_though_the_actor_was_killed_before() -> None:
    async with consenting() as it:
        turn = await it.start("go")
        (approval,) = await asked(it)
        await awaiting(it)
        await it.system.kill(APPROVALS)
        decided = await decide(it, approval)
        assert decided.status is ApprovalStatus.APPROVED
        assert types(await it.read(turn))[-1] == "done"
        assert it.tools.most == 1


async def test_requests_of_a_node_that_died_are_cancelled_when_the_next_one_starts() -> None:
    async with consenting() as it:
        turn = await it.start("go")
        (approval,) = await asked(it)
        ended = await it.start("/help", key=attrs.evolve(KEY, surface_id="other"))
        await it.read(ended)
        left = attrs.evolve(approval, id="apr_left", session_id="ses_gone", turn_id=ended.turn_id)
        await it.store.approvals.request(left)
        await it.system.kill(APPROVALS)
        while len(await listed(it)) != 1:
            await trio.lowlevel.checkpoint()
        await decide(it, approval)
        await it.read(turn)


async def test_a_request_of_another_node_does_not_end_with_who_reads_the_conversation_here(
    autojump_clock: MockClock,
) -> None:
    async with consenting(idle_after=1.0) as it:
        turn = await it.start("go")
        (approval,) = await asked(it)
        reader = await it.start("/help", key=attrs.evolve(KEY, surface_id="read here, run elsewhere"))
        await it.read(reader)
        theirs = attrs.evolve(approval, id="apr_theirs", session_id=reader.session_id)
        await it.store.approvals.request(theirs)
        await it.system.kill(APPROVALS)
        await decide(it, approval)  # by one that goes on with both
        await it.read(turn)
        while it.system.whereis(session_address(reader.session_id)) is not None:
            await trio.sleep(1)
        await trio.sleep(1)
        assert [each.id for each in await listed(it)] == ["apr_theirs"]


async def test_the_time_for_which_somebody_thinks_does_not_count(autojump_clock: MockClock) -> None:
    async with consenting(turn_timeout=0.1) as it:
        turn = await it.start("go", grace=0.1)
        (approval,) = await asked(it)
        await awaiting(it)
        await trio.sleep(0.15)
        await decide(it, approval)
        assert types(await it.read(turn))[-1] == "done"
        assert it.tools.most == 1


async def test_of_two_who_decide_at_once_one_is_told_that_it_was_decided() -> None:
    outcomes: list[object] = []

    async def one(it: Stage, approval: Approval, *, approve: bool) -> None:
        try:
            outcomes.append((await decide(it, approval, approve=approve)).status)
        except Conflict as conflict:
            outcomes.append(type(conflict))

    async with consenting() as it:
        turn: TurnStarted = await it.start("go")
        (approval,) = await asked(it)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: one(it, approval, approve=True))
            nursery.start_soon(lambda: one(it, approval, approve=False))
        assert len(outcomes) == 2
        assert outcomes.count(Conflict) == 1
        await it.read(turn)


async def test_other_peoples_requests_do_not_exist() -> None:
    async with consenting() as it:
        turn = await it.start("go")
        (approval,) = await asked(it)
        with pytest.raises(NotFound):
            await decide(it, approval, uid="usr_stranger")
        with pytest.raises(NotFound):
            await it.system.ask(APPROVALS, Decide("ws_other", approval.id, True, "usr_2"))
        theirs = await it.system.ask(APPROVALS, ListApprovals(KEY.workspace_id, "usr_stranger"))
        assert theirs.total == 0
        await decide(it, approval)
        await it.read(turn)


async def test_rules_may_be_for_all_tools_of_a_server() -> None:
    await trio.lowlevel.checkpoint()
    rules = ApprovalRules.parse(("shell_exec", "mcp__tracker__*"), 300.0, allow_on_timeout=False)
    names = ("shell_exec", "shell", "mcp__tracker__close", "mcp__time__now")
    assert [rules.covers(name) for name in names] == [True, False, True, False]
