"""Rules 8 and 11 to 14: lanes, limits, order, stash, dead letters, context, monitors and links."""

from __future__ import annotations

import contextlib

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.support.kernel import Add, Counter, Crash, Doze, Get, Note, Quit, counter
from understudy.runtime import (
    Actor,
    ActorSystem,
    Ask,
    ChildSpec,
    Context,
    Down,
    Killed,
    LinkedExit,
    MailboxFull,
    Normal,
    NotFound,
    NotRunning,
    Overflow,
    Ref,
    Restart,
    RuntimeFault,
    Unhandled,
    current_context,
    receive,
)
from understudy.runtime.testing import Inbox, Probe, wait_exit


class Small(Counter):
    mailbox_limit = 3


class Blocking(Small):
    overflow = Overflow.BLOCK


class Dropping(Small):
    overflow = Overflow.DROP_OLDEST


async def occupied(system: ActorSystem, actor: type[Actor], nursery: trio.Nursery, seconds: float = 10) -> Ref:
    """An actor of the class, busy for *seconds*."""
    ref = await system.spawn(ChildSpec("a", actor))
    nursery.start_soon(ref.ask, Doze(seconds), 100)
    await wait_all_tasks_blocked()
    return ref


# -- rule 11: lanes and limits


async def test_a_full_mailbox_rejects_and_says_when_to_come_back(system: ActorSystem) -> None:
    async with trio.open_nursery() as nursery:
        ref = await occupied(system, Small, nursery)
        for n in range(3):
            ref.tell(Note(n))
        await trio.sleep(4)
        with pytest.raises(MailboxFull) as caught:
            ref.tell(Note(3))
        assert caught.value.retry_after == pytest.approx(4)
        with pytest.raises(MailboxFull):
            await ref.ask(Get())
    assert await ref.ask(Get()) == 3


async def test_a_blocking_mailbox_makes_senders_wait_in_order(system: ActorSystem) -> None:
    async with trio.open_nursery() as nursery:
        ref = await occupied(system, Blocking, nursery)
        for n in range(3):
            await ref.send(Note(n))
        for n in range(3, 8):
            nursery.start_soon(ref.send, Note(n), 60)
            await wait_all_tasks_blocked()
        with pytest.raises(MailboxFull):
            ref.tell(Note(99))
    assert await ref.ask(Get()) == 8
    assert notes_of(system, "a") == list(range(8))


def notes_of(system: ActorSystem, address: str) -> list[int]:
    actor = system.find(address).actor  # type: ignore[union-attr]
    return actor.notes  # type: ignore[no-any-return]


async def test_a_blocked_sender_gives_up_at_its_deadline_and_nothing_is_queued(system: ActorSystem) -> None:
    async with trio.open_nursery() as nursery:
        ref = await occupied(system, Blocking, nursery)
        for n in range(3):
            await ref.send(Note(n))
        with pytest.raises(MailboxFull):
            await ref.send(Note(3), timeout=2)
        with trio.move_on_after(1):
            await ref.send(Note(4), timeout=50)  # cancelled means not queued
        with pytest.raises(MailboxFull):
            await ref.ask(Get(), timeout=2)
    assert await ref.ask(Get()) == 3


async def test_a_blocked_ask_is_answered_when_there_is_room(system: ActorSystem) -> None:
    async with trio.open_nursery() as nursery:
        ref = await occupied(system, Blocking, nursery)
        for n in range(3):
            await ref.send(Note(n))
        assert await ref.ask(Add(10), timeout=30) == 13


async def test_a_blocked_sender_to_an_actor_that_dies_does_not_hang(system: ActorSystem) -> None:
    ref = await system.spawn(ChildSpec("a", Blocking, restart=Restart.TEMPORARY))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(swallow, ref.ask, Doze(50))
        await wait_all_tasks_blocked()
        for n in range(3):
            await ref.send(Note(n))
        nursery.start_soon(swallow, ref.ask, Get())
        nursery.start_soon(ref.send, Note(5))
        await wait_all_tasks_blocked()
        await system.kill("a")
    assert system.dead_letters.counts["not_found"] >= 4


async def swallow(fn: object, *args: object) -> None:
    with contextlib.suppress(RuntimeFault):
        await fn(*args)  # type: ignore[operator]


async def test_drop_oldest_keeps_the_newest(system: ActorSystem) -> None:
    async with trio.open_nursery() as nursery:
        ref = await occupied(system, Dropping, nursery)
        for n in range(6):
            ref.tell(Note(n))
    await ref.ask(Get())
    assert notes_of(system, "a") == [3, 4, 5]
    assert system.dead_letters.counts["overflow"] == 3


async def test_system_messages_are_never_behind_user_mail(system: ActorSystem) -> None:
    order: list[str] = []

    class Watcher(Counter):
        async def started(self) -> None:
            self.monitor("other")

        @receive
        def down(self, message: Down) -> None:
            order.append("down")

        def note(self, message: Note) -> None:
            order.append("note")

    await system.spawn(counter("other", restart=Restart.TEMPORARY))
    ref = await system.spawn(ChildSpec("w", Watcher))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ref.ask, Doze(1))
        await wait_all_tasks_blocked()
        for _ in range(5):
            ref.tell(Note())
        await system.kill("other")
    await ref.ask(Get())
    assert order == ["down", *["note"] * 5]


async def test_a_stop_overtakes_user_mail(system: ActorSystem) -> None:
    ref = await system.spawn(counter("a", restart=Restart.TEMPORARY))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ref.ask, Doze(1))
        await wait_all_tasks_blocked()
        for _ in range(100):
            ref.tell(Doze(1000))
        began = trio.current_time()
        await system.stop()
    assert trio.current_time() - began == pytest.approx(1)
    assert system.dead_letters.counts["stopped"] == 100


# -- rule 12: order and stash


async def test_messages_of_one_sender_arrive_in_order(system: ActorSystem) -> None:
    ref = await system.spawn(counter("a"))
    for n in range(900):
        ref.tell(Note(n))
    await ref.ask(Get())
    assert notes_of(system, "a") == list(range(900))


@attrs.frozen
class Open:
    pass


@attrs.frozen
class Enter(Ask[str]):
    who: str


class Gate(Actor):
    stash_limit = 3

    def __init__(self) -> None:
        self.open = False
        self.entered: list[str] = []

    @receive
    def enter(self, message: Enter) -> str:
        if not self.open:
            self.stash()
            return ""
        self.entered.append(message.who)
        return f"welcome {message.who}"

    @receive
    def unlock(self, message: Open) -> None:
        self.open = True
        self.unstash_all()


async def test_stashed_messages_come_back_first_and_in_order_and_their_askers_are_answered(system: ActorSystem) -> None:
    ref = await system.spawn(ChildSpec("gate", Gate))
    answers: list[str] = []

    async def enter(who: str) -> None:
        answers.append(await ref.ask(Enter(who)))

    async with trio.open_nursery() as nursery:
        for who in "abc":
            nursery.start_soon(enter, who)
            await wait_all_tasks_blocked()
        assert answers == []
        ref.tell(Open())
    assert sorted(answers) == ["welcome a", "welcome b", "welcome c"]
    assert system.find("gate").actor.entered == ["a", "b", "c"]  # type: ignore[union-attr]


async def test_the_stash_has_a_bound_and_survives_a_restart(system: ActorSystem) -> None:
    ref = await system.spawn(ChildSpec("gate", Gate))
    for who in "abcd":  # the fourth finds the stash full: MailboxFull crashes the actor
        ref.tell(Enter(who))
    await trio.sleep(1)
    node = system.node("gate")
    assert node is not None
    assert node.restarts == 1
    assert node.stashed == 3


# -- rule 13: dead letters


async def test_dead_letters_are_counted_kept_published_and_logged_sparingly(
    system: ActorSystem, caplog: pytest.LogCaptureFixture
) -> None:
    published: list[object] = []
    system.telemetry.attach("t", lambda event: published.append(event.metadata["reason"]), events=["dead_letter"])
    ref = await system.spawn(counter("a", restart=Restart.TEMPORARY))
    await ref.ask(Quit())
    await wait_exit(system, "a")
    await wait_all_tasks_blocked()
    for n in range(50):
        ref.tell(Note(n))
    system.tell("nobody", Note())
    assert system.dead_letters.counts["not_found"] == 51
    assert published == ["not_found"] * 51
    assert system.dead_letters.recent()[0].message == Note(0)
    assert len(caplog.records) == 1
    await trio.sleep(2)
    system.tell("nobody", Note())
    assert "51 since the last line" in caplog.text


async def test_a_message_without_a_handler_is_a_dead_letter_and_an_error_to_its_asker(system: ActorSystem) -> None:
    ref = await system.spawn(ChildSpec("gate", Gate))
    with pytest.raises(Unhandled):
        await ref.ask(Get())
    assert system.dead_letters.counts["unhandled"] == 1


async def test_supervisors_take_no_mail(system: ActorSystem) -> None:
    with pytest.raises(NotRunning):
        await system.ask("", Get())


# -- rule 14: what an envelope carries


@attrs.frozen
class Show(Ask[Context]):
    pass


@attrs.frozen
class Pass(Ask[Context]):
    to: str


class Mirror(Actor):
    @receive
    def show(self, message: Show) -> Context:
        return current_context()

    @receive
    async def hand_on(self, message: Pass) -> Context:
        return await self.system.ask(message.to, Show(), timeout=50)


async def test_an_envelope_carries_sender_deadline_chain_request_trace_and_tenant(system: ActorSystem) -> None:
    await system.spawn(ChildSpec("a", Mirror))
    await system.spawn(ChildSpec("b", Mirror))
    with system.context(request_id="r1", trace="t1", tenant="w1", deadline=trio.current_time() + 3):
        seen = await system.ask("a", Pass("b"), timeout=10)
    assert (seen.sender, seen.request_id, seen.trace, seen.tenant) == ("a", "r1", "t1", "w1")
    assert seen.deadline == 3
    assert seen.chain == ("a",)
    outside = await system.ask("a", Show())
    assert (outside.sender, outside.request_id, outside.chain) == (None, None, ())


async def test_expired_mail_is_not_handled(system: ActorSystem) -> None:
    async with trio.open_nursery() as nursery:
        ref = await occupied(system, Counter, nursery)
        ref.tell(Note(1), expires_in=5)
        ref.tell(Note(2), expires_in=50)
    await ref.ask(Get())
    assert notes_of(system, "a") == [2]
    assert system.dead_letters.counts["expired"] == 1


# -- rule 8: monitors and links


class Observer(Probe):
    def __init__(self, inbox: Inbox, targets: list[str]) -> None:
        super().__init__(inbox)
        self.targets = targets

    async def started(self) -> None:
        for target in self.targets:
            self.monitor(target)


async def observe(system: ActorSystem, *targets: str) -> Inbox:
    inbox = Inbox()
    await system.spawn(ChildSpec("observer", Observer, args=(inbox, list(targets))))
    await wait_all_tasks_blocked()
    return inbox


async def test_a_monitor_gives_exactly_one_down_and_not_for_a_restart(system: ActorSystem) -> None:
    await system.spawn(counter("a", restart=Restart.TRANSIENT))
    inbox = await observe(system, "a", "a")
    await system.kill("a")
    await system.ask("a", Get())
    inbox.assert_quiet()
    await system.ask("a", Quit())
    for _ in range(2):  # two monitors, one down each
        assert await inbox.next(Down) == Down("a", Normal())
    await trio.sleep(10)
    inbox.assert_quiet()


async def test_a_monitor_of_the_dead_says_not_found_at_once(system: ActorSystem) -> None:
    inbox = await observe(system, "nobody")
    assert await inbox.next(Down) == Down("nobody", NotFound())


async def test_a_cancelled_monitor_is_silent(system: ActorSystem) -> None:
    await system.spawn(counter("a", restart=Restart.TEMPORARY))
    inbox = await observe(system)
    probe = inbox.probe
    assert probe is not None
    probe.monitor("a").cancel()
    await system.kill("a")
    await trio.sleep(1)
    inbox.assert_quiet()


class Twin(Counter):
    def __init__(self, other: str) -> None:
        super().__init__()
        self.other = other

    async def started(self) -> None:
        ref = self.system.whereis(self.other)
        if ref is not None and ref.epoch:
            self.link(ref)


async def test_a_link_couples_fates_both_ways_but_not_on_a_normal_end(system: ActorSystem) -> None:
    for victim, other in (("a", "b"), ("b", "a")):
        await system.spawn(counter("a", restart=Restart.TEMPORARY))
        await system.spawn(ChildSpec("b", Twin, args=("a",), restart=Restart.TEMPORARY))
        inbox = Inbox()
        await system.spawn(ChildSpec("o", Observer, args=(inbox, [other]), restart=Restart.TEMPORARY))
        await system.kill(victim)
        down = await inbox.next(Down)
        assert isinstance(down.exit.error, LinkedExit)  # type: ignore[union-attr]
        await system.kill("o")
        await wait_all_tasks_blocked()
    await system.spawn(counter("a", restart=Restart.TEMPORARY))
    await system.spawn(ChildSpec("b", Twin, args=("a",)))
    await system.ask("a", Quit())
    await trio.sleep(1)
    node = system.node("b")
    assert node is not None
    assert node.restarts == 0


async def test_a_killed_actors_exit_is_killed(system: ActorSystem) -> None:
    await system.spawn(counter("a", restart=Restart.TEMPORARY))
    inbox = await observe(system, "a")
    await system.kill("a")
    assert isinstance((await inbox.next(Down)).exit, Killed)


async def test_crash_is_the_exit_of_a_crash(system: ActorSystem) -> None:
    ref = await system.spawn(counter("a", restart=Restart.TEMPORARY))
    inbox = await observe(system, "a")
    ref.tell(Crash("why"))
    assert str((await inbox.next(Down)).exit.error) == "why"  # type: ignore[union-attr]


async def test_linking_to_the_dead_ends_the_one_who_links(system: ActorSystem) -> None:
    ref = await system.spawn(counter("a", restart=Restart.TEMPORARY))
    await system.kill("a")
    await system.spawn(counter("b"))
    system.find("b").actor.link(ref)  # type: ignore[union-attr]
    await wait_all_tasks_blocked()
    node = system.node("b")
    assert node is not None
    assert node.restarts == 1
    assert "LinkedExit" in node.crash.error  # type: ignore[union-attr]
