"""What a route says of itself, for `/openapi.json`: beside the view, and of no cost to a request."""

import functools
import re
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from typing import Any, TypeAlias

import attrs

View: TypeAlias = Callable[..., Awaitable[Any]]


class Auth(StrEnum):
    """What a route asks of its caller."""

    PUBLIC = "public"
    JWT = "jwt"
    WORKSPACE = "workspace"
    KEY = "key"
    KEY_OR_JWT = "key or jwt"


@attrs.frozen
class Operation:
    """One operation: its schemas are msgspec structs; ``errors`` are the codes it may answer with beside the usual.

    ``scope`` is what an internal key must be good for.
    """

    id: str
    auth: Auth
    body: type | None = None
    query: type | None = None
    replies: Mapping[int, type | None] = attrs.field(factory=dict)
    media_type: str = "application/json"
    also: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    example: Any = None
    reply_example: Any = None
    scope: str | None = None


_ATTRIBUTE = "_understudy_operation"


def operation(id: str, auth: Auth, **rest: Any) -> Callable[[View], Any]:
    """Describe a view. Its docstring becomes summary and description.

    Untyped towards quart, whose routes do not know what a `Reply` is.
    """

    def describe(view: View) -> View:
        setattr(view, _ATTRIBUTE, Operation(id, auth, **rest))
        return view

    return describe


def operation_of(view: Callable[..., Any]) -> Operation | None:
    """What `operation` said of *view*."""
    found: Operation | None = getattr(view, _ATTRIBUTE, None)
    return found


_PATH_PARAMETER = re.compile(r"<(?:[^:<>]*:)?([^<>]+)>")


@functools.cache
def openapi_path(rule: str) -> str:
    """A werkzeug rule as OpenAPI writes it: ``/sessions/<session_id>`` is ``/sessions/{session_id}``."""
    return _PATH_PARAMETER.sub(r"{\1}", rule)
