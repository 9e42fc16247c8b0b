"""What an agent that works for another may do: no more than both of them may."""

from collections.abc import Iterable

import attrs

from understudy.actors.agents.config import AgentConfig, FileAccess


@attrs.frozen
class Delegated:
    """The bounds of a turn that one agent has another do: the ``tools`` and ``files`` of the first.

    ``depth`` is how many agents may stand one below the other from here on; at 0 this one starts none. ``root`` is the
    turn that somebody asked for.
    """

    tools: tuple[str, ...]
    files: FileAccess
    depth: int
    root: str = ""

    def narrow(self, config: AgentConfig) -> AgentConfig:
        """The agent as it is run within these bounds."""
        depth = min(self.depth, config.spawn.max_depth)
        return attrs.evolve(
            config,
            tools=tuple(name for name in config.tools if name in self.tools),
            file_access=_both(config.file_access, self.files),
            spawn=attrs.evolve(config.spawn, enabled=config.spawn.enabled and depth > 0, max_depth=depth),
        )


def _both(one: FileAccess, other: FileAccess) -> FileAccess:
    if not (one.restricted and other.restricted):
        return one if one.restricted else other
    shared = [
        *(path for path in one.allowed_paths if _below(path, other.allowed_paths)),
        *(path for path in other.allowed_paths if _below(path, one.allowed_paths)),
    ]
    return FileAccess(True, tuple(dict.fromkeys(shared)))


def _below(path: str, folders: Iterable[str]) -> bool:
    names = _names(path)
    return any(names[: len(above)] == above for above in map(_names, folders))


def _names(path: str) -> tuple[str, ...]:
    return tuple(name for name in path.split("/") if name not in {"", "."})
