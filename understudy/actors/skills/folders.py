"""Reading skills from folders. Everything here blocks on files, and is called in a thread."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

import attrs

from understudy.actors.skills.document import LARGEST, BadSkill, Skill, read_skill

BUILTIN = Path(__file__).parent / "builtin"
"""What comes with the server."""
FILE = "SKILL.md"
MOST_SKILLS = 500
"""Folders that are looked at."""

Signature = tuple[int, int, int]
"""A file's inode, size and time of change: while it stays the same, so does what is in the file."""


@attrs.frozen
class Found:
    """What a file came to: a skill, or why it is none."""

    signature: Signature
    skill: Skill | None
    problem: str | None = None


def look(folder: Path) -> dict[str, Signature]:
    """The signatures of the skill files below *folder*, by the names of their folders. No folder is no skills."""
    found: dict[str, Signature] = {}
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.name.isprintable() and entry.name[0] not in "._")
    except OSError:
        return found
    for name in names[:MOST_SKILLS]:
        try:
            seen = (folder / name / FILE).stat()
        except OSError:
            continue
        found[name] = (seen.st_ino, seen.st_size, seen.st_mtime_ns)
    return found


def read(folder: Path, name: str, signature: Signature, source: str) -> Found:
    """The skill in the folder *name*. Never raises."""
    try:
        return Found(signature, read_skill(name, _contents(folder / name / FILE), source))
    except BadSkill as problem:
        return Found(signature, None, str(problem))
    except OSError as error:
        return Found(signature, None, f"{FILE} cannot be read: {error.strerror}")


def builtin_skills() -> Mapping[str, Skill]:
    """The skills that come with the server. Raises `BadSkill` when the installation is damaged."""
    names = look(BUILTIN)
    return {name: read_skill(name, _contents(BUILTIN / name / FILE), "builtin") for name in names}


def _contents(path: Path) -> bytes:
    # Not blocking: a pipe in the place of the file must not hold the thread for good.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BadSkill(f"{FILE} is no regular file")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(LARGEST + 1)
    finally:
        os.close(descriptor)
