"""Rules 21 to 23: the tree, its watchers, the operator's controls, traces, telemetry."""

from __future__ import annotations

import itertools

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.support.kernel import Add, Counter, Crash, Doze, Get, Note, Refuse, counter
from understudy.runtime import (
    EVENTS,
    ActorCrashed,
    ActorSystem,
    Backoff,
    ChildSpec,
    DynamicSpec,
    InspectFailed,
    MailboxFull,
    NotRunning,
    Refusal,
    Restart,
    Strategy,
    SupervisorSpec,
    TelemetryEvent,
    TreeChanges,
)


async def test_the_tree_shows_every_actor_as_it_is(system: ActorSystem) -> None:
    class Labelled(Counter):
        async def started(self) -> None:
            self.labels = {"workspace": "w1"}
            self.status = "thinking"
            self.after(100, Note())
            self.work(trio.sleep, 100, name="toil")

    children = [ChildSpec("a", Labelled), counter("b")]
    await system.spawn(SupervisorSpec("s", strategy=Strategy.REST_FOR_ONE, children=children))
    await system.spawn(DynamicSpec("d", "k", counter))
    await system.ensure("k/1")
    await system.ask("s/a", Add())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(system.ask, "s/a", Doze(4))
        await trio.sleep(1)
        for n in range(3):
            system.tell("s/a", Note(n))
        await trio.sleep(1)
        tree = system.tree()
    assert [child.address for child in tree.children] == ["s", "d"]
    s, d = tree.children
    assert (s.strategy, s.kind, s.child_count) == ("rest_for_one", "supervisor", 2)
    assert d.strategy == "dynamic"
    assert d.children[0].kind == "k"
    a = s.children[0]
    assert (a.state, a.current) == ("busy", "Doze")
    assert a.current_age == pytest.approx(2)
    assert (a.mailbox, a.high_water) == (3, 3)
    assert a.head_age == pytest.approx(1)
    assert (a.handled, a.timers, a.status, a.labels) == (1, 1, "thinking", {"workspace": "w1"})
    assert [info.name for info in a.work] == ["toil"]
    assert a.work[0].age == pytest.approx(2)
    assert a.uptime == pytest.approx(2)
    assert s.children[1].state == "idle"
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        a.state = "idle"  # type: ignore[misc]


async def test_the_tree_shows_crashes_and_restarts(system: ActorSystem) -> None:
    spec = SupervisorSpec("s", children=[counter("a", poison_after=9)], backoff=Backoff(base=5, jitter=0), window=3)
    await system.spawn(spec)
    for _ in range(2):
        with pytest.raises(ActorCrashed):
            await system.ask("s/a", Crash("of old age"))
    await wait_all_tasks_blocked()
    node = system.node("s/a")
    assert node is not None
    assert (node.state, node.restarts, node.restarts_in_window) == ("backing off", 2, 2)
    assert node.crash is not None
    assert (node.crash.error, node.crash.message, node.crash.at) == ("ValueError: of old age", "Crash", 0)
    assert "raise ValueError(message.why)" in node.crash.traceback
    await system.ask("s/a", Get(), timeout=10)
    await trio.sleep(5)
    node = system.node("s/a")
    assert node is not None
    assert (node.state, node.restarts, node.restarts_in_window) == ("idle", 2, 0)
    assert system.node("nobody") is None


# -- watching


async def test_a_watcher_begins_with_everything_and_then_sees_changes_together(system: ActorSystem) -> None:
    await system.spawn(DynamicSpec("d", "k", lambda key: counter(key, restart=Restart.TEMPORARY)))
    seen: list[TreeChanges] = []
    times: list[float] = []

    async def watch() -> None:
        async with system.watch_tree() as watcher:
            async for changes in watcher:
                seen.append(changes)
                times.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await trio.sleep(5)
        assert [node.address for node in seen[0].changed] == ["", "d"]
        assert len(seen) == 1  # nothing happened since
        for number in range(10):
            await system.ensure(f"k/{number}")
        await trio.sleep(1)
        assert {node.address for change in seen[1:] for node in change.changed} == {f"k/{n}" for n in range(10)}
        count = len(seen)
        assert count <= 3
        for _ in range(200):
            await system.ask("k/1", Add())
            await trio.sleep(0.01)
        assert count < len(seen) <= count + 22
        await system.kill("k/1")
        await trio.sleep(1)
        assert seen[-1].removed == ("k/1",)
        assert all(node.children == () for change in seen for node in change.changed)
        nursery.cancel_scope.cancel()
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert min(gaps) >= 0.0999
    assert system.watchers == {}


async def test_a_watcher_sees_busy_and_a_new_status(system: ActorSystem) -> None:
    await system.spawn(counter("a"))
    async with system.watch_tree() as watch:
        await watch.__anext__()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(system.ask, "a", Doze(3))
            changes = await watch.__anext__()
            assert [(node.address, node.state) for node in changes.changed] == [("a", "busy")]
        changes = await watch.__anext__()
        assert [node.state for node in changes.changed] == ["idle"]
        system.find("a").actor.status = "musing"  # type: ignore[union-attr]
        changes = await watch.__anext__()
        assert [node.status for node in changes.changed] == ["musing"]


# -- controls


async def test_a_wedged_actor_can_still_be_examined(system: ActorSystem) -> None:
    await system.spawn(counter("a"))
    await system.ask("a", Add(3))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(system.ask, "a", Doze(2))
        await wait_all_tasks_blocked()
        assert await system.inspect("a") == {"total": 3}
    assert (await system.inspect(""))["children"] == 1
    with pytest.raises(NotRunning):
        await system.inspect("nobody")


async def test_a_snapshot_that_raises_harms_nobody(system: ActorSystem) -> None:
    class Opaque(Counter):
        def snapshot(self) -> dict[str, object]:
            raise KeyError("secret")

    await system.spawn(ChildSpec("a", Opaque))
    with pytest.raises(InspectFailed):
        await system.inspect("a")
    assert await system.ask("a", Get()) == 0
    assert system.node("a").restarts == 0  # type: ignore[union-attr]


async def test_a_suspended_actor_holds_its_mail_and_goes_on_when_resumed(system: ActorSystem) -> None:
    ref = await system.spawn(counter("a"))
    await system.suspend("a")
    assert system.node("a").state == "suspended"  # type: ignore[union-attr]
    ref.tell(Note(1))
    ref.tell(Note(2))
    await trio.sleep(10)
    assert system.node("a").mailbox == 2  # type: ignore[union-attr]
    assert await system.inspect("a") == {"total": 0}
    await system.resume("a")
    assert await ref.ask(Get()) == 2
    assert system.node("a").state == "idle"  # type: ignore[union-attr]


async def test_a_suspended_actor_can_be_killed_and_comes_back_unsuspended(system: ActorSystem) -> None:
    ref = await system.spawn(counter("a"))
    await system.suspend("a")
    ref.tell(Note())
    await system.kill("a")
    assert await ref.ask(Get()) == 1


async def test_a_suspended_supervisor_decides_later(system: ActorSystem) -> None:
    await system.spawn(SupervisorSpec("s", children=[counter("a")]))
    await system.suspend("s")
    with pytest.raises(ActorCrashed):
        await system.ask("s/a", Crash())
    await trio.sleep(10)
    assert system.node("s/a").state == "backing off"  # type: ignore[union-attr]
    await system.resume("s")
    assert await system.ask("s/a", Get()) == 0


async def test_kills_by_an_operator_cost_no_budget_and_wait_for_no_backoff(system: ActorSystem) -> None:
    await system.spawn(SupervisorSpec("s", children=[counter("a")], max_restarts=0))
    for _ in range(20):
        await system.kill("s/a")
        await system.ask("s/a", Get())
    assert trio.current_time() == 0
    node = system.node("s")
    assert node is not None
    assert node.restarts == 0


async def test_a_restart_by_an_operator_is_in_good_order_whatever_the_policy(system: ActorSystem) -> None:
    diary: list[str] = []
    await system.spawn(counter("a", diary, restart=Restart.TEMPORARY))
    await system.restart("a")
    assert diary == ["+a", "~a", "-a", "+a"]


async def test_a_restart_by_an_operator_does_not_wait_for_the_backoff(system: ActorSystem) -> None:
    backoff = Backoff(base=1000)
    await system.spawn(SupervisorSpec("s", children=[counter("a")], backoff=backoff))
    for _ in range(2):
        with pytest.raises(ActorCrashed):
            await system.ask("s/a", Crash())
    await system.restart("s/a")
    assert trio.current_time() == 0
    assert await system.ask("s/a", Get()) == 0


async def test_the_trace_has_the_last_messages_with_outcome_and_duration(system: ActorSystem) -> None:
    ref = await system.spawn(counter("a"))
    for _ in range(20):
        ref.tell(Note())
    with system.context(request_id="r7"):
        await ref.ask(Doze(2))
    with pytest.raises(Refusal):
        await ref.ask(Refuse())
    with pytest.raises(ActorCrashed):
        await ref.ask(Crash())
    await ref.ask(Get())
    trace = system.trace("a")
    assert len(trace) == 16
    doze, refuse, crash, get = trace[-4:]
    assert (doze.message, doze.outcome, doze.request_id) == ("Doze", "ok", "r7")
    assert doze.seconds == pytest.approx(2)
    assert [entry.outcome for entry in (refuse, crash, get)] == ["refused", "crashed", "ok"]
    with pytest.raises(NotRunning):
        system.trace("nobody")


# -- telemetry


def broken(event: TelemetryEvent) -> None:
    raise KeyError("missing")


async def test_every_event_has_the_keys_of_the_published_table(system: ActorSystem) -> None:
    events: list[TelemetryEvent] = []
    system.telemetry.attach("all", events.append)
    children = [ChildSpec("a", Counter, mailbox_limit=1, poison_after=1)]
    await system.spawn(SupervisorSpec("s", children=children, max_restarts=0))
    await system.spawn(DynamicSpec("d", "k", counter, quarantine=5, max_restarts=0))
    system.tell("nobody", Note())
    for address in ("s/a", "k/1"):
        with pytest.raises(ActorCrashed):
            await system.ask(address, Crash())
    await system.ask("s/a", Get())
    system.telemetry.attach("bad", broken)
    await system.ask("s/a", Get())
    system.telemetry.loop_held("s/a", "Get", 0.2, "stack")
    assert {event.name for event in events} == set(EVENTS)
    for event in events:
        kind = EVENTS[event.name]
        assert tuple(event.measurements) == kind.measurements, event.name
        assert tuple(event.metadata) == kind.metadata, event.name


async def test_a_listener_that_raises_is_detached_and_reported_and_nobody_is_hurt(
    system: ActorSystem, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[TelemetryEvent] = []

    system.telemetry.attach("good", heard.append, events=["listener.failed"])
    system.telemetry.attach("bad", broken)
    await system.spawn(counter("a"))
    assert await system.ask("a", Get()) == 0
    assert system.telemetry.listeners() == ("good",)
    assert [event.metadata["listener"] for event in heard] == ["bad"]
    assert "detached" in caplog.text


async def test_message_events_cost_nothing_unless_somebody_listens(system: ActorSystem) -> None:
    assert not system.telemetry.active
    system.telemetry.attach("crashes", print, events=["actor.crash"])
    assert not system.telemetry.messages
    with pytest.raises(ValueError, match="no such events"):
        system.telemetry.attach("typo", print, events=["actor.crashed"])
    heard: list[TelemetryEvent] = []
    system.telemetry.attach("messages", heard.append, events=["message"])
    ref = await system.spawn(counter("a"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ref.ask, Doze(2))
        await wait_all_tasks_blocked()
        nursery.start_soon(ref.ask, Get())
    assert [event.metadata["message"] for event in heard] == ["Doze", "Get"]
    assert heard[1].measurements["waited"] == pytest.approx(2)
    system.telemetry.detach("messages")
    system.telemetry.detach("crashes")
    assert not system.telemetry.active


async def test_mailbox_full_is_no_crash_of_the_receiver(system: ActorSystem) -> None:
    ref = await system.spawn(ChildSpec("a", Counter, mailbox_limit=1))
    await system.suspend("a")
    ref.tell(Note())
    with pytest.raises(MailboxFull):
        ref.tell(Note())
    await system.resume("a")
    await wait_all_tasks_blocked()
    assert await ref.ask(Get()) == 1
