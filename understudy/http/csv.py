"""Rows of CSV (RFC 4180) that are safe to open in a spreadsheet."""

from collections.abc import Iterable

_QUOTED = frozenset('",\r\n')
_FORMULA = frozenset("=+-@\t\r")
"""What a spreadsheet takes for the beginning of a formula."""


def row(values: Iterable[object]) -> bytes:
    """One row with its line end. None is an empty field; before text that looks like a formula comes an apostrophe."""
    return (",".join(_field(value) for value in values) + "\r\n").encode("utf-8", "replace")


def _field(value: object) -> str:
    if value is None:
        return ""
    text = str(value)
    if isinstance(value, str) and text[:1] in _FORMULA and text:
        text = f"'{text}"
    if not _QUOTED.isdisjoint(text):
        doubled = text.replace('"', '""')
        return f'"{doubled}"'
    return text
