"""A bound for every async test, in seconds on the wall, whatever clock its trio runs on.

It cannot be a fixture: pytest-trio runs each fixture in a task of its own, and a cancel scope that one of them holds is
not around the test. Nor can it be one of trio's own deadlines, which a `MockClock` reaches at once, or never.
"""

import functools
import inspect
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
import trio

BOUND = 120.0
"""Many times what the longest test takes on a busy machine."""

SLOW_BOUND = 600.0
"""The same for those marked `slow`."""


def bound(item: pytest.Function) -> None:
    """Bound the test, when it is async. Of one that takes examples from Hypothesis, each example is bounded."""
    seconds = SLOW_BOUND if item.get_closest_marker("slow") else BOUND
    examples = getattr(item.obj, "hypothesis", None)
    if examples is None:
        if inspect.iscoroutinefunction(item.obj):
            item.obj = bounded(item.obj, seconds)
    elif inspect.iscoroutinefunction(examples.inner_test) and not hasattr(examples.inner_test, "is_bounded"):
        # One for all the parameters of the test.
        examples.inner_test = bounded(examples.inner_test, seconds)
        examples.inner_test.is_bounded = True


def bounded(test: Callable[..., Awaitable[None]], seconds: float) -> Callable[..., Awaitable[None]]:
    """*test*, which is cancelled, and fails, when it is not over after *seconds*."""

    @functools.wraps(test)
    async def within(**fixtures: Any) -> None:
        token = trio.lowlevel.current_trio_token()
        with trio.CancelScope() as scope:

            def stop() -> None:
                with suppress(trio.RunFinishedError):  # it ended just now
                    token.run_sync_soon(scope.cancel)

            watch = threading.Timer(seconds, stop)
            watch.daemon = True
            watch.start()
            try:
                await test(**fixtures)
            finally:
                watch.cancel()
        if scope.cancelled_caught:
            pytest.fail(f"not over after {seconds:g} seconds")

    return within
