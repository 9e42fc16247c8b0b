"""Text and TOML values into typed ones: one small function per kind of value.

Each takes what the source gave (a string from a flag or the environment, anything from TOML) and returns the typed
value, or raises `BadValue` with the words "what would be right". None of them repeats the value itself: it may be a
secret, and the caller knows whether it may be shown.
"""

import ipaddress
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d|w))+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_OURS = frozenset({"connection", "content-encoding", "content-length", "content-type", "host", "transfer-encoding"})
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


class BadValue(ValueError):
    """A value that cannot be used; the message says what would be right."""


def text(raw: object) -> str:
    """Any non-empty text on one line."""
    if not isinstance(raw, str) or not raw.strip() or not raw.strip().isprintable():
        raise BadValue("give text on one line")
    return raw.strip()


def integer(low: int, high: int, noun: str) -> Callable[[object], int]:
    """A parser of whole numbers from *low* to *high*, called *noun* when refused."""

    def parse(raw: object) -> int:
        number = _whole(raw)
        if number is None or not low <= number <= high:
            raise BadValue(f"give {noun}, a whole number from {low} to {high}")
        return number

    return parse


def _whole(raw: object) -> int | None:
    if isinstance(raw, bool):  # a TOML `true` is an int to Python, and never what was meant
        return None
    if isinstance(raw, int):
        return raw
    if isinstance(raw, str) and re.fullmatch(r"[+-]?[0-9]{1,18}", raw.strip()):
        return int(raw)
    return None


def share(low: float, high: float) -> Callable[[object], float]:
    """A parser of shares of a whole (``0.85``, ``85%``) from *low* to *high*."""

    def parse(raw: object) -> float:
        spelt = "" if isinstance(raw, bool) else str(raw).strip()
        found = re.fullmatch(r"(\d{1,3}(?:\.\d{1,6})?)\s*(%?)", spelt)
        value = -1.0 if found is None else float(found[1]) / (100 if found[2] else 1)
        if not low <= value <= high:
            raise BadValue(f"give a share from {low:g} to {high:g}, such as 0.85 or 85%")
        return value

    return parse


def duration(low: float, high: float) -> Callable[[object], float]:
    """A parser of durations (``15m``, ``1h30m``, ``7d``; a plain number is seconds) from *low* to *high* seconds."""

    def parse(raw: object) -> float:
        seconds = _seconds(raw)
        if seconds is None or not low <= seconds <= high:
            raise BadValue(
                f"give a duration such as 30s, 15m or 7d, from {show_duration(low)} to {show_duration(high)}"
            )
        return seconds

    return parse


def _seconds(raw: object) -> float | None:
    if isinstance(raw, bool):
        return None
    if isinstance(raw, int | float):
        return float(raw) if math.isfinite(raw) else None
    if not isinstance(raw, str):
        return None
    spelt = raw.strip().lower().replace(" ", "")
    if re.fullmatch(r"\d{1,12}(\.\d+)?", spelt):
        return float(spelt)
    if not _DURATION.fullmatch(spelt):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION_PART.findall(spelt))


def durations(low: float, high: float, most: int) -> Callable[[object], tuple[float, ...]]:
    """A parser of one to *most* durations, as a list or separated by commas; returned in seconds."""
    parse = duration(low, high)

    def parse_all(raw: object) -> tuple[float, ...]:
        parts = raw if isinstance(raw, list) else str(raw).split(",")
        if not 1 <= len(parts) <= most:
            raise BadValue(f"give 1 to {most} durations, such as 5s,30s,2m")
        return tuple(parse(part) for part in parts)

    return parse_all


def show_duration(seconds: float) -> str:
    """*seconds* in the largest unit that keeps it whole: 900 is ``15m``."""
    for unit in ("w", "d", "h", "m"):
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{seconds / _UNITS[unit]:g}{unit}"
    return f"{seconds:g}s"


def whole_seconds(low: float, high: float) -> Callable[[object], int]:
    """Like `duration`, rounded to whole seconds."""
    parse = duration(low, high)
    return lambda raw: round(parse(raw))


def milliseconds(low: float, high: float) -> Callable[[object], float]:
    """A parser of whole milliseconds that returns seconds; the bounds are seconds."""
    parse = integer(round(low * 1000), round(high * 1000), "milliseconds")
    return lambda raw: parse(raw) / 1000


def boolean(raw: object) -> bool:
    """``true`` or ``false``, also as 1/0, yes/no, on/off."""
    if isinstance(raw, bool):
        return raw
    spelt = str(raw).strip().lower()
    if spelt in _TRUE or spelt in _FALSE:
        return spelt in _TRUE
    raise BadValue("give true or false")


def maybe(raw: object) -> bool | None:
    """``auto`` (None), ``true`` or ``false``."""
    if isinstance(raw, str) and raw.strip().lower() == "auto":
        return None
    try:
        return boolean(raw)
    except BadValue as error:
        raise BadValue("give auto, true or false") from error


def one_of(*choices: str) -> Callable[[object], str]:
    """A parser of one of *choices*, whatever the case; returned as spelt here."""
    spelt = {choice.lower(): choice for choice in choices}

    def parse(raw: object) -> str:
        choice = spelt.get(str(raw).strip().lower())
        if choice is None:
            raise BadValue(f"give {' or '.join(choices)}" if len(choices) < 3 else f"give one of {', '.join(choices)}")
        return choice

    return parse


def time_zone(raw: object) -> str:
    """The name of a time zone in the IANA database."""
    name = text(raw)
    try:
        return ZoneInfo(name).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise BadValue("give a time zone by its IANA name, such as Europe/Berlin") from None


def path(raw: object) -> Path:
    """A path; ``~`` is the home directory."""
    try:
        return Path(text(raw)).expanduser()
    except RuntimeError as error:
        raise BadValue("give a path below a home directory that exists") from error


def names(raw: object) -> tuple[str, ...]:
    """A list: a TOML array of strings, or text with commas or spaces between."""
    parts = raw if isinstance(raw, list | tuple) else re.split(r"[,\s]+", text(raw))
    if not all(isinstance(part, str) for part in parts):
        raise BadValue("give a list of texts")
    return tuple(part.strip() for part in parts if part.strip())


def networks(raw: object) -> tuple[Network, ...]:
    """A list of networks in CIDR form; a single address is a network of one."""
    found: list[Network] = []
    for name in names(raw):
        try:
            found.append(ipaddress.ip_network(name))
        except ValueError as error:
            raise BadValue("give networks in CIDR form, such as 127.0.0.1/32 or 10.0.0.0/8") from error
    return tuple(found)


def origins(raw: object) -> tuple[str, ...]:
    """A list of web origins (``https://app.example.org``), or ``*`` for any."""
    found = names(raw)
    for origin in found:
        parts = urlsplit(origin)
        bare = f"{parts.scheme}://{parts.netloc}"
        if origin != "*" and (parts.scheme not in {"http", "https"} or not parts.hostname or origin != bare):
            raise BadValue("give origins such as https://app.example.org, without a path, or *")
    return found


def http_url(raw: object) -> str:
    """An absolute http or https URL, without a trailing slash."""
    url = text(raw)
    try:
        parts = urlsplit(url)
        _ = parts.port  # looked at only when asked for, and may be "99999"
    except ValueError as error:
        raise BadValue("give an http:// or https:// URL") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise BadValue("give an http:// or https:// URL")
    return url.rstrip("/")


def collector_url(raw: object) -> str:
    """An http or https URL with nobody's name or password in it."""
    url = http_url(raw)
    if "@" in urlsplit(url).netloc:
        raise BadValue("give an http:// or https:// URL without a name and password; headers may hold those")
    return url


def headers(raw: object) -> tuple[tuple[str, str], ...]:
    """Headers as ``name=value,name=value``, the values percent-encoded where they hold commas or odd characters."""
    found: list[tuple[str, str]] = []
    for part in text(raw).split(","):
        name, equals, value = (each.strip() for each in part.partition("="))
        value = unquote(value)
        if not (equals and _HEADER.fullmatch(name) and value.isprintable() and value.isascii()):
            raise BadValue("give headers such as api-key=abc,x-tenant=ours, with values percent-encoded")
        if name.lower() in _OURS:
            raise BadValue(f"leave out {name.lower()}, which follows from what is sent")
        found.append((name.lower(), value))
    return tuple(found)


def postgres_url(raw: object) -> str:
    """A PostgreSQL connection URL, or libpq's ``key=value`` form."""
    url = text(raw)
    if url.startswith(("postgresql://", "postgres://")) or re.match(r"[a-z_]+\s*=", url):
        return url
    raise BadValue("give a URL such as postgresql://user@host:5432/understudy")


def signing_secret(raw: object) -> str:
    """A secret that signs tokens: 32 characters at least."""
    secret = text(raw)
    if len(secret) < 32:
        raise BadValue(
            "give at least 32 random characters, or nothing: one is then made and kept in the data directory"
        )
    return secret


def model_name(raw: object) -> str:
    """``provider/model``; the model's own name may hold further slashes."""
    provider, slash, model = text(raw).partition("/")
    if not slash or not provider or not model or " " in provider + model:
        raise BadValue("give provider/model, such as openai/gpt-4.1-mini or builtin/rehearsal")
    return f"{provider.lower()}/{model}"
