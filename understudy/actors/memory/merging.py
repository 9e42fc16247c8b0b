"""What a change makes of a profile."""

from collections.abc import Mapping
from typing import Any

import msgspec

from understudy.actors.errors import Invalid, TooLarge
from understudy.storage.records import Json

LARGEST_PROFILE = 64 * 1024
"""Bytes of JSON; a profile is told to models whole."""
DEEPEST_PROFILE = 32


def merge_patch(target: Any, patch: Any) -> Any:
    """*target* with a JSON Merge Patch applied (RFC 7396): null takes away, objects are merged, all else replaces."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def replace_keys(target: Json, patch: Json) -> Json:
    """*target* with the top-level values that *patch* names."""
    return {**target, **patch}


def check_depth(value: Any, room: int = DEEPEST_PROFILE) -> None:
    """Raise `Invalid` when *value* is nested too deeply to be handled."""
    if isinstance(value, Mapping | list):
        if room <= 0:
            raise Invalid(f"a profile is nested at most {DEEPEST_PROFILE} deep")
        for inner in value.values() if isinstance(value, Mapping) else value:
            check_depth(inner, room - 1)


def check_size(profile: Json) -> Json:
    """The profile, or `TooLarge`."""
    if len(msgspec.json.encode(profile)) > LARGEST_PROFILE:
        raise TooLarge(f"a profile has at most {LARGEST_PROFILE // 1024} KB: take something out of it first")
    return profile
