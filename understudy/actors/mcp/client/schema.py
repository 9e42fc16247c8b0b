"""A server's word for what arguments its tool takes: whether it can be passed on, and how arguments are held to it."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jsonschema
from jsonschema.protocols import Validator
from jsonschema.validators import extend, validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

from understudy.actors.tools.tool import ToolFailed

LARGEST = 32 * 1024
"""Characters of a schema: a model reads it with every question."""
MOST_STEPS = 20_000
"""Keywords that are looked at for one call: a schema of a few lines can refer to itself a million times over."""
MOST_SAID = 5
LONGEST_SAID = 300

_KEPT = ("type", "properties", "required", "additionalProperties", "$defs", "definitions")
"""At the root: what providers know there. A tool whose schema says more at its root is checked by its server."""
_PATTERNS = frozenset({"pattern", "patternProperties", "propertyNames"})
_BESIDE_PATTERNS = frozenset({"additionalProperties", "unevaluatedProperties"})


class BadSchema(Exception):
    """No provider would take it; the message says why."""


class _Enough(Exception):
    """More steps than one call is worth."""


def usable(schema: Mapping[str, Any]) -> Mapping[str, object]:
    """The schema as it can be offered to a model. Raises `BadSchema`. Takes milliseconds."""
    if schema.get("type") != "object":
        raise BadSchema("its schema is not that of an object")
    try:
        if len(json.dumps(schema)) > LARGEST:
            raise BadSchema(f"its schema is longer than {LARGEST} characters")
        validator_for(schema, default=jsonschema.Draft202012Validator).check_schema(schema)
    except (jsonschema.SchemaError, RecursionError, Unresolvable) as error:
        raise BadSchema(f"its schema is broken: {str(error).splitlines()[0][:LONGEST_SAID]}") from error
    return {"properties": {}} | {key: schema[key] for key in _KEPT if key in schema}


def checker(tool: str, schema: Mapping[str, Any]) -> Callable[[Any], None]:
    """What raises `ToolFailed`, naming the fields, for arguments that break the *schema*. It is compiled once.

    References lead nowhere but into the schema. Its regular expressions are left to the server, since one that takes
    for ever would hold up everybody here; so is what takes more than `MOST_STEPS` to find out.
    """
    kind = validator_for(schema, default=jsonschema.Draft202012Validator)
    left_out = _PATTERNS | (_BESIDE_PATTERNS if "patternProperties" in json.dumps(schema) else frozenset())
    steps = 0

    def counted(keyword: Callable[..., Iterator[Any] | None]) -> Callable[..., Iterator[Any]]:
        def look(*args: Any) -> Iterator[Any]:
            nonlocal steps
            steps += 1
            if steps > MOST_STEPS:
                raise _Enough
            yield from keyword(*args) or ()

        return look

    known = {name: _pass if name in left_out else counted(keyword) for name, keyword in kind.VALIDATORS.items()}
    validator: Validator = extend(kind, known)(schema, registry=Registry())

    def check(arguments: Any) -> None:
        nonlocal steps
        steps = 0
        found = []
        try:
            for error in validator.iter_errors(arguments):
                found.append(f"{error.json_path}: {error.message[:LONGEST_SAID]}")
                if len(found) == MOST_SAID:
                    break
        except (_Enough, Unresolvable, RecursionError):
            return  # the server will say what it wants
        if found:
            raise ToolFailed(f"bad arguments for {tool}: {'; '.join(found)}")

    return check


def _pass(*_: Any) -> Iterator[jsonschema.ValidationError]:
    yield from ()
