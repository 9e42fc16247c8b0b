"""Payloads with a shape: one declaration gives both the check and the value, so that they cannot disagree."""

import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

from understudy.actors.errors import Detail
from understudy.actors.jobs.kinds import JobFailed, Payload

T = TypeVar("T", bound="Fields")

_AT = re.compile(r" - at `\$\.(?P<path>[^`]*)`$")
_NAMED = re.compile(r"(?P<what>missing required|unknown) field `(?P<field>[^`]+)`")


class Fields(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Base of payloads: named as JSON is here, and with nothing in them that nobody reads."""


def read(model: type[T], payload: Payload) -> T:
    """The payload as a *model*; raises `JobFailed` for one that was stored by a version that knew others."""
    try:
        return msgspec.convert(dict(payload), model)
    except msgspec.ValidationError as error:
        raise JobFailed(f"the payload does not fit: {error}", code="VALIDATION") from error


def fits(model: type[Fields]) -> Callable[[Payload], tuple[Detail, ...]]:
    """A `JobKind.check`: the first thing for which a payload is no *model*."""

    def check(payload: Payload) -> tuple[Detail, ...]:
        try:
            msgspec.convert(dict(payload), model)
        except msgspec.ValidationError as error:
            return (_detail(str(error)),)
        return ()

    return check


def _detail(said: str) -> Detail:
    at = _AT.search(said)
    path = at["path"] if at else ""
    if named := _NAMED.search(said):
        issue = "missing" if named["what"].startswith("missing") else "unknown_field"
        return Detail(f"{path}.{named['field']}" if path else named["field"], issue)
    return Detail(path, "wrong_type" if "got `" in said else "invalid_value")
