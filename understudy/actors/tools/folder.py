"""One workspace's folder: everything below it can be reached, and nothing else, however the path is written.

A path is walked one name at a time from an open folder (``openat``, never following a link by itself), so that nobody
can swap a folder for a link between the check and the use. Symbolic links are resolved here, by the same walk: one that
stays inside works, one that leaves does not. Everything blocks on files, and is called in a thread.
"""

import errno
import os
import secrets
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import attrs

LONGEST_PATH = 1024
DEEPEST = 32
MOST_LINKS = 20
LARGEST_FILE = 1_048_576
LARGEST_FOLDER = 100 * 1_048_576
MOST_FILES = 10_000
MOST_LISTED = 1000

_LOOK = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_TEMPORARY = ".understudy-"


class FolderError(Exception):
    """It cannot be done; the message may be shown to a model, and names no path of the server."""


class NoSuchFile(FolderError):
    """There is nothing of that name."""


@attrs.frozen
class Listed:
    """One name in a folder. ``kind`` is ``file``, ``folder``, ``link`` or ``other``; ``size`` is in bytes."""

    name: str
    kind: str
    size: int


def names_of(path: str) -> tuple[str, ...]:
    """The names in *path*, which is relative to the folder. Raises `FolderError`."""
    if len(path) > LONGEST_PATH:
        raise FolderError(f"the path is longer than {LONGEST_PATH} characters")
    if not path.isprintable() or "\\" in path:
        raise FolderError("a path is names with / between them")
    if path.startswith("/"):
        raise FolderError("a path is relative to the workspace's folder; it does not begin with /")
    names = tuple(name for name in path.split("/") if name not in {"", "."})
    if ".." in names:
        raise FolderError("a path must not lead upwards")
    if len(names) > DEEPEST:
        raise FolderError(f"the path is deeper than {DEEPEST} folders")
    if any(len(name.encode("utf-8", "replace")) > 255 or name.startswith(_TEMPORARY) for name in names):
        raise FolderError("a name in the path cannot be used")
    return names


class Folder:
    """The folder at *root*, which is made when something is first written. *root* itself is trusted.

    *reach* are the paths in it that may be used, with all that is below them; None is everything.
    """

    def __init__(self, root: Path, reach: Sequence[str] | None = None) -> None:
        self._root = root
        self._reach = None if reach is None else tuple(names_of(path.removeprefix("/")) for path in reach)

    def read(self, path: str) -> bytes:
        """The whole file, at most `LARGEST_FILE` bytes. Raises `FolderError`."""
        with self._place(path) as (folder, name):
            # Not blocking: a pipe must not hold the thread for good.
            descriptor = _open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, folder)
            try:
                found = os.fstat(descriptor)
                if not stat.S_ISREG(found.st_mode):
                    raise FolderError("that is no file")
                if found.st_size > LARGEST_FILE:
                    raise FolderError(f"the file has {found.st_size} bytes; at most {LARGEST_FILE} can be read")
                with open(descriptor, "rb", closefd=False) as file:
                    return file.read(LARGEST_FILE)
            finally:
                os.close(descriptor)

    def write(self, path: str, content: bytes, *, append: bool = False) -> int:
        """Write the file, whole or not at all, making the folders it is in; its size. Raises `FolderError`."""
        before = b""
        if append:
            with suppress(NoSuchFile):
                before = self.read(path)
        content = before + content
        if len(content) > LARGEST_FILE:
            raise FolderError(f"a file may have at most {LARGEST_FILE} bytes")
        self._check_reach(names_of(path))
        with _plainly():
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._check_room(len(content))
        with self._place(path, make=True) as (folder, name):
            with suppress(FileNotFoundError):
                if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                    raise FolderError("there is something of that name that is no file")
            made = f"{_TEMPORARY}{secrets.token_hex(8)}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(made, flags, 0o600, dir_fd=folder)
            try:
                with open(descriptor, "wb") as file:
                    file.write(content)
                os.rename(made, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:  # whatever it is, no half of a file is left behind
                with suppress(OSError):
                    os.unlink(made, dir_fd=folder)
                raise
        return len(content)

    def list(self, path: str) -> tuple[Listed, ...]:
        """What is in a folder, by name, at most `MOST_LISTED`. Raises `FolderError`."""
        if not names_of(path) and not self._root.is_dir():
            self._check_reach(())
            return ()
        with self._opened(path) as folder, os.scandir(folder) as entries:
            found: list[Listed] = []
            for entry in entries:
                if len(found) == MOST_LISTED:
                    break
                if not entry.name.startswith(_TEMPORARY):
                    with suppress(FileNotFoundError):
                        found.append(_listed(entry))
        return tuple(sorted(found, key=lambda listed: listed.name))

    def delete(self, path: str) -> None:
        """Delete a file, a link (and not what it leads to) or an empty folder. Raises `FolderError`."""
        with self._place(path, follow=False) as (folder, name):
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                os.rmdir(name, dir_fd=folder)
            else:
                os.unlink(name, dir_fd=folder)

    @contextmanager
    def _opened(self, path: str) -> Iterator[int]:
        """The folder at *path*, open."""
        with _plainly(), ExitStack() as held:
            if not names_of(path):
                self._check_reach(())
                yield _held(os.open(self._root, _LOOK), held)
                return
            with self._place(path) as (folder, name):
                yield _held(_open(name, _LOOK, folder), held)

    @contextmanager
    def _place(self, path: str, *, make: bool = False, follow: bool = True) -> Iterator[tuple[int, str]]:
        """The open folder that the last name of *path* is in, and that name, which is no link if *follow*."""
        names = deque(names_of(path))
        if not names:
            raise FolderError("that is the workspace's folder itself")
        self._check_reach(tuple(names))
        links = 0
        walked: list[str] = []
        with _plainly(), ExitStack() as held:
            folders = [_held(os.open(self._root, _LOOK), held)]
            while True:
                name = names.popleft()
                if name == "..":  # only a link can say so
                    if len(folders) == 1:
                        raise FolderError("a link in the path leads out of the workspace's folder")
                    folders.pop()
                    walked.pop()
                    name = ""
                elif (names or follow) and (target := _target(name, folders[-1])) is not None:
                    links += 1
                    if links > MOST_LINKS:
                        raise FolderError("there are too many links in the path")
                    if target.startswith("/"):
                        raise FolderError("a link in the path leads out of the workspace's folder")
                    names.extendleft(reversed([part for part in target.split("/") if part not in {"", "."}]))
                    name = ""
                if not names:
                    if not name:
                        raise FolderError("that is a folder")
                    self._check_reach((*walked, name))  # where the links have led
                    yield folders[-1], name
                    return
                if name:
                    if make:
                        with suppress(FileExistsError):
                            os.mkdir(name, 0o700, dir_fd=folders[-1])
                    folders.append(_held(_open(name, _LOOK, folders[-1]), held))
                    walked.append(name)

    def _check_reach(self, names: tuple[str, ...]) -> None:
        if self._reach is not None and not any(names[: len(above)] == above for above in self._reach):
            shown = (
                ", ".join("/".join(above) or "." for above in self._reach) or "nothing: its fileAccess names no path"
            )
            raise FolderError(f"this agent may not reach that; it may reach {shown}")

    def _check_room(self, more: int) -> None:
        files, size = 0, more
        for _, folders, names, descriptor in os.fwalk(self._root, follow_symlinks=False):
            files += len(names) + len(folders)
            for name in names:
                with suppress(OSError):
                    size += os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_size
            if files >= MOST_FILES:
                raise FolderError(f"the workspace's folder has {MOST_FILES} files and folders, and room for no more")
            if size > LARGEST_FOLDER:
                raise FolderError(f"the workspace's folder has no room: it may hold {LARGEST_FOLDER // 1_048_576} MB")


def _held(descriptor: int, held: ExitStack) -> int:
    held.callback(os.close, descriptor)
    return descriptor


def _open(name: str, flags: int, folder: int) -> int:
    return os.open(name, flags, dir_fd=folder)


def _target(name: str, folder: int) -> str | None:
    """Where a link leads; None for what is no link, or nothing."""
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError as error:
        if error.errno in {errno.EINVAL, errno.ENOENT}:
            return None
        raise


def _listed(entry: "os.DirEntry[str]") -> Listed:
    if entry.is_symlink():
        return Listed(entry.name, "link", 0)
    if entry.is_dir(follow_symlinks=False):
        return Listed(entry.name, "folder", 0)
    kind = "file" if entry.is_file(follow_symlinks=False) else "other"
    return Listed(entry.name, kind, entry.stat(follow_symlinks=False).st_size)


_SAID = {
    errno.ENOTDIR: "there is a file where the path needs a folder",
    errno.EISDIR: "that is a folder",
    errno.ELOOP: "it was changed into a link meanwhile",
    errno.ENOTEMPTY: "the folder is not empty",
    errno.ENOSPC: "the disk is full",
    errno.EACCES: "the server may not do that",
    errno.EPERM: "the server may not do that",
    errno.ENXIO: "that is no file",
}


@contextmanager
def _plainly() -> Iterator[None]:
    """Turns errors of the system into words without paths."""
    try:
        yield
    except FileNotFoundError as error:
        raise NoSuchFile("there is no such file or folder") from error
    except OSError as error:
        raise FolderError(_SAID.get(error.errno or 0, "the file system refused it")) from error
