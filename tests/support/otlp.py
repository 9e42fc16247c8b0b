"""What is in a request to a collector."""

from collections.abc import Iterator
from typing import Any


def turns_in(body: Any) -> Iterator[str]:
    """The turns that a request is about."""
    for span in spans_in(body):
        for each in span["attributes"]:
            if each["key"] == "understudy.turn.id":
                yield each["value"]["stringValue"]


def spans_in(body: Any) -> list[dict[str, Any]]:
    """All spans of a request."""
    return [span for of in body["resourceSpans"] for scope in of["scopeSpans"] for span in scope["spans"]]


def attributes_of(span: dict[str, Any]) -> dict[str, Any]:
    """A span's attributes by their names; 64-bit numbers are texts."""
    return {each["key"]: next(iter(each["value"].values())) for each in span["attributes"]}
