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
MOST_SAID = 5
LONGEST_SAID = 300

_KEPT = ("type", "properties", "required", "additionalProperties", "$defs", "definitions")
"""At the root: what providers know there. A tool whose schema says more at its root is checked by its server."""


class BadSchema(Exception):
    """No provider would take it; the message says why."""


def usable(schema: Mapping[str, Any]) -> Mapping[str, object]:
    """The schema as it can be offered to a model. Raises `BadSchema`."""
    if schema.get("type") != "object":
        raise BadSchema("its schema is not that of an object")
    shown = {key: schema[key] for key in _KEPT if key in schema}
    shown.setdefault("properties", {})
    try:
        length = len(json.dumps(shown))
        validator_for(schema, default=jsonschema.Draft202012Validator).check_schema(schema)
    except (jsonschema.SchemaError, RecursionError, Unresolvable) as error:
        raise BadSchema(f"its schema is broken: {str(error).splitlines()[0][:LONGEST_SAID]}") from error
    if length > LARGEST:
        raise BadSchema(f"its schema is longer than {LARGEST} characters")
    return shown


def checker(tool: str, schema: Mapping[str, Any]) -> Callable[[Any], None]:
    """What raises `ToolFailed`, naming the fields, for arguments that break the *schema*. It is compiled once.

    References lead nowhere but into the schema. Its regular expressions are left to the server: one that takes for ever
    would hold up everybody here.
    """
    kind = validator_for(schema, default=jsonschema.Draft202012Validator)
    without = {"pattern": _pass, "patternProperties": _pass, "propertyNames": _pass}
    if "patternProperties" in json.dumps(schema):
        without["additionalProperties"] = without["unevaluatedProperties"] = _pass
    validator: Validator = extend(kind, without)(schema, registry=Registry())

    def check(arguments: Any) -> None:
        found = []
        try:
            for error in validator.iter_errors(arguments):
                found.append(f"{error.json_path}: {error.message[:LONGEST_SAID]}")
                if len(found) == MOST_SAID:
                    break
        except (Unresolvable, RecursionError):
            return  # the server will say what it wants
        if found:
            raise ToolFailed(f"bad arguments for {tool}: {'; '.join(found)}")

    return check


def _pass(*_: Any) -> Iterator[jsonschema.ValidationError]:
    yield from ()
