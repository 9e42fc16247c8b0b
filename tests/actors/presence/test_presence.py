"""What the live agents of a user do, as others see it."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from understudy.actors.presence.actor import presence_spec
from understudy.actors.presence.messages import (
    PRESENCE,
    AnnouncePresence,
    ListPresence,
    Presence,
    PresenceChanged,
    PresenceGone,
)
from understudy.runtime import Actor, ActorSystem, Ask, ChildSpec, DynamicSpec, Restart, receive

NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)


@attrs.frozen
class Become(Ask[None]):
    state: str


@attrs.frozen
class Leave(Ask[None]):
    politely: bool


class Session(Actor):
    """As much of a session as presence sees: ``session/<uid>.<workspace>.<number>``."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.state = "idle"

    async def started(self) -> None:
        self.say()

    def say(self) -> None:
        uid, workspace, number = self.key.split(".")
        since = NOW + timedelta(seconds=int(number))
        presence = Presence("chad", self.key, workspace, uid, self.state, since)
        self.system.tell(PRESENCE, PresenceChanged(presence))

    @receive
    def become(self, message: Become) -> None:
        self.state = message.state
        self.say()

    @receive
    def announce(self, message: AnnouncePresence) -> None:
        self.say()

    @receive
    def leave(self, message: Leave) -> None:
        if message.politely:
            self.system.tell(PRESENCE, PresenceGone(self.key))
        self.stop()


@pytest.fixture
async def system() -> AsyncIterator[ActorSystem]:
    async with ActorSystem("test") as system:
        await system.spawn(presence_spec())
        await system.spawn(
            DynamicSpec(
                "sessions", "session", lambda key: ChildSpec(key, Session, args=(key,), restart=Restart.TRANSIENT)
            )
        )
        yield system


async def states(system: ActorSystem, uid: str = "usr_1", workspace: str = "ws_1") -> dict[str, str]:
    await wait_all_tasks_blocked(0.001)
    with trio.fail_after(30):
        listed = await system.ask(PRESENCE, ListPresence(uid, workspace))
    return {presence.session_id: presence.state for presence in listed}


async def test_a_user_sees_their_own_agents_in_one_workspace_newest_change_first(system: ActorSystem) -> None:
    for key in ("usr_1.ws_1.1", "usr_1.ws_1.3", "usr_1.ws_1.2", "usr_1.ws_2.4", "usr_2.ws_1.5"):
        await system.ensure(f"session/{key}")
    assert list(await states(system)) == ["usr_1.ws_1.3", "usr_1.ws_1.2", "usr_1.ws_1.1"]
    assert list(await states(system, workspace="ws_2")) == ["usr_1.ws_2.4"]
    assert await states(system, "usr_3") == {}


async def test_the_newest_word_counts(system: ActorSystem) -> None:
    for state in ("thinking", "tool", "streaming"):
        await system.ask("session/usr_1.ws_1.1", Become(state))
    assert await states(system) == {"usr_1.ws_1.1": "streaming"}


@pytest.mark.parametrize("politely", [True, False])
async def test_a_session_that_left_is_seen_no_more_whether_it_said_so_or_not(
    system: ActorSystem, politely: bool
) -> None:
    await system.ensure("session/usr_1.ws_1.1")
    await system.ensure("session/usr_1.ws_1.2")
    assert len(await states(system)) == 2
    await system.ask("session/usr_1.ws_1.1", Leave(politely))
    assert await states(system) == {"usr_1.ws_1.2": "idle"}


async def test_after_its_own_death_presence_knows_again_what_every_live_session_does(system: ActorSystem) -> None:
    await system.ask("session/usr_1.ws_1.1", Become("thinking"))
    await system.ensure("session/usr_1.ws_1.2")
    before = await states(system)
    for _ in range(3):
        await system.kill(PRESENCE)
        assert await states(system) == before


async def test_a_session_that_was_killed_and_came_back_is_seen_once_in_its_new_state(system: ActorSystem) -> None:
    await system.ask("session/usr_1.ws_1.1", Become("thinking"))
    await system.kill("session/usr_1.ws_1.1")
    assert await states(system) == {"usr_1.ws_1.1": "idle"}
    await system.ask("session/usr_1.ws_1.1", Leave(politely=False))
    assert await states(system) == {}


async def test_nothing_is_kept_of_sessions_that_are_gone(system: ActorSystem) -> None:
    for number in range(50):
        await system.ensure(f"session/usr_{number}.ws_1.1")
        await system.ask(f"session/usr_{number}.ws_1.1", Leave(politely=number % 2 == 0))
    await wait_all_tasks_blocked(0.001)
    assert await system.inspect(PRESENCE) == {"sessions": 0, "states": {}}
    node = system.node(PRESENCE)
    assert node is not None
    assert node.crash is None
