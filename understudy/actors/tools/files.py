"""The file tools: each workspace has a folder of its own, and an agent reaches the parts its configuration names."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar
from weakref import WeakValueDictionary

import trio
from msgspec import Meta

from understudy.actors.tools.folder import LARGEST_FILE, LONGEST_PATH, Folder, FolderError
from understudy.actors.tools.messages import ToolContext
from understudy.actors.tools.tool import Arguments, Tool, ToolFailed

R = TypeVar("R")

FilePath = Annotated[
    str, Meta(min_length=1, max_length=LONGEST_PATH, description="relative to the workspace's folder: notes/plan.md")
]
WORKSPACE = re.compile(r"[A-Za-z0-9_-]{1,128}")


class FileRead(Arguments, frozen=True):
    """Arguments of ``file_read``."""

    path: FilePath
    from_line: Annotated[int, Meta(ge=1, description="the first line to read; default 1")] = 1


class FileWrite(Arguments, frozen=True):
    """Arguments of ``file_write``."""

    path: FilePath
    content: Annotated[str, Meta(max_length=LARGEST_FILE, description="the whole text")]
    append: Annotated[bool, Meta(description="add to the end of the file; default: replace it")] = False


class FileList(Arguments, frozen=True):
    """Arguments of ``file_list``."""

    path: Annotated[str, Meta(max_length=LONGEST_PATH, description="a folder; default: the workspace's")] = ""


class FileDelete(Arguments, frozen=True):
    """Arguments of ``file_delete``."""

    path: FilePath


def file_tools(root: Path) -> list[Tool]:
    """The tools, on folders below *root*, one for each workspace."""
    writing: WeakValueDictionary[str, trio.Lock] = WeakValueDictionary()

    async def do(fn: Callable[[Folder], R], path: str, context: ToolContext) -> R:
        reach = context.files.allowed_paths if context.files.restricted else None
        if not WORKSPACE.fullmatch(context.workspace_id):
            raise ToolFailed("this workspace has no folder")
        try:
            folder = Folder(root / context.workspace_id, reach)
            # Not abandoned when cancelled: it is quick, and what it began is then whole.
            return await trio.to_thread.run_sync(fn, folder)
        except FolderError as error:
            raise ToolFailed(f"{path}: {error}" if path else str(error)) from error

    async def file_read(arguments: FileRead, context: ToolContext) -> str:
        data = await do(lambda folder: folder.read(arguments.path), arguments.path, context)
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ToolFailed(f"{arguments.path}: is not text in UTF-8") from error
        if "\0" in text:
            raise ToolFailed(f"{arguments.path}: is binary, not text")
        if arguments.from_line == 1:
            return text
        lines = text.splitlines(keepends=True)
        if arguments.from_line > len(lines):
            raise ToolFailed(f"{arguments.path}: has {len(lines)} lines")
        return "".join(lines[arguments.from_line - 1 :])

    async def file_write(arguments: FileWrite, context: ToolContext) -> str:
        content = arguments.content.encode()
        lock = writing.setdefault(context.workspace_id, trio.Lock())
        async with lock:
            size = await do(
                lambda folder: folder.write(arguments.path, content, append=arguments.append), arguments.path, context
            )
        return f"{arguments.path}: written, {size} bytes"

    async def file_list(arguments: FileList, context: ToolContext) -> str:
        found = await do(lambda folder: folder.list(arguments.path), arguments.path, context)
        lines = (f"{e.name}/" if e.kind == "folder" else f"{e.name}  {e.kind}, {e.size} bytes" for e in found)
        return "\n".join(lines) or "the folder is empty"

    async def file_delete(arguments: FileDelete, context: ToolContext) -> str:
        lock = writing.setdefault(context.workspace_id, trio.Lock())
        async with lock:
            await do(lambda folder: folder.delete(arguments.path), arguments.path, context)
        return f"{arguments.path}: deleted"

    return [
        Tool("file_read", "Read a text file of the workspace (at most 1 MB).", FileRead, file_read),
        Tool(
            "file_write",
            "Write a text file of the workspace, replacing it, or append to it; folders are made as needed.",
            FileWrite,
            file_write,
            serial=True,
            acts=True,
        ),
        Tool("file_list", "List a folder of the workspace.", FileList, file_list),
        Tool(
            "file_delete",
            "Delete a file or an empty folder of the workspace.",
            FileDelete,
            file_delete,
            serial=True,
            acts=True,
        ),
    ]
