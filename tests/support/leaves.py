"""What a failure came down to: nurseries wrap one error in many, and their stacks bury what went wrong."""

import traceback
from collections.abc import Iterator
from pathlib import Path

import trio

TESTS = str(Path(__file__).parents[1])


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors in a group, however deep, but for the cancellations that any of them causes."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from leaves(each)
    elif not isinstance(error, trio.Cancelled):
        yield error


def told(error: BaseException) -> str:
    """Each error with the last place in the tests that it came by."""
    lines = []
    for leaf in leaves(error):
        lines += [f"{type(leaf).__name__}: {leaf}"]
        ours = [frame for frame in traceback.extract_tb(leaf.__traceback__) if frame.filename.startswith(TESTS)]
        lines += [f"    {frame.filename.removeprefix(TESTS)}:{frame.lineno}: {frame.line}" for frame in ours[-1:]]
    return "\n".join(lines)
