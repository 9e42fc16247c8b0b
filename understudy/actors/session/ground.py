"""The ground that every agent stands on: the house rules, and the files of its workspace.

The house rules are ``SOUL.md``: ours, or the operator's in the data directory, read once at start. The workspace's
files are the Markdown files at the top of its folder, the one that the file tools write to; a change is told from the
next inference on.
"""

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path

import attrs
import trio

from understudy.actors.lru import Lru
from understudy.actors.tools.files import WORKSPACE

SOUL = "SOUL.md"
FIRST = ("AGENTS.md", "USER.md", "IDENTITY.md")
"""Files that come before all others, in this order."""

LONGEST_FILE = 20_000
"""Characters that are told of one file."""
LONGEST = 150_000
"""Characters that are told of all files of a workspace together."""
MOST_FILES = 50
"""Files that are looked at; the others, by name, are not."""
LARGEST_SOUL = 20_000
REMEMBERED = 1000
"""Workspaces whose files are kept at hand."""

Signature = tuple[int, int, int]
"""A file's inode, size and time of change: while they stay the same, so does what is in it."""


class BadSoul(Exception):
    """The operator's house rules cannot be used; the message says why."""


def read_soul(data_dir: Path) -> str:
    """The operator's house rules, or ours. Blocks on files; for the start only. Raises `BadSoul`."""
    own = data_dir / SOUL
    try:
        text = own.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return (resources.files(__package__) / SOUL).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadSoul(f"{own} cannot be read: {error}") from error
    if len(text) > LARGEST_SOUL or "\x00" in text:
        raise BadSoul(f"{own} must be text of at most {LARGEST_SOUL} characters")
    return text


@attrs.frozen
class _Seen:
    """The Markdown files of a folder as they were: the folder's own signature, each file's, and their text."""

    folder: Signature
    files: Mapping[str, Signature]
    text: str


class Ground:
    """What stands before every prompt. Without *folders*, no workspace has files."""

    def __init__(self, soul: str = "", folders: Path | None = None) -> None:
        self._soul = soul
        self._folders = folders
        self._seen: Lru[str, _Seen] = Lru(REMEMBERED)

    async def preface(self, workspace_id: str) -> str:
        """The house rules and the workspace's files, as they are now.

        Asks the file system for the folder and for each file that it knows, which takes microseconds; reads in a
        thread when one of them changed. What cannot be read is left out.
        """
        if self._folders is None or not WORKSPACE.fullmatch(workspace_id):
            return self._soul
        folder = self._folders / workspace_id
        now = _signature(folder, stat.S_ISDIR)
        if now is None:
            return self._soul
        seen = self._seen.get(workspace_id)
        if seen is None or seen.folder != now or not _unchanged(folder, seen.files):
            seen = await trio.to_thread.run_sync(_look, folder, now)
            self._seen.put(workspace_id, seen)
        return f"{self._soul}\n\n{seen.text}".strip() if seen.text else self._soul


def _unchanged(folder: Path, files: Mapping[str, Signature]) -> bool:
    return all(_signature(folder / name, stat.S_ISREG) == signature for name, signature in files.items())


def _signature(path: Path, is_kind: Callable[[int], bool]) -> Signature | None:
    try:
        found = os.lstat(path)  # a link could lead out of the workspace: it is no file
    except OSError:
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns) if is_kind(found.st_mode) else None


def _look(folder: Path, now: Signature) -> _Seen:
    """Read the folder. Blocks."""
    files: dict[str, Signature] = {}
    told: list[str] = []
    left = LONGEST
    for name in _names(folder):
        signature = _signature(folder / name, stat.S_ISREG)
        if signature is None:
            continue
        files[name] = signature
        text = _read(folder / name)
        if not text or left <= 0:
            continue
        cut = min(LONGEST_FILE, left)
        left -= min(len(text), cut)
        note = "" if len(text) <= cut else f"\n[cut: the first {cut} of {len(text)} characters]"
        told.append(f"## {name}\n\n{text[:cut]}{note}")
    heading = "# Files of the workspace\n\n"
    return _Seen(now, files, heading + "\n\n".join(told) if told else "")


def _names(folder: Path) -> Sequence[str]:
    try:
        with os.scandir(folder) as entries:
            found = {entry.name for entry in entries if entry.name.endswith(".md") and entry.name.isprintable()}
    except OSError:
        return ()
    others = sorted(name for name in found if name not in FIRST and not name.startswith("."))
    return [*(name for name in FIRST if name in found), *others][:MOST_FILES]


def _read(path: Path) -> str:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            # More than is told, so that it can be said how much that was not; not all of a file of any size.
            data = file.read(4 * LONGEST)
    except OSError:
        return ""
    return data.decode("utf-8-sig", "replace").replace("\x00", "\ufffd").strip()
