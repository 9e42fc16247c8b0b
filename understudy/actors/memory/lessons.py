"""What is worth remembering of a turn, before it is known whether it is new: the form in which it is found."""

import difflib
from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from understudy.actors.memory.messages import LONGEST_ENTRY, MemoryCategory
from understudy.storage.records import Json, MemoryEntry
from understudy.storage.remembered import EntityType, Relation, key_of

MOST_DAILY, MOST_THINGS, MOST_EDGES, MOST_HABITS, MOST_STEPS = 8, 12, 16, 3, 12
"""Of one turn."""

SAME = 0.85
"""From this likeness of their letters on, two texts say the same."""

_Text = Annotated[str, Meta(min_length=1, max_length=LONGEST_ENTRY)]
_Name = Annotated[str, Meta(min_length=1, max_length=200)]


class Noted(msgspec.Struct, frozen=True):
    """Something for the day."""

    content: _Text
    category: MemoryCategory = MemoryCategory.NOTE


class Thing(msgspec.Struct, frozen=True):
    """A thing with a name, and what was said of it."""

    name: _Name
    type: EntityType = EntityType.CONCEPT
    fact: Annotated[str, Meta(max_length=500)] = ""


class Tie(msgspec.Struct, frozen=True):
    """How two things hang together, by their names."""

    source: _Name
    relation: Relation
    target: _Name


class Habit(msgspec.Struct, frozen=True):
    """How something is done."""

    trigger: Annotated[str, Meta(min_length=1, max_length=300)]
    steps: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=300)]], Meta(min_length=1, max_length=MOST_STEPS)
    ]


class Heard(msgspec.Struct, frozen=True):
    """All that is worth remembering of a turn. ``profile`` is a merge patch."""

    daily: Annotated[list[Noted], Meta(max_length=MOST_DAILY)] = []
    profile: dict[str, str | int | float | bool | list[str] | None] = {}
    entities: Annotated[list[Thing], Meta(max_length=MOST_THINGS)] = []
    relations: Annotated[list[Tie], Meta(max_length=MOST_EDGES)] = []
    procedures: Annotated[list[Habit], Meta(max_length=MOST_HABITS)] = []

    @property
    def nothing(self) -> bool:
        """Whether it is empty."""
        return not (self.daily or self.profile or self.entities or self.procedures)


NOTHING = Heard()


def same(one: str, other: str) -> bool:
    """Whether two texts say the same: their words are the same, or their letters nearly are."""
    a, b = sorted((key_of(one), key_of(other)))
    if a == b:
        return True
    matcher = difflib.SequenceMatcher(None, a, b, autojunk=False)
    return matcher.real_quick_ratio() >= SAME and matcher.quick_ratio() >= SAME and matcher.ratio() >= SAME


def adds_nothing(text: str, known: str) -> bool:
    """Whether *text* says no more than what is *known*: the same, or a part of it."""
    part = key_of(text)
    return same(text, known) or bool(part and f" {part} " in f" {key_of(known)} ")


def sift(entries: Sequence[MemoryEntry], known: Sequence[str]) -> list[MemoryEntry]:
    """Of *entries* those that say something else than what is *known*, and than those before them. In their order."""
    kept: list[MemoryEntry] = []
    texts = list(known)
    for entry in entries:
        if not any(adds_nothing(entry.content, text) for text in texts):
            kept.append(entry)
            texts.append(entry.content)
    return kept


def without(heard: Heard, told: Sequence[str]) -> Heard:
    """What of *heard* was not *told* in the turn already, by a tool that wrote it down."""
    daily = [noted for noted in heard.daily if not any(adds_nothing(noted.content, text) for text in told)]
    return msgspec.structs.replace(heard, daily=daily)


def read_heard(text: str) -> Heard | None:
    """What a model answered, when it is what it was asked for: one JSON object, whatever stands around it."""
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        return None
    try:
        return msgspec.json.decode(text[start : end + 1], type=Heard)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def profile_patch(heard: Heard) -> Json:
    """The profile's part, without what would take something away: nobody asked for that."""
    return {name[:100]: value for name, value in heard.profile.items() if value not in (None, "", [])}
