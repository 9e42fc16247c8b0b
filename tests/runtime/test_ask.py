"""Rules 15 to 17: deadlines, cycles, and askers of the dead. Promises and forwarding too."""

from __future__ import annotations

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.support.kernel import Add, Counter, Crash, Doze, Get, No, Refuse, counter
from understudy.runtime import (
    ActorCrashed,
    ActorSystem,
    Ask,
    AskCycle,
    AskTimeout,
    Backoff,
    ChildSpec,
    Deferred,
    DynamicSpec,
    NotRunning,
    Restart,
    SupervisorSpec,
    receive,
)


@attrs.frozen
class Relay(Ask[int]):
    path: tuple[str, ...]
    timeout: float = 100.0


@attrs.frozen
class Promise(Ask[str]):
    pass


@attrs.frozen
class Keep:
    what: str


@attrs.frozen
class Elsewhere(Ask[int]):
    to: str
    n: int


class Relayer(Counter):
    def __init__(self) -> None:
        super().__init__()
        self.promises: list[Deferred[str]] = []

    @receive
    async def relay(self, message: Relay) -> int:
        if not message.path:
            return 1
        first, *rest = message.path
        return 1 + await self.system.ask(first, Relay(tuple(rest), message.timeout), timeout=message.timeout)

    @receive
    def promise(self, message: Promise) -> Deferred[str]:
        deferred = self.defer(message)
        self.promises.append(deferred)
        return deferred

    @receive
    def keep(self, message: Keep) -> None:
        for promise in self.promises:
            promise.reply(message.what)

    @receive
    def elsewhere(self, message: Elsewhere) -> Deferred[int]:
        return self.forward(message.to, Add(message.n))


async def relayers(system: ActorSystem, *names: str) -> None:
    for name in names:
        await system.spawn(ChildSpec(name, Relayer))


# -- rule 15: deadlines


async def test_an_ask_ends_after_five_seconds_unless_told_otherwise(system: ActorSystem) -> None:
    await system.spawn(counter("a"))
    with pytest.raises(AskTimeout):
        await system.ask("a", Doze(60))
    assert trio.current_time() == pytest.approx(5)
    with pytest.raises(AskTimeout):
        await system.ask("a", Doze(60), timeout=2)
    assert trio.current_time() == pytest.approx(7)
    with pytest.raises(ValueError, match="deadline"):
        await system.ask("a", Get(), timeout=float("inf"))


async def test_nested_asks_inherit_the_deadline(system: ActorSystem) -> None:
    await relayers(system, "a", "b")
    await system.spawn(ChildSpec("slow", Counter))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(system.ask, "slow", Doze(50), 60)
        await wait_all_tasks_blocked()
        with pytest.raises(AskTimeout):
            await system.ask("a", Relay(("b", "slow")), timeout=3)
        assert trio.current_time() == pytest.approx(3)
        await trio.sleep(0.01)  # the inner asks ended with the outer one, and nobody crashed of them for long
        nursery.cancel_scope.cancel()


async def test_what_is_begun_after_the_deadline_never_runs(system: ActorSystem) -> None:
    await system.spawn(counter("a"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(system.ask, "a", Doze(10), 20)
        await wait_all_tasks_blocked()
        with pytest.raises(AskTimeout):
            await system.ask("a", Add(100), timeout=1)
    assert await system.ask("a", Get()) == 0
    assert system.dead_letters.counts["expired"] == 1


async def test_an_ask_whose_asker_was_cancelled_before_it_began_never_runs(system: ActorSystem) -> None:
    await system.spawn(counter("a"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(system.ask, "a", Doze(10), 20)
        await wait_all_tasks_blocked()
        with trio.move_on_after(1):
            await system.ask("a", Add(100))
    assert await system.ask("a", Get()) == 0


async def test_a_late_reply_is_counted(system: ActorSystem) -> None:
    await system.spawn(counter("a"))
    with pytest.raises(AskTimeout):
        await system.ask("a", Doze(3), timeout=1)
    await trio.sleep(5)
    assert system.late_replies == 1


async def test_an_ask_with_no_time_left_is_not_sent(system: ActorSystem) -> None:
    await system.spawn(counter("a"))
    with system.context(deadline=trio.current_time()), pytest.raises(AskTimeout):
        await system.ask("a", Add(1))
    assert await system.ask("a", Get()) == 0


# -- rule 16: cycles


async def test_a_cycle_fails_at_once_and_names_the_chain(system: ActorSystem) -> None:
    await relayers(system, "a", "b", "c")
    with pytest.raises(ActorCrashed) as caught:
        await system.ask("a", Relay(("b", "c", "a")))
    assert trio.current_time() == 0
    error: BaseException | None = caught.value
    while error is not None and not isinstance(error, AskCycle):
        error = error.__cause__
    assert error is not None
    assert error.chain == ("a", "b", "c", "a")


async def test_an_actor_that_asks_itself_is_told(system: ActorSystem) -> None:
    await relayers(system, "a")
    with pytest.raises(ActorCrashed) as caught:
        await system.ask("a", Relay(("a",)))
    assert isinstance(caught.value.__cause__, AskCycle)


async def test_work_may_ask_the_actor_it_works_for(system: ActorSystem) -> None:
    answers: list[int] = []

    class Worker(Counter):
        def note(self, message: object) -> None:
            self.work(self._ask_home)

        async def _ask_home(self) -> None:
            answers.append(await self.ref.ask(Add(3)))

    ref = await system.spawn(ChildSpec("a", Worker))
    from tests.support.kernel import Note

    ref.tell(Note())
    await wait_all_tasks_blocked()
    assert answers == [3]


# -- rule 17: askers of the dead


async def test_the_asker_learns_of_a_crash_at_once_with_its_cause(system: ActorSystem) -> None:
    await system.spawn(counter("a"))
    with pytest.raises(ActorCrashed) as caught:
        await system.ask("a", Crash("why"), timeout=100)
    assert trio.current_time() == 0
    assert str(caught.value.__cause__) == "why"


async def test_the_asker_of_a_killed_actor_learns_it_at_once(system: ActorSystem) -> None:
    await system.spawn(counter("a"))
    async with trio.open_nursery() as nursery:

        async def asker() -> None:
            with pytest.raises(ActorCrashed):
                await system.ask("a", Doze(100), timeout=200)

        nursery.start_soon(asker)
        await wait_all_tasks_blocked()
        await system.kill("a")
    assert trio.current_time() == 0
    assert [entry.outcome for entry in system.trace("a")] == ["killed"]
    assert system.node("a").crash is None  # type: ignore[union-attr]


async def test_an_ask_to_an_actor_between_restarts_waits_for_it(system: ActorSystem) -> None:
    backoff = Backoff(base=2, jitter=0)
    await system.spawn(SupervisorSpec("s", children=[counter("a")], backoff=backoff))
    for _ in range(2):
        with pytest.raises(ActorCrashed):
            await system.ask("s/a", Crash())
    assert system.node("s/a").state == "backing off"  # type: ignore[union-attr]
    assert await system.ask("s/a", Get()) == 0
    assert trio.current_time() == pytest.approx(2)


async def test_mail_of_an_actor_that_is_gone_for_good_is_answered(system: ActorSystem) -> None:
    ref = await system.spawn(counter("a", restart=Restart.TEMPORARY))
    async with trio.open_nursery() as nursery:
        for _ in range(3):

            async def asker() -> None:
                with pytest.raises(ActorCrashed):
                    await ref.ask(Get())

            nursery.start_soon(asker)
        ref.tell(Doze(10))
        await wait_all_tasks_blocked()
        nursery.start_soon(system.kill, "a")
    with pytest.raises(ActorCrashed):
        await ref.ask(Get())
    with pytest.raises(NotRunning):
        await system.ask("a", Get())


async def test_a_refusal_reaches_the_asker_and_the_actor_keeps_its_state(system: ActorSystem) -> None:
    ref = await system.spawn(counter("a"))
    await ref.ask(Add(2))
    with pytest.raises(No, match="not today"):
        await ref.ask(Refuse("not today"))
    assert await ref.ask(Get()) == 2
    ref.tell(Refuse())  # told, not asked: nobody hears of it
    assert await ref.ask(Get()) == 2


# -- promises and forwarding


async def test_a_promise_is_kept_later_while_the_mailbox_stays_served(system: ActorSystem) -> None:
    await relayers(system, "a")
    answers: list[str] = []

    async def asker() -> None:
        answers.append(await system.ask("a", Promise()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(asker)
        await wait_all_tasks_blocked()
        assert await system.ask("a", Add(1)) == 1
        system.tell("a", Keep("here you are"))
    assert answers == ["here you are"]
    system.tell("a", Keep("again"))  # answering twice is harmless
    assert await system.ask("a", Get()) == 1


@pytest.mark.parametrize(("how", "error"), [("crash", ActorCrashed), ("kill", ActorCrashed), ("stop", NotRunning)])
async def test_a_promise_dies_with_the_actor(system: ActorSystem, how: str, error: type[Exception]) -> None:
    await relayers(system, "a")
    async with trio.open_nursery() as nursery:

        async def asker() -> None:
            with pytest.raises(error):
                await system.ask("a", Promise(), timeout=100)

        nursery.start_soon(asker)
        await wait_all_tasks_blocked()
        if how == "crash":
            system.tell("a", Crash())
        elif how == "kill":
            await system.kill("a")
        else:
            await system.restart("a")
    assert trio.current_time() == 0


async def test_a_promise_knows_when_its_asker_has_gone(system: ActorSystem) -> None:
    await relayers(system, "a")
    with pytest.raises(AskTimeout):
        await system.ask("a", Promise(), timeout=1)
    actor = system.find("a").actor  # type: ignore[union-attr]
    promise = actor.promises[0]
    assert promise.expired
    assert not promise.reply("too late")


async def test_forwarding_lets_another_actor_answer_and_activates_it(system: ActorSystem) -> None:
    await relayers(system, "a")
    await system.spawn(DynamicSpec("d", "k", counter))
    assert await system.ask("a", Elsewhere("k/1", 5)) == 5
    with pytest.raises(NotRunning):
        await system.ask("a", Elsewhere("nobody/1", 5))
    assert system.node("a").restarts == 0  # type: ignore[union-attr]


async def test_a_forwarded_ask_survives_the_forwarder(system: ActorSystem) -> None:
    await relayers(system, "a")
    await system.spawn(counter("slow"))
    answers: list[int] = []

    async def asker() -> None:
        answers.append(await system.ask("a", Elsewhere("slow", 5)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(system.ask, "slow", Doze(2))
        await wait_all_tasks_blocked()
        nursery.start_soon(asker)
        await wait_all_tasks_blocked()
        await system.kill("a")
    assert answers == [5]


@attrs.frozen
class Hold:
    seconds: float


class Holder(Counter):
    @receive
    def hold(self, message: Hold) -> None:
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, MockClock)
        clock.jump(message.seconds)  # as if the handler had kept the loop for so long


async def test_an_ask_whose_deadline_passed_while_the_loop_was_held_does_not_run(system: ActorSystem) -> None:
    ref = await system.spawn(ChildSpec("a", Holder))
    ref.tell(Hold(10))
    with pytest.raises(AskTimeout):
        await ref.ask(Add(1), timeout=5)
    assert await ref.ask(Get()) == 0


@attrs.frozen
class Hand:
    to: str


class Reception(Relayer):
    @receive
    def hand(self, message: Hand) -> None:
        for promise in self.promises:
            promise.forward(message.to, Promise())

    @receive
    def hold(self, message: Hold) -> None:
        for promise in self.promises:
            promise.fail(No("changed my mind"))


async def test_a_promise_can_be_handed_on_or_taken_back(system: ActorSystem) -> None:
    await system.spawn(ChildSpec("a", Reception))
    await relayers(system, "b")
    answers: list[str] = []

    async def asker() -> None:
        try:
            answers.append(await system.ask("a", Promise()))
        except (No, NotRunning) as error:
            answers.append(type(error).__name__)

    for message in (Hand("b"), Hold(0), Hand("nobody")):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(asker)
            await wait_all_tasks_blocked()
            system.tell("a", message)
            await wait_all_tasks_blocked()
            system.tell("b", Keep("from b"))
    assert answers == ["from b", "No", "NotRunning"]


async def test_a_promise_to_nobody_is_harmless(system: ActorSystem) -> None:
    await relayers(system, "a")
    system.tell("a", Promise())
    await wait_all_tasks_blocked()
    system.tell("a", Keep("x"))
    assert await system.ask("a", Get()) == 0
    assert system.node("a").restarts == 0  # type: ignore[union-attr]


async def test_promises_whose_askers_have_gone_do_not_pile_up(system: ActorSystem) -> None:
    await relayers(system, "a")
    for _ in range(200):
        with trio.move_on_after(0.01):
            await system.ask("a", Promise())
    assert len(system.find("a").deferred) <= 70  # type: ignore[union-attr]
