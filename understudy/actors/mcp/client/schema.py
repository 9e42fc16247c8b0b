"""A server's word for what arguments its tool takes: whether it can be passed on, and how arguments are held to it."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jsonschema
from jsonschema.protocols import Validator
from jsonschema.validators import extend, validator_for
from referencing import Registry

from understudy.actors.tools.tool import ToolFailed

LARGEST = 32 * 1024
"""Characters of a schema: a model reads it with every question."""
LONGEST_CHECK = 0.01
"""Seconds of work that checking one call is worth: a schema of a few lines can refer to itself a million times over."""
MOST_SAID = 5
LONGEST_SAID = 300

_KEPT = ("type", "properties", "required", "additionalProperties", "$defs", "definitions")
"""At the root: what providers know there. A tool whose schema says more at its root is checked by its server."""
_LEFT_OUT = frozenset({"pattern", "patternProperties", "propertyNames", "uniqueItems"})
"""What one look at can take for ever: regular expressions, and every item compared with every other."""
_BESIDE_PATTERNS = frozenset({"additionalProperties", "unevaluatedProperties"})


class BadSchema(Exception):
    """No provider would take it; the message says why."""


class _Enough(Exception):
    """More work than one call is worth."""


def usable(schema: Mapping[str, Any]) -> Mapping[str, object]:
    """The schema as it can be offered to a model. Raises `BadSchema`. Takes up to tenths of a second."""
    if schema.get("type") != "object":
        raise BadSchema("its schema is not that of an object")
    try:
        size = len(json.dumps(schema))
        if size <= LARGEST:
            validator_for(schema, default=jsonschema.Draft202012Validator).check_schema(schema)
    except Exception as error:  # what the library makes of nonsense is not only what it says it raises
        raise BadSchema(f"its schema is broken: {str(error)[:LONGEST_SAID].partition(chr(10))[0]}") from error
    if size > LARGEST:
        raise BadSchema(f"its schema is longer than {LARGEST} characters")
    return {"properties": {}} | {key: schema[key] for key in _KEPT if key in schema}


def checker(tool: str, schema: Mapping[str, Any]) -> Callable[[Any], None]:
    """What raises `ToolFailed`, naming the fields, for arguments that break the *schema*. It is compiled once.

    References lead nowhere but into the schema. What one look at could take for ever is left to the server, since that
    would hold up everybody here; so is what takes more than `LONGEST_CHECK` to find out, and what makes no sense.
    """
    kind = validator_for(schema, default=jsonschema.Draft202012Validator)
    left_out = _LEFT_OUT | (_BESIDE_PATTERNS if "patternProperties" in json.dumps(schema) else frozenset())
    give_up = 0.0

    def timed(keyword: Callable[..., Iterator[Any] | None]) -> Callable[..., Iterator[Any]]:
        def look(*args: Any) -> Iterator[Any]:
            if time.thread_time() > give_up:
                raise _Enough
            yield from keyword(*args) or ()

        return look

    known = {name: _pass if name in left_out else timed(keyword) for name, keyword in kind.VALIDATORS.items()}
    validator: Validator = extend(kind, known)(schema, registry=Registry())

    def check(arguments: Any) -> None:
        nonlocal give_up
        give_up = time.thread_time() + LONGEST_CHECK
        found = []
        try:
            for error in validator.iter_errors(arguments):
                found.append(f"{error.json_path}: {error.message[:LONGEST_SAID]}")
                if len(found) == MOST_SAID:
                    break
        except Exception:  # noqa: BLE001  # _Enough, and whatever the library makes of nonsense
            return  # the server will say what it wants
        if found:
            raise ToolFailed(f"bad arguments for {tool}: {'; '.join(found)}")

    return check


def _pass(*_: Any) -> Iterator[jsonschema.ValidationError]:
    yield from ()
