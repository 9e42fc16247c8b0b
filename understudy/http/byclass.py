"""What is found out about a class once."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

R = TypeVar("R")


def once_a_class(find: Callable[[Any], R]) -> Callable[[Any], R]:
    """As `functools.cache`, for a function of a class, which type checkers take for something that has no hash."""
    return functools.cache(find)
