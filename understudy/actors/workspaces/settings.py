"""What the settings and the restrictions of a workspace may be.

Settings are a JSON object that is bounded, in which some names mean something.
"""

from collections.abc import Collection, Mapping
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from understudy.actors.agents.checks import MOST_SAID, PROVIDERS
from understudy.actors.agents.document import ALIASES
from understudy.actors.errors import Detail, Invalid
from understudy.storage.records import Json, Restrictions

MOST_SETTINGS = 100
"""Settings in one request."""
LONGEST_NAME = 64
"""Characters of a setting's name."""
DEEPEST = 16
"""Levels of objects and lists in a setting: what is much deeper could be read, and not be written."""
LONGEST_RETENTION = 3650
"""Days that a conversation is kept after the last word, where not for ever."""


def check_settings(settings: Json) -> None:
    """Raise `Invalid` unless these can be settings. None is a setting that is taken away.

    ``timezone`` is the name of a time zone of the IANA database: the workspace's agents tell the time by it.
    ``retentionDays`` is for how many days a conversation is kept in which nothing is said.
    """
    if len(settings) > MOST_SETTINGS:
        said = f"settings: at most {MOST_SETTINGS} of them"
        raise Invalid(said, details=(Detail("settings", "too_long", MOST_SETTINGS),))
    for name in settings:
        if not 1 <= len(name) <= LONGEST_NAME:
            said = f"settings: a name has 1 to {LONGEST_NAME} characters"
            raise Invalid(said, details=(Detail("settings", "bad_name", LONGEST_NAME),))
    if _is_deeper(settings, DEEPEST + 1):
        said = f"settings: objects and lists within each other at most {DEEPEST} deep"
        raise Invalid(said, details=(Detail("settings", "too_deep", DEEPEST),))
    zone = settings.get("timezone")
    if zone is not None and not (isinstance(zone, str) and is_time_zone(zone)):
        said = "timezone: not a time zone of the IANA database, such as Europe/Vienna"
        raise Invalid(said, details=(Detail("timezone", "unknown_timezone"),))
    days = settings.get("retentionDays")
    if days is not None and not (type(days) is int and 1 <= days <= LONGEST_RETENTION):
        said = f"retentionDays: a whole number from 1 to {LONGEST_RETENTION}"
        raise Invalid(said, details=(Detail("retentionDays", "invalid_value", LONGEST_RETENTION),))


def check_restrictions(wanted: Restrictions, providers: Collection[str]) -> None:
    """Raise `Invalid`, with a detail for each, if providers are named that nobody knows: they would match nothing.

    *providers* are those that the node has, beside the ones known by name.
    """
    unknown = [
        (at, name)
        for at, name in enumerate(wanted.providers or ())
        if name not in PROVIDERS and name not in ALIASES and name not in providers
    ]
    if unknown:
        named = ", ".join(f"{name!r:.100}" for _, name in unknown[:MOST_SAID])
        raise Invalid(
            f"allowedProviders: there is no provider {named}; there are {', '.join(sorted({*PROVIDERS, *providers}))}",
            details=tuple(Detail(f"allowedProviders[{at}]", "unknown_provider") for at, _ in unknown),
        )


def _is_deeper(value: object, levels: int) -> bool:
    """Whether there are more levels of objects and lists; goes no further down than that itself."""
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else None
    return inner is not None and (levels == 0 or any(_is_deeper(each, levels - 1) for each in inner))


def is_time_zone(name: str) -> bool:
    """Whether this node knows the time zone."""
    try:
        return ZoneInfo(name).key == name
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
