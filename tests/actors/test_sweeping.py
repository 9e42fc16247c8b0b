"""Sweeps come one after the other, and the absent database costs no more than the one it was needed for."""

import trio
from trio.testing import MockClock

from understudy.actors.sweeping import Sweep, Sweeping
from understudy.runtime import ChildSpec
from understudy.runtime.testing import open_system
from understudy.storage.errors import StoreUnavailable


class Broom(Sweeping):
    sweep_every = 10.0

    def __init__(self, began: list[float]) -> None:
        self._began = began

    async def _sweep(self) -> None:
        self._began.append(trio.current_time())
        if len(self._began) == 2:
            raise StoreUnavailable
        await trio.sleep(15)


class LateBroom(Broom):
    sweeps_at_start = False


async def test_it_sweeps_from_its_start_on_and_never_twice_at_a_time(autojump_clock: MockClock) -> None:
    began: list[float] = []
    with trio.fail_after(600):
        async with open_system() as system:
            ref = await system.spawn(ChildSpec("broom", Broom, args=(began,)))
            ref.tell(Sweep())
            await trio.sleep(45)
    assert [round(moment) for moment in began] == [0, 20, 30]


async def test_one_whose_start_should_be_quick_sweeps_after_an_interval(autojump_clock: MockClock) -> None:
    began: list[float] = []
    with trio.fail_after(600):
        async with open_system() as system:
            await system.spawn(ChildSpec("broom", LateBroom, args=(began,)))
            await trio.sleep(15)
    assert [round(moment) for moment in began] == [10]
