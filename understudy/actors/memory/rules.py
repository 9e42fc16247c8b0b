"""What is worth remembering by plain rules, in English: where there is no model to ask, or none is wanted.

They read sentences of the user alone, and each rule is about one way to say one thing. What no rule is about is not
remembered: better too little than what nobody said. A question tells nothing, and secrets are left alone.
"""

import re
from collections.abc import Iterator, Sequence

from understudy.actors.memory.lessons import (
    MOST_DAILY,
    MOST_EDGES,
    MOST_HABITS,
    MOST_STEPS,
    MOST_THINGS,
    Habit,
    Heard,
    Noted,
    Thing,
    Tie,
)
from understudy.actors.secrecy import SECRET_SENTENCE
from understudy.storage.records import MemoryCategory
from understudy.storage.remembered import EntityType, Relation

LONGEST_SENTENCE = 300
LONGEST_READ = 20_000
"""Characters of a turn that are read."""

_SENTENCES = re.compile(r"(?<=[.!?])\s+|\n+")
_WISH = re.compile(r"^.*?\b(?:remember|don't forget|note)(?:\s+that\b|\s*:)\s*", re.IGNORECASE)
_ORDER = re.compile(r"^(?:please\s+)?(?:what|who|when|where|which|how|why|can|could|would|tell|show)\b", re.IGNORECASE)

_NAME = r"([A-Z][\w'-]*(?:\s+[A-Z][\w'-]*){0,3})"
_PROFILE = (
    ("name", re.compile(rf"\b[Mm]y name is\s+{_NAME}|\b[Cc]all me\s+{_NAME}")),
    (
        "occupation",
        re.compile(r"\bI (?:work as|am) an?\s+((?:[a-z-]+\s+){0,2}[a-z-]*(?:er|or|ist|ian|ant|ect|yst|ess))\b"),
    ),
    ("employer", re.compile(rf"\bI work (?:at|for)\s+{_NAME}")),
    ("home", re.compile(rf"\bI live in\s+{_NAME}|\bI(?:'m| am) from\s+{_NAME}")),
    ("language", re.compile(r"\b(?:answer|write|speak)(?: to)?(?: me)? in ([A-Z][a-z]+)\b")),
)
_DAILY = (
    (
        MemoryCategory.DECISION,
        re.compile(
            r"\b(?:we|I)(?:'ve| have)? (?:decided|agreed|chose|settled)\b|\bdecision\s*:|\blet's go with\b",
            re.IGNORECASE,
        ),
    ),
    (
        MemoryCategory.OUTCOME,
        re.compile(
            r"\b(?:it turned out|the result (?:is|was)|we (?:shipped|released|finished|won|lost)|outcome\s*:)",
            re.IGNORECASE,
        ),
    ),
    (
        MemoryCategory.STRATEGY,
        re.compile(
            r"\b(?:our|my|the) (?:plan|strategy|goal|aim) (?:is|for)\b|\bwe(?:'ll| will) focus on\b", re.IGNORECASE
        ),
    ),
    (
        MemoryCategory.NOTE,
        re.compile(
            r"\bI (?:really )?(?:like|love|prefer|enjoy|hate|dislike|always|never|usually)\b|\bI can't stand\b"
            r"|\bmy (?:favou?rite|birthday|wife|husband|partner|boss|dog|cat|team)\b|\bI(?:'m| am) allergic\b",
            re.IGNORECASE,
        ),
    ),
)
_TIES = (
    (Relation.PLAYS_FOR, rf"{_NAME} (?:plays|works|worked) (?:for|at)\s+{_NAME}", EntityType.PERSON, EntityType.TEAM),
    (Relation.PART_OF, rf"{_NAME} (?:is|are) (?:a )?part of\s+{_NAME}", EntityType.CONCEPT, EntityType.CONCEPT),
    (Relation.CAUSED_BY, rf"{_NAME} (?:is|was|were) caused by\s+{_NAME}", EntityType.EVENT, EntityType.EVENT),
    (Relation.CONTRADICTS, rf"{_NAME} contradicts\s+{_NAME}", EntityType.CONCEPT, EntityType.CONCEPT),
    (Relation.SUPPORTS, rf"{_NAME} supports\s+{_NAME}", EntityType.CONCEPT, EntityType.CONCEPT),
    (Relation.PRECEDED_BY, rf"{_NAME} (?:is|was) preceded by\s+{_NAME}", EntityType.EVENT, EntityType.EVENT),
    (
        Relation.MENTIONED_IN,
        rf"{_NAME} (?:is|was) mentioned in\s+(?:the )?{_NAME}",
        EntityType.CONCEPT,
        EntityType.DOCUMENT,
    ),
    (Relation.RELATED_TO, rf"{_NAME} (?:is|are) related to\s+{_NAME}", EntityType.CONCEPT, EntityType.CONCEPT),
)
# Where a name begins, and not in the middle of one: from each of its parts on it would be read again to its end.
_TIED = tuple(
    (relation, re.compile(rf"(?<![\w'-]){pattern}"), source, target) for relation, pattern, source, target in _TIES
)
_HABIT = re.compile(
    r"^(?:to|whenever (?:you|we|I)|when(?:ever)? we|in order to)\s+(.{3,120}?)[,:]\s*(?:we |you |I )?"
    r"(?:first(?:ly)?,?\s+)(.+)$",
    re.IGNORECASE,
)
_THEN = re.compile(r"\s*[,;]?\s*\b(?:and )?(?:then|after that|finally|lastly)\b,?\s*", re.IGNORECASE)


def listen(said: Sequence[str]) -> Heard:
    """What is worth remembering of what the user *said*. Takes a millisecond or so."""
    daily: list[Noted] = []
    profile: dict[str, str | int | float | bool | list[str] | None] = {}
    things: dict[str, Thing] = {}
    ties: list[Tie] = []
    habits: list[Habit] = []
    for sentence in _sentences("\n".join(said)[:LONGEST_READ]):
        profile |= _of_profile(sentence)
        if (noted := _of_day(sentence)) is not None:
            daily.append(noted)
        for tie, *ends in _tied(sentence):
            ties.append(tie)
            things |= {end.name: end for end in ends}
        if (habit := _habit(sentence)) is not None:
            habits.append(habit)
    return Heard(
        daily[:MOST_DAILY],
        profile,
        list(things.values())[:MOST_THINGS],
        ties[:MOST_EDGES],
        habits[:MOST_HABITS],
    )


def _sentences(text: str) -> Iterator[str]:
    for part in _SENTENCES.split(text):
        sentence = _WISH.sub("", part.strip()).strip()
        asks = sentence.endswith("?") or _ORDER.match(sentence)
        if sentence and not asks and len(sentence) <= LONGEST_SENTENCE and not SECRET_SENTENCE.search(sentence):
            yield sentence.rstrip(".! ")


def _of_profile(sentence: str) -> dict[str, str]:
    found = {}
    for name, pattern in _PROFILE:
        if match := pattern.search(sentence):
            found[name] = next(group for group in match.groups() if group)
    return found


def _of_day(sentence: str) -> Noted | None:
    for category, pattern in _DAILY:
        if pattern.search(sentence):
            return Noted(sentence, category)
    return None


def _tied(sentence: str) -> Iterator[tuple[Tie, Thing, Thing]]:
    for relation, pattern, source, target in _TIED:
        for one, other in pattern.findall(sentence):
            if one != other:
                yield Tie(one, relation, other), Thing(one, source, sentence), Thing(other, target, sentence)


def _habit(sentence: str) -> Habit | None:
    match = _HABIT.match(sentence)
    if match is None:
        return None
    steps = [step.strip(" ,;.") for step in _THEN.split(match[2])]
    steps = [step for step in steps if step]
    return Habit(match[1].strip(), steps[:MOST_STEPS]) if len(steps) > 1 else None
