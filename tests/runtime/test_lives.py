"""Rules 4 to 7: how actors start and stop, what a restart keeps, and how far a crash is seen."""

from __future__ import annotations

import pytest
import trio

from tests.support.kernel import NO_WAIT, Add, Counter, Crash, Doze, Get, Quit, counter, crash, settle, trio_of
from understudy.runtime import (
    KILL,
    Actor,
    ActorCrashed,
    ActorSystem,
    ChildSpec,
    DynamicSpec,
    Killed,
    Restart,
    StartTimeout,
    Strategy,
    SupervisorSpec,
    receive,
)
from understudy.runtime.testing import open_system, wait_exit

# -- rule 4: starting and stopping


async def test_each_start_is_finished_before_the_next_and_stops_are_in_reverse(system: ActorSystem) -> None:
    diary: list[str] = []
    children = [ChildSpec(name, Counter, args=(diary, 1.0, 1.0)) for name in "abc"]
    await system.spawn(SupervisorSpec("s", children=children))
    await system.stop()
    assert diary == ["+s/a", "+s/b", "+s/c", "~s/c", "-s/c", "~s/b", "-s/b", "~s/a", "-s/a"]


async def test_if_a_start_fails_what_was_started_is_stopped_and_nothing_is_kept(system: ActorSystem) -> None:
    diary: list[str] = []

    class Broken(Actor):
        async def started(self) -> None:
            raise OSError("no disk")

    children = [counter("a", diary), counter("b", diary), ChildSpec("c", Broken)]
    with pytest.raises(ActorCrashed) as caught:
        await system.spawn(SupervisorSpec("s", children=children))
    assert isinstance(root_cause(caught.value), OSError)
    assert diary == ["+s/a", "+s/b", "~s/b", "-s/b", "~s/a", "-s/a"]
    assert system.addresses() == []


def root_cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


async def test_a_start_that_takes_too_long_fails(system: ActorSystem) -> None:
    with pytest.raises(ActorCrashed) as caught:
        await system.spawn(ChildSpec("a", Counter, args=(None, 60.0), start_timeout=2))
    assert isinstance(caught.value.__cause__, StartTimeout)
    assert system.whereis("a") is None


async def test_a_child_that_does_not_stop_in_time_is_cancelled_and_its_end_is_known(system: ActorSystem) -> None:
    diary: list[str] = []
    ref = await system.spawn(ChildSpec("a", Counter, args=(diary, 0.0, 60.0), shutdown=2))
    inbox = await monitor(system, "a")
    began = trio.current_time()
    await system.stop()
    assert trio.current_time() - began == pytest.approx(2)
    assert diary == ["+a", "~a"]
    assert isinstance(inbox[0], Killed), ref


async def monitor(system: ActorSystem, address: str) -> list[object]:
    """The exits of *address*, as telemetry tells them."""
    exits: list[object] = []

    def listen(event: object) -> None:
        if event.metadata["address"] == address:  # type: ignore[attr-defined]
            exits.append(event.metadata["exit"])  # type: ignore[attr-defined]

    system.telemetry.attach("exits", listen, events=["actor.stop"])
    return exits


async def test_shutdown_kill_cancels_without_asking(system: ActorSystem) -> None:
    diary: list[str] = []
    await system.spawn(counter("a", diary, shutdown=KILL))
    await system.stop()
    assert diary == ["+a"]


async def test_a_busy_child_is_asked_first_and_finishes_its_message(system: ActorSystem) -> None:
    await system.spawn(counter("a"))
    async with trio.open_nursery() as nursery:
        answers: list[str] = []

        async def asker() -> None:
            answers.append(await system.ask("a", Doze(2)))

        nursery.start_soon(asker)
        await trio.testing.wait_all_tasks_blocked()
        await system.stop()
    assert answers == ["rested"]


# -- rule 6: what a restart keeps


async def test_a_restart_keeps_address_queued_mail_and_ref_but_not_state(system: ActorSystem) -> None:
    ref = await system.spawn(counter("a"))
    await ref.ask(Add(41))
    async with trio.open_nursery() as nursery:
        failed: list[ActorCrashed] = []
        answers: list[int] = []

        async def crasher() -> None:
            try:
                await ref.ask(Crash())
            except ActorCrashed as error:
                failed.append(error)

        async def adder() -> None:
            answers.append(await ref.ask(Add(1)))

        nursery.start_soon(crasher)
        await trio.testing.wait_all_tasks_blocked(0.0)
        nursery.start_soon(adder)
    assert isinstance(failed[0].__cause__, ValueError)
    assert answers == [1]
    assert system.whereis("a") != ref  # another epoch
    assert system.whereis("a").address == ref.address  # type: ignore[union-attr]


async def test_mail_behind_a_crash_is_delivered_to_the_next_incarnation_and_the_crash_is_not_retried(
    system: ActorSystem,
) -> None:
    ref = await system.spawn(counter("a"))
    ref.tell(Crash())
    for _ in range(10):
        ref.tell(Add(1))
    assert await ref.ask(Get()) == 10
    node = system.node("a")
    assert node is not None
    assert node.restarts == 1


async def test_equal_messages_that_crash_too_often_become_dead_letters(system: ActorSystem) -> None:
    ref = await system.spawn(
        SupervisorSpec("s", children=[counter("a", poison_after=2)], max_restarts=100, backoff=NO_WAIT)
    )
    for _ in range(2):
        await crash(system, "s/a")
    with pytest.raises(ActorCrashed, match="not tried"):
        await system.ask("s/a", Crash())
    await crash_with(system, "s/a", "another")  # a different message is tried
    assert system.dead_letters.counts["poison"] == 1
    await trio.sleep(61)  # nothing is poison for ever
    await crash(system, "s/a")
    assert ref.address == "s"


async def crash_with(system: ActorSystem, address: str, why: str) -> None:
    with pytest.raises(ActorCrashed, match=why):
        await system.ask(address, Crash(why))


# -- rule 7: isolation and trio's rules


async def test_a_crash_is_never_seen_by_a_sibling(system: ActorSystem) -> None:
    await system.spawn(trio_of(Strategy.ONE_FOR_ONE, []))
    await system.ask("s/a", Add(7))
    await crash(system, "s/b")
    assert await system.ask("s/a", Get()) == 7


async def test_keyboard_interrupt_in_a_handler_passes_through_the_system() -> None:
    class Interrupted(Actor):
        @receive
        def crash(self, message: Crash) -> None:
            raise KeyboardInterrupt

    with trio.fail_after(1000), pytest.raises(BaseExceptionGroup) as caught:  # noqa: PT012 - the block is what raises
        async with open_system(leaks=False) as system:
            ref = await system.spawn(ChildSpec("a", Interrupted))
            ref.tell(Crash())
            await trio.sleep_forever()
    assert caught.group_contains(KeyboardInterrupt)


async def test_an_exception_group_crashes_the_actor_like_any_exception(system: ActorSystem) -> None:
    class Grouped(Actor):
        @receive
        async def crash(self, message: Crash) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._fail)
                await trio.sleep_forever()

        async def _fail(self) -> None:
            raise ValueError("inner")

    await system.spawn(ChildSpec("a", Grouped))
    with pytest.raises(ActorCrashed) as caught:
        await system.ask("a", Crash())
    assert isinstance(caught.value.__cause__, ExceptionGroup)


async def test_what_the_block_raises_comes_out_as_it_is_after_an_orderly_stop() -> None:
    diary: list[str] = []
    with trio.fail_after(1000), pytest.raises(LookupError):  # noqa: PT012 - the block is what raises
        async with open_system() as system:
            await system.spawn(counter("a", diary))
            raise LookupError("mine")
    assert diary == ["+a", "~a", "-a"]


async def test_cancelling_the_block_kills_the_tree_at_once_children_first() -> None:
    diary: list[str] = []
    began = trio.current_time()
    with trio.move_on_after(3) as scope:
        async with open_system() as system:
            await system.spawn(ChildSpec("a", Counter, args=(diary, 0.0, 100.0)))
            await system.wait_stopped()
    assert scope.cancelled_caught
    assert trio.current_time() - began == pytest.approx(3)
    assert diary == ["+a"]
    assert system.ended


async def test_a_killed_supervisor_kills_its_children_first_and_comes_back_with_them(system: ActorSystem) -> None:
    diary: list[str] = []
    await system.spawn(trio_of(Strategy.ONE_FOR_ONE, diary))
    epoch = system.whereis("s/a")
    diary.clear()
    await system.kill("s")
    await settle(system, "s/a", "s/b", "s/c")
    assert diary == ["+s/a", "+s/b", "+s/c"]  # nobody was asked to stop
    assert system.whereis("s/a") != epoch


async def test_a_supervisor_begins_again_with_all_of_its_specification(system: ActorSystem) -> None:
    children = [counter("a", restart=Restart.TEMPORARY), counter("b")]
    await system.spawn(SupervisorSpec("s", children=children))
    await system.ask("s/a", Quit())
    await wait_exit(system, "s/a")
    await trio.testing.wait_all_tasks_blocked()
    assert system.whereis("s/a") is None
    await system.restart("s")
    tree = system.node("s")
    assert tree is not None
    assert [child.address for child in tree.children] == ["s/a", "s/b"]


async def test_a_child_that_crashes_while_its_siblings_are_still_starting_is_restarted(system: ActorSystem) -> None:
    children = [counter("a"), ChildSpec("b", Counter, args=(None, 5.0))]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(system.spawn, SupervisorSpec("s", children=children))
        await trio.sleep(1)
        await crash(system, "s/a")
    assert await system.ask("s/a", Get()) == 0
    assert trio.current_time() == pytest.approx(5)


async def test_killing_the_root_cuts_a_slow_stop_short(system: ActorSystem) -> None:
    slow = [ChildSpec(name, Counter, args=(None, 0.0, 100.0), shutdown=1000) for name in "ab"]
    await system.spawn(SupervisorSpec("s", children=slow))
    await system.spawn(DynamicSpec("d", "k", lambda key: ChildSpec(key, Counter, args=(None, 0.0, 100.0))))
    await system.ensure("k/1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(system.stop)
        await trio.sleep(1)
        await system.kill("")
    assert trio.current_time() == pytest.approx(1)
    assert system.ended


async def test_every_incarnation_has_one_start_and_one_stop_event_even_if_its_leaving_is_called_off(
    system: ActorSystem,
) -> None:
    events: list[str] = []
    system.telemetry.attach("t", lambda event: events.append(event.name), events=["actor.start", "actor.stop"])
    await system.spawn(
        DynamicSpec("d", "k", lambda key: ChildSpec(key, Counter, args=(None, 0.0, 2.0), idle_after=5.0))
    )
    await system.ensure("k/1")
    await trio.sleep(6)
    assert await system.ask("k/1", Add()) == 1
    assert events == ["actor.start", "actor.start", "actor.stop", "actor.start"]
