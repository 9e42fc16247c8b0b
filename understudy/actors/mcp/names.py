"""What a server's tools are called here: ``mcp__<server>__<tool>``, within what every provider takes for a name."""

import hashlib
import re

from understudy.actors.agents.tooling import ANY

PREFIX = "mcp__"
LONGEST = 64
"""Providers take ``[a-zA-Z0-9_-]{1,64}``."""

_HASH_LENGTH = 8
_ODD = re.compile(r"[^A-Za-z0-9_-]")
_REST = re.compile(r"[A-Za-z0-9_-]+")


def prefix_of(server: str) -> str:
    """What the names of all tools of *server* begin with, and no other's: a server's name has no two ``_`` together."""
    return f"{PREFIX}{server}__"


def tool_name(server: str, tool: str) -> str:
    """The name here of *server*'s *tool*. What no provider takes becomes ``_``; a long one is cut, and hashed."""
    name = prefix_of(server) + _ODD.sub("_", tool)
    if len(name) <= LONGEST:
        return name
    digest = hashlib.sha256(tool.encode("utf-8", "replace")).hexdigest()[:_HASH_LENGTH]
    return f"{name[: LONGEST - _HASH_LENGTH - 1]}_{digest}"


def could_be_of(server: str, name: str) -> bool:
    """Whether *name* is one that a tool of *server* could have, or the beginning of several and `ANY`."""
    prefix = prefix_of(server)
    if not name.startswith(prefix) or len(name) > LONGEST:
        return False
    rest = name.removeprefix(prefix).removesuffix(ANY)
    return bool(_REST.fullmatch(rest)) or name == prefix + ANY
