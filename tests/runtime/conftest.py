"""The kernel's tests run on a clock that jumps over every wait, each within a day of its time."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from understudy.runtime import ActorSystem
from understudy.runtime.testing import A_DAY, open_system, seed_scheduler

HERE = Path(__file__).parent
REAL_TIME = "test_real_time.py"  # what needs a clock on the wall lives in this one file


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run each async test here on a jumping clock, and give it an outer deadline.

    Without the deadline, a deadlock under a jumping clock spins for ever.
    """
    for item in items:
        if item.path.parent == HERE and item.path.name != REAL_TIME and isinstance(item, pytest.Function):
            test = item.obj
            if inspect.iscoroutinefunction(test):
                item.obj = _within_a_day(test)
                item.add_marker(pytest.mark.trio(run=_run_jumping))


def _run_jumping(fn: Callable[[], Any], *, clock: Any = None, instruments: Sequence[Any] = ()) -> Any:
    seed_scheduler(0)
    return trio.run(fn, clock=clock or MockClock(autojump_threshold=0), instruments=instruments)


def _within_a_day(test: Any) -> Any:
    @functools.wraps(test)
    async def bounded(**fixtures: Any) -> None:
        with trio.fail_after(A_DAY):
            await test(**fixtures)

    return bounded


@pytest.fixture
async def system() -> AsyncIterator[ActorSystem]:
    """A seeded system that is checked for leaks when the test is over."""
    with trio.move_on_after(A_DAY):
        async with open_system() as system:
            yield system
