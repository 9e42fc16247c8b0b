"""What went wrong, out of the groups that trio's nurseries put it in."""

from collections.abc import Iterator
from contextlib import contextmanager


def innermost(error: BaseException) -> BaseException:
    """The first error at the bottom of exception groups; *error* itself when it is none."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@contextmanager
def lone_error() -> Iterator[None]:
    """Raise what a group holds instead of the group, when that is one error: for code that has one task at work."""
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        raise error from error.__cause__
