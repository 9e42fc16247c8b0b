"""JSON and text that PostgreSQL can hold."""

from datetime import datetime
from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode
_ESCAPED_NUL = b"\\u0000"


def encode(value: object) -> bytes:
    """*value* as JSON that PostgreSQL takes: without NUL characters and unpaired surrogates, which text cannot hold."""
    try:
        encoded = _encode(value)
    except UnicodeEncodeError:
        return _encode(_cleaned(msgspec.to_builtins(value, builtin_types=(datetime, bytes))))
    if _ESCAPED_NUL in encoded:
        return _encode(_cleaned(msgspec.to_builtins(value, builtin_types=(datetime, bytes))))
    return encoded


def clean(text: str) -> str:
    """*text* with U+FFFD for each character that PostgreSQL cannot hold."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def _cleaned(value: Any) -> Any:
    match value:
        case str():
            return clean(value)
        case dict():
            return {_cleaned(name): _cleaned(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_cleaned(inner) for inner in value]
        case _:
            return value
