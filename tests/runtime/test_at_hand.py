"""An ask that an idle actor can answer on the spot is served in the asker's own step. Nobody can tell."""

from __future__ import annotations

import attrs
import pytest
import trio

from tests.support.kernel import Add, Counter, Crash, No, Refuse, counter
from understudy.runtime import ActorCrashed, ActorSystem, Ask, AskTimeout, ChildSpec, receive

LOOK = Add(0)
"""Has a plain handler, and changes nothing."""


async def test_an_idle_actor_answers_without_another_task_running_in_between(system: ActorSystem) -> None:
    ref = await system.spawn(counter("c"))
    ran: list[str] = []

    async def other() -> None:
        ran.append("other")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        assert await ref.ask(LOOK) == 0
        assert ran == []


async def test_mail_that_waits_already_is_handled_first(system: ActorSystem) -> None:
    ref = await system.spawn(counter("c"))
    ref.tell(Add(2))
    ref.tell(Add(3))
    assert await ref.ask(LOOK) == 5


async def test_asks_in_a_row_let_others_run_now_and_then(system: ActorSystem) -> None:
    ref = await system.spawn(counter("c"))
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        for _ in range(200):
            await ref.ask(LOOK)
        nursery.cancel_scope.cancel()
    assert turns > 5


async def test_a_cancelled_asker_is_not_served(system: ActorSystem) -> None:
    ref = await system.spawn(counter("c"))
    with trio.CancelScope() as scope:
        scope.cancel()
        await ref.ask(Add(1))
    assert scope.cancelled_caught
    assert await ref.ask(LOOK) == 0


async def test_a_suspended_actor_answers_nothing_until_it_is_resumed(system: ActorSystem) -> None:
    ref = await system.spawn(counter("c"))
    await system.suspend(ref.address)
    with pytest.raises(AskTimeout):
        await ref.ask(LOOK, timeout=1)
    await system.resume(ref.address)
    assert await ref.ask(LOOK) == 0


async def test_a_crash_on_the_spot_is_a_crash_like_any_other(system: ActorSystem) -> None:
    ref = await system.spawn(counter("c"))
    await ref.ask(Add(1))
    with pytest.raises(ActorCrashed) as crashed:
        await ref.ask(Crash())
    assert crashed.value.__cause__ is not None
    assert await ref.ask(LOOK) == 0, "state from before the crash must be gone"
    node = system.node(ref.address)
    assert node is not None
    assert node.restarts == 1
    assert node.crash is not None
    assert node.crash.message == "Crash"


async def test_what_was_answered_on_the_spot_is_counted_traced_and_leaves_no_context_behind(
    system: ActorSystem,
) -> None:
    ref = await system.spawn(counter("c"))
    await ref.ask(Add(1))
    with pytest.raises(No):
        await ref.ask(Refuse())
    assert [(entry.message, entry.outcome) for entry in system.trace(ref.address)] == [
        ("Add", "ok"),
        ("Refuse", "refused"),
    ]
    node = system.node(ref.address)
    assert node is not None
    assert node.handled == 2
    ref.tell(Add(1))  # would carry the actor's own address as its sender, had the context stayed
    await ref.ask(LOOK)
    assert [entry.sender for entry in system.trace(ref.address)] == [None] * 4


@attrs.frozen
class Talk(Ask[int]):
    pass


class Talker(Counter):
    """Tells itself something while it answers."""

    @receive
    def talk(self, message: Talk) -> int:
        self.ref.tell(Add(10))
        return self.total


async def test_what_it_tells_itself_meanwhile_is_handled_afterwards(system: ActorSystem) -> None:
    ref = await system.spawn(ChildSpec("t", Talker))
    assert await ref.ask(Talk()) == 0
    assert await ref.ask(Talk()) == 10
