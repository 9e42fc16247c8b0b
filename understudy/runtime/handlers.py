"""`receive`: which method of an actor handles which message."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

_MARK = "__understudy_receives__"


class Handler(NamedTuple):
    """One entry of an actor class's table. A plain ``def`` runs without a coroutine being made."""

    call: Callable[[Any, Any], Any]
    awaits: bool


def receive(method: F) -> F:
    """Mark *method* as the handler of the message type that its one parameter is annotated with.

    Messages are found by their exact type; a union names several. ``async def`` handlers may await; plain ``def``
    handlers are faster. An override in a subclass needs no mark of its own.
    """
    setattr(method, _MARK, True)
    return method


def handlers_of(cls: type) -> Mapping[type, Handler]:
    """Collect the table of *cls*; raise TypeError when a handler's message type is unclear or taken twice."""
    names: dict[str, tuple[type, ...]] = {}
    for base in reversed(cls.__mro__):
        for name, method in vars(base).items():
            if getattr(method, _MARK, False):
                names[name] = _message_types(base, method)
    table: dict[type, Handler] = {}
    owners: dict[type, str] = {}
    for name, kinds in names.items():
        method = getattr(cls, name)
        for kind in kinds:
            if kind in owners:
                raise TypeError(f"{cls.__qualname__}: {owners[kind]} and {name} both receive {kind.__qualname__}")
            owners[kind] = name
            table[kind] = Handler(method, inspect.iscoroutinefunction(method))
    return table


def _message_types(base: type, method: Callable[..., Any]) -> tuple[type, ...]:
    where = f"{base.__qualname__}.{method.__name__}"
    parameters = list(inspect.signature(method).parameters.values())
    if len(parameters) != 2:
        raise TypeError(f"{where}: a handler takes self and one message")
    annotation = parameters[1].annotation
    if isinstance(annotation, str):
        try:
            annotation = typing.get_type_hints(method)[parameters[1].name]
        except NameError as error:
            raise TypeError(f"{where}: its message type cannot be found at run time ({error})") from None
    if annotation is inspect.Parameter.empty:
        raise TypeError(f"{where}: annotate the message, so that it can be found by its type")
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return tuple(_plain(part, where) for part in typing.get_args(annotation))
    return (_plain(annotation, where),)


def _plain(annotation: Any, where: str) -> type:
    kind = typing.get_origin(annotation) or annotation
    if not isinstance(kind, type):
        raise TypeError(f"{where}: {annotation!r} is no message type")
    return kind
