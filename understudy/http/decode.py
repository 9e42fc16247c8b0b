"""From bytes and query strings to typed values; what is wrong with them is said field by field."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

import msgspec

from understudy.actors.errors import Detail
from understudy.http.byclass import once_a_class
from understudy.http.errors import ApiError, invalid
from understudy.http.request import ApiRequest

T = TypeVar("T")

_AT = re.compile(r" - at `(?:key in )?\$\.?(?P<path>[^`]*)`$")
_MISSING = re.compile(r"missing required field `(?P<field>[^`]+)`")
_LENGTH = re.compile(r"of length (?P<sign><=|>=) (?P<bound>\d+)")
_FORM = re.compile(r"matching regex '(?P<pattern>.*)'$")
_STEP = re.compile(r"[^.\[\]]+")
_NUMBER = re.compile(r"[-+]?[\d.]+(?:[eE][-+]?\d+)?")
_BOUND = re.compile(r"(?P<sign><=|>=|<|>) (?P<bound>-?\d+)")

# msgspec speaks of Python's types; who sent JSON is told of JSON's.
_TYPE = re.compile(r"`(\w+)(?: \| null)?`")
_TYPES = {"str": "a string", "int": "an integer", "float": "a number", "bool": "true or false"} | {
    "object": "an object",
    "array": "an array",
    "null": "null",
}
_LONGEST_SAID = 200
_WORDS = {"<=": "at most", ">=": "at least", "<": "less than", ">": "more than"}


@once_a_class
def _decoder(model: type[Any]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(model)


def body(request: ApiRequest, model: type[T]) -> T:
    """The request's JSON body as a *model*. Raises `ApiError` VALIDATION naming the first field that is wrong.

    Unknown fields are ignored.
    """
    try:
        value: T = _decoder(model).decode(request.payload)
    except msgspec.ValidationError as error:
        raise _explained(error, model) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise invalid("body", "malformed_json", "The body is not valid JSON") from None
    if b"\\u0000" in request.payload:
        _refuse_nul(value)
    return value


def optional_body(request: ApiRequest, model: type[T]) -> T:
    """As `body`, for routes where no body at all means all defaults."""
    return body(request, model) if request.payload.strip() else model()


@once_a_class
def _demands(model: type[Any]) -> bool:
    return any(field.required for field in msgspec.structs.fields(model))


@once_a_class
def _moments(model: type[Any]) -> frozenset[str]:
    """The fields that are moments in time, as they are spelled in a query."""
    return frozenset(
        field.encode_name
        for field in msgspec.structs.fields(model)
        if "date-time" in str(msgspec.json.schema(field.type))
    )


def query(request: ApiRequest, model: type[T]) -> T:
    """The query string as a *model*. A value that the route does not know is an error, an unknown name is not."""
    if not request.query_string and not _demands(model):
        return model()
    try:
        unquote_to_bytes(request.query_string).decode()
    except UnicodeDecodeError:
        raise invalid("query", "not_utf8", "The query is not UTF-8") from None
    values: dict[str, Any] = request.args.to_dict()
    if any("\x00" in value for value in values.values()):
        raise invalid("query", "nul_character", "The query contains a NUL character")
    for name in _moments(model) & values.keys():
        if _NUMBER.fullmatch(values[name]):  # msgspec would take it for seconds since 1970
            raise invalid(name, "invalid_value", f"{name}: write it as 2026-03-02T09:10:00Z")
    try:
        return msgspec.convert(values, model, strict=False)
    except msgspec.ValidationError as error:
        raise _explained(error, model) from None


def _choices(model: type[Any], path: str) -> tuple[str, ...]:
    """The values of the enumeration at *path* of a *model*, as they are written; none when there is none."""
    found: list[Any] = [msgspec.inspect.type_info(model)]
    for step in _STEP.findall(path):
        found = [inside for each in found for inside in _inside(each, step)]
    return tuple(
        str(choice.value) for each in _parts(found) if isinstance(each, msgspec.inspect.EnumType) for choice in each.cls
    )


def _parts(types: Iterable[Any]) -> Iterator[Any]:
    """The types themselves, without what is said about them, and each of a union's."""
    for each in types:
        match each:
            case msgspec.inspect.Metadata():
                yield from _parts([each.type])
            case msgspec.inspect.UnionType():
                yield from _parts(each.types)
            case _:
                yield each


def _inside(outer: Any, step: str) -> Iterator[Any]:
    """The types of what a *step* of a path, a field's name or a place, leads to."""
    for each in _parts([outer]):
        match each:
            case msgspec.inspect.StructType():
                yield from (field.type for field in each.fields if field.encode_name == step)
            case msgspec.inspect.DictType():
                yield each.value_type
            case msgspec.inspect.ListType() | msgspec.inspect.VarTupleType() | msgspec.inspect.SetType():
                yield each.item_type
            case _:
                pass


def _explained(error: msgspec.ValidationError, model: type[Any]) -> ApiError:
    text = str(error)
    at = _AT.search(text)
    path = at["path"] if at else ""
    text = text[: at.start()] if at else text
    issue, limit, said = "invalid_value", None, f"{text[:1].lower()}{text[1:]}"
    if missing := _MISSING.search(text):
        path = f"{path}.{missing['field']}" if path else missing["field"]
        issue, said = "missing", "is required"
    elif length := _LENGTH.search(text):
        most = length["sign"] == "<="
        issue, limit = ("too_long", int(length["bound"])) if most else ("too_short", None)
        unit = "character" if "`str`" in text else "item"
        unit += "" if length["bound"] == "1" else "s"
        said = f"must have {'at most' if most else 'at least'} {length['bound']} {unit}"
    elif text.startswith("Invalid enum value") and (choices := _choices(model, path)):
        said = f"must be one of {', '.join(choices)}"
    elif form := _FORM.search(text):
        pattern = form["pattern"].replace("\\\\", "\\")
        blank = pattern == r"\S"
        issue, said = (
            ("too_short", "there must be more than white space") if blank else (issue, f"must match {pattern}")
        )
    elif "got `" in text or "Expected `object`" in text:
        issue = "wrong_type"
    elif bound := _BOUND.search(text):
        most = "<" in bound["sign"]
        issue, limit = ("too_large", int(bound["bound"])) if most else ("too_small", None)
        said = f"must be {_WORDS[bound['sign']]} {bound['bound']}"
    path = path or "body"
    said = _TYPE.sub(lambda found: _TYPES.get(found[1], found[1]), said)
    if len(said) > _LONGEST_SAID:  # msgspec repeats a value that is none of an enumeration's, however long it is
        said = f"{said[:_LONGEST_SAID]}…"
    return ApiError("VALIDATION", f"{path}: {said}", details=(Detail(path, issue, limit),))


def _refuse_nul(value: Any, path: str = "") -> None:
    """PostgreSQL stores no NUL in text; told here, where it can be said which field has it."""
    match value:
        case str():
            if "\x00" in value:
                raise invalid(path or "body", "nul_character")
        case dict():
            for key, item in value.items():
                _refuse_nul(key, path)
                _refuse_nul(item, f"{path}.{key}" if path else str(key))
        case list() | tuple():
            for number, item in enumerate(value):
                _refuse_nul(item, f"{path}[{number}]")
        case msgspec.Struct():
            for name, field in zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True):
                _refuse_nul(getattr(value, field), f"{path}.{name}" if path else name)
        case _:
            pass
