"""`SKILL.md`: YAML front matter and Markdown, in the open Agent Skills form; with a few fields of our own.

    ---
    name: release-notes
    description: Write release notes from a list of changes. Use when asked for a changelog.
    tools: [file_read, file_write]
    ---
    Sort the changes by what they mean to a user …

``name`` is that of the folder, hyphens and underscores being alike; ``displayName``, ``category``, ``version`` and
``tools`` may be left out. ``allowed-tools`` is the open form's word for tools. What else there is, is left alone.
"""

import re
from collections.abc import Mapping
from typing import Any

import attrs
import yaml

ID = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?")
"""What a skill's id looks like: it is the name of its folder."""
RESERVED = frozenset({"cache", "search", "agents"})
"""Ids that no skill may have: they are words of routes."""
LARGEST = 65_536
"""Bytes of one file."""
LONGEST_DESCRIPTION = 1024
LONGEST_NAME = 100
MOST_TOOLS = 50

_FENCE = re.compile(r"---[ \t]*\n(?P<front>.*?)(?:^|\n)---[ \t]*(?:\n|\Z)", re.DOTALL)
_TOOL = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class BadSkill(ValueError):
    """The file is no skill; the message says why, and names the field."""


@attrs.frozen
class Skill:
    """A skill. ``source`` is ``builtin`` for what comes with the server, else ``own``."""

    id: str
    display_name: str
    category: str
    description: str
    instructions: str
    version: str
    tools: tuple[str, ...]
    source: str


def read_skill(skill_id: str, text: bytes, source: str) -> Skill:
    """The skill in a file's *text*. Takes milliseconds, whatever it holds. Raises `BadSkill`."""
    if not ID.fullmatch(skill_id):
        raise BadSkill("the folder's name must be lower-case letters, digits, - and _, at most 64")
    if skill_id in RESERVED:
        raise BadSkill(f"{skill_id!r} is a reserved word")
    if len(text) > LARGEST:
        raise BadSkill(f"SKILL.md is larger than {LARGEST // 1024} KB")
    front, instructions = _parts(text)
    name = _text(front, "name", LONGEST_NAME, required=True)
    if name.replace("-", "_") != skill_id.replace("-", "_"):
        raise BadSkill(f"name: {name[:80]!r} is not the name of the folder")
    if not instructions:
        raise BadSkill("there are no instructions after the front matter")
    metadata = front.get("metadata")
    more = {str(key): value for key, value in metadata.items()} if isinstance(metadata, Mapping) else {}
    return Skill(
        id=skill_id,
        display_name=_text(front, "displayName", LONGEST_NAME) or _spoken(skill_id),
        category=_text(front, "category", LONGEST_NAME) or "general",
        description=_text(front, "description", LONGEST_DESCRIPTION, required=True),
        instructions=instructions,
        version=_text(front, "version", LONGEST_NAME) or _text(more, "version", LONGEST_NAME) or "1",
        tools=_tools(front),
        source=source,
    )


def _parts(text: bytes) -> tuple[Mapping[str, Any], str]:
    try:
        decoded = text.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise BadSkill("SKILL.md is not UTF-8") from error
    if "\0" in decoded:
        raise BadSkill("SKILL.md holds a NUL")
    fenced = _FENCE.match(decoded)
    if fenced is None:
        raise BadSkill("SKILL.md does not begin with front matter between two lines of ---")
    try:
        front = yaml.safe_load(fenced["front"])
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        at = f" at line {mark.line + 2}" if mark is not None else ""
        said = getattr(error, "problem", None) or type(error).__name__
        raise BadSkill(f"the front matter is not YAML{at}: {said}") from error
    if not isinstance(front, dict):
        raise BadSkill("the front matter is not a mapping of names to values")
    return front, decoded[fenced.end() :].strip()


def _text(front: Mapping[str, Any], field: str, longest: int, *, required: bool = False) -> str:
    """The field as text; YAML takes ``version: 1.0`` for a number."""
    value = front.get(field)
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if value is None and not required:
        return ""
    if not isinstance(value, str) or (required and not value.strip()):
        raise BadSkill(f"{field}: {'missing' if value is None else 'must be text'}")
    if len(value) > longest:
        raise BadSkill(f"{field}: longer than {longest} characters")
    return value.strip()


def _tools(front: Mapping[str, Any]) -> tuple[str, ...]:
    given = front.get("tools", front.get("allowed-tools"))
    if given is None:
        return ()
    named = given.replace(",", " ").split() if isinstance(given, str) else given
    if not isinstance(named, list) or not all(isinstance(name, str) and _TOOL.fullmatch(name) for name in named):
        raise BadSkill("tools: must be a list of tool names")
    if len(named) > MOST_TOOLS:
        raise BadSkill(f"tools: more than {MOST_TOOLS}")
    return tuple(dict.fromkeys(named))


def _spoken(skill_id: str) -> str:
    words = re.sub(r"[_-]+", " ", skill_id)
    return words[:1].upper() + words[1:]
