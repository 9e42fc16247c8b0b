"""What is worth remembering of a turn, before it is known whether it is new: the form in which it is found."""

import difflib
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Self

import attrs
import msgspec
from msgspec import Meta

from understudy.actors.memory.messages import LONGEST_ENTRY, MemoryCategory
from understudy.storage.records import Json, MemoryEntry
from understudy.storage.remembered import EntityType, Relation, key_of

MOST_DAILY, MOST_THINGS, MOST_EDGES, MOST_HABITS, MOST_STEPS = 8, 12, 16, 3, 12
"""Of one turn."""

SAME = 0.85
"""From this likeness of their letters on, two texts say the same."""
BY_LETTERS = 120
"""Characters; longer texts are compared word by word, which takes a hundredth of the time."""

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


@attrs.frozen
class _Compared:
    """A text as it is compared, taken apart once: its letters in one form, its words, and how often each is there."""

    key: str
    words: tuple[str, ...]
    counts: Counter[str]

    @classmethod
    def of(cls, text: str) -> Self:
        key = key_of(text)
        words = tuple(key.split())
        return cls(key, words, Counter(words))


def same(one: str, other: str) -> bool:
    """Whether two texts say the same: their words are the same, or their letters (of long ones: their words) nearly."""
    return _same(_Compared.of(one), _Compared.of(other))


def _same(one: _Compared, other: _Compared) -> bool:
    if one.key == other.key:
        return True
    a, b = (one, other) if one.key < other.key else (other, one)
    if max(len(a.key), len(b.key)) > BY_LETTERS:
        # Most pairs have too few words in common for their order to matter.
        common = sum((a.counts & b.counts).values())
        if 2 * common < SAME * (len(a.words) + len(b.words)):
            return False
        return difflib.SequenceMatcher(None, a.words, b.words, autojunk=False).ratio() >= SAME
    matcher = difflib.SequenceMatcher(None, a.key, b.key, autojunk=False)
    return matcher.real_quick_ratio() >= SAME and matcher.quick_ratio() >= SAME and matcher.ratio() >= SAME


def adds_nothing(text: str, known: str) -> bool:
    """Whether *text* says no more than what is *known*: the same, or a part of it."""
    return _adds_nothing(_Compared.of(text), _Compared.of(known))


def _adds_nothing(text: _Compared, known: _Compared) -> bool:
    return bool(text.key and f" {text.key} " in f" {known.key} ") or _same(text, known)


def sift(entries: Sequence[MemoryEntry], known: Sequence[str]) -> list[MemoryEntry]:
    """Of *entries* those that say something else than what is *known*, and than those before them. In their order.

    Compares each with all: it takes milliseconds to some tenths of a second, and is run in a thread.
    """
    kept: list[MemoryEntry] = []
    texts = [_Compared.of(text) for text in known]
    for entry in entries:
        said = _Compared.of(entry.content)
        if not any(_adds_nothing(said, text) for text in texts):
            kept.append(entry)
            texts.append(said)
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
