"""What the rest of the node is told of a turn, and that it is told in the transaction that makes it true."""

import attrs
import pytest

from tests.actors.session.stage import KEY, Stage, say, stage
from tests.actors.session.test_turns import forever
from understudy.actors.errors import NotFound
from understudy.actors.facts import Fact, read_fact
from understudy.actors.session.messages import DIRECTORY, CancelTurn, OnBusy, session_address
from understudy.actors.webhooks.callbacks import WANTED
from understudy.storage.records import IdempotencyKey

URL = "https://answers.example.org/in?x=1"


def told(it: Stage, event: str | None = None) -> list[Fact]:
    """The facts that are in the outbox."""
    facts = [read_fact(each.item) for each in it.store.tables.outbox.values()]
    return [each for each in facts if event in {None, each.event}]


async def until_cancelled(it: Stage) -> str:
    turn = await it.start("hi")
    async with it.system.subscribe(session_address(turn.session_id), after=turn.after + 1) as stream:
        await anext(stream)
        await it.system.ask(DIRECTORY, CancelTurn(KEY.uid, turn.session_id))
    return turn.turn_id


async def test_where_an_answer_is_to_go_is_committed_with_its_turn_and_once() -> None:
    key = IdempotencyKey("usr_1|ws_1|POST /agent/chat", "k1", b"hash")
    async with stage(lambda line: forever("one ")) as it:
        with pytest.raises(NotFound):
            await it.start("hi", key=attrs.evolve(KEY, agent_id="nobody"), callback=URL)
        assert told(it) == []
        turn = await it.start("hi", idempotency=key, callback=URL)
        (wish,) = told(it)
        assert (wish.event, wish.uid, wish.data) == (WANTED, KEY.uid, {"turnId": turn.turn_id, "url": URL})
        again = await it.start("hi", idempotency=key, callback=URL)
        assert (again.turn_id, again.replayed, told(it)) == (turn.turn_id, True, [wish])


async def test_a_turn_that_is_stopped_is_told_of_as_that_and_neither_as_answered_nor_as_failed() -> None:
    async with stage(lambda line: forever("one ")) as it:
        turn_id = await until_cancelled(it)
        (fact,) = told(it)
        assert (fact.event, fact.uid, fact.workspace_id) == ("agent.cancelled", KEY.uid, KEY.workspace_id)
        assert (fact.data["turnId"], fact.data["code"]) == (turn_id, "CANCELLED")


async def test_a_turn_that_a_newer_message_takes_back_is_told_of_as_stopped() -> None:
    async with stage(lambda line: say("short") if line.number else forever("one ")) as it:
        first = await it.start("long")
        async with it.system.subscribe(session_address(first.session_id), after=first.after + 1) as stream:
            await anext(stream)
        await it.chat("second", on_busy=OnBusy.ROLLBACK)
        assert [fact.event for fact in told(it)] == ["agent.cancelled", "agent.completed"]
