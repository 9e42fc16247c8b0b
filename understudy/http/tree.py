"""The actor tree as JSON: whatever the kernel tells of a node, in camel case, without stopping the loop for it."""

import enum
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import msgspec
import trio

from understudy.http.byclass import once_a_class
from understudy.runtime import Crash, TraceEntry

_MOMENTS: dict[type, tuple[str, ...]] = {Crash: ("at",), TraceEntry: ("began",)}
"""Fields that are moments of trio's clock."""

_AT_ONCE = 200
"""Nodes that are rendered before others get a turn: about half a millisecond."""


def plain(value: Any) -> Any:
    """*value* as JSON-able data: attrs classes by their fields in camel case, errors by their words."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if value - value == 0 else None  # JSON has no infinity
        case enum.Enum():
            return value.value
        case datetime():
            return value
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(item) for item in value]
        case BaseException():
            return f"{type(value).__name__}: {value}"
        case msgspec.Struct():
            return msgspec.to_builtins(value)
        case _:
            pass
    if attrs.has(type(value)):
        shown = {key: plain(getattr(value, name)) for name, key in _fields(type(value))}
        for name in _MOMENTS.get(type(value), ()):
            shown[name] = _on_the_wall(getattr(value, name))
        return shown or type(value).__name__
    return repr(value)


def shallow(node: Any) -> dict[str, Any]:
    """One node without what is beneath it."""
    return {key: plain(getattr(node, name)) for name, key in _fields(type(node)) if name != "children"}


async def deep(node: Any) -> dict[str, Any]:
    """A node and all beneath it. The snapshot is frozen, so others may have their turn while it is rendered."""
    budget = [_AT_ONCE]

    async def render(one: Any) -> dict[str, Any]:
        budget[0] -= 1
        if budget[0] <= 0:
            budget[0] = _AT_ONCE
            await trio.lowlevel.checkpoint()
        shown = shallow(one)
        shown["children"] = [await render(child) for child in one.children]
        return shown

    return await render(node)


@once_a_class
def _fields(kind: type[Any]) -> tuple[tuple[str, str], ...]:
    names = (field.name for field in attrs.fields(kind))
    return tuple((name, camel(name)) for name in names if not name.startswith("_"))


def _on_the_wall(moment: float) -> datetime:
    """A moment of trio's clock, which says nothing outside of this process, as everybody's."""
    return datetime.now(UTC) - timedelta(seconds=trio.current_time() - moment)


def camel(name: str) -> str:
    """``mailbox_depth`` as ``mailboxDepth``."""
    head, *rest = name.split("_")
    return head + "".join(part.title() for part in rest)
