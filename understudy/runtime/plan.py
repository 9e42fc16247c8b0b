"""What a supervisor decides, as pure functions: whether to restart, and whom to take along."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, assert_never

from understudy.runtime.childspec import Restart, Strategy
from understudy.runtime.exits import is_abnormal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from understudy.runtime.exits import Exit

T = TypeVar("T")


def restarts(policy: Restart, exit: Exit) -> bool:
    """Whether a child under *policy* is started again after *exit*."""
    match policy:
        case Restart.PERMANENT:
            return True
        case Restart.TRANSIENT:
            return is_abnormal(exit)
        case Restart.TEMPORARY:
            return False
        case _:
            assert_never(policy)


def group(strategy: Strategy, children: Sequence[T], failed: T) -> Sequence[T]:
    """Return who is restarted when *failed* is, in starting order. Stop them in reverse."""
    at = children.index(failed)
    match strategy:
        case Strategy.ONE_FOR_ONE:
            return children[at : at + 1]
        case Strategy.REST_FOR_ONE:
            return children[at:]
        case Strategy.ONE_FOR_ALL:
            return children[:]
        case _:
            assert_never(strategy)
