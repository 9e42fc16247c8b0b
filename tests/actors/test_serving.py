"""An actor that asks others for its answers does not fall with them."""

import random

import attrs
import pytest
import trio
from trio.testing import MockClock

from understudy.actors.errors import Unavailable
from understudy.actors.serving import Server
from understudy.runtime import Actor, ActorSystem, Ask, ChildSpec, Deferred, receive


@attrs.frozen
class Question(Ask[str]):
    """What is asked of either."""

    of: str


class Other(Actor):
    """Never answers, or dies of it."""

    @receive
    async def question(self, message: Question) -> str:
        """Do as its name says."""
        if self.address == "dying":
            raise LookupError("a fault of its own")
        await trio.sleep_forever()
        raise AssertionError


class Between(Server):
    """Asks another one for its answer."""

    @receive
    def question(self, message: Question) -> Deferred[str]:
        """Pass it on."""
        return self.answer(message, self._ask, message)

    async def _ask(self, message: Question) -> str:
        return await self.system.ask(message.of, message, timeout=1.0)


@pytest.mark.parametrize("of", ["silent", "dying", "nobody"])
async def test_an_actor_that_is_away_is_no_crash_of_who_asks_it(of: str, autojump_clock: MockClock) -> None:
    with trio.fail_after(3600):
        async with ActorSystem("test", rng=random.Random(1)) as system:
            await system.spawn(ChildSpec("silent", Other))
            await system.spawn(ChildSpec("dying", Other))
            between = await system.spawn(ChildSpec("between", Between))
            for _ in range(5):
                with pytest.raises(Unavailable, match="try again"):
                    await between.ask(Question(of))
                await trio.sleep(60)
            node = system.node("between")
            assert node is not None
            assert node.restarts == 0
            await system.stop()
