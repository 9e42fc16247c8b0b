"""Programs that end with us, however we end: also by ``kill -9``, which leaves nobody to stop them.

Each is started by a shell script that leaves a watcher in the program's own process group and becomes the program. The
watcher reads from a pipe whose other end only this process holds: when that ends, it kills the group. A signal at the
parent's death would not do: Linux sends that one when the *thread* that started the child ends.
"""

import os
from collections.abc import Sequence
from types import TracebackType
from typing import Self

# It holds none of the program's pipes, so that whoever reads from those sees their end. What the program is replaced by
# keeps the reading end of the lifeline, which is of no use to anybody.
_SCRIPT = r"""
lifeline=/dev/fd/$1
shift
if [ -r "$lifeline" ]; then
  (
    trap '' HUP INT TERM
    read -r _ <"$lifeline"
    kill -s KILL "$$"
    kill -s KILL -- "-$$"
  ) </dev/null >/dev/null 2>&1 &
fi
exec "$@"
"""


class Lifeline:
    """What holds one program: as a context manager, from before its start until it has ended.

    The program must be started as the leader of a process group of its own (``start_new_session``), with ``inherited``
    as its ``pass_fds``; whoever kills the group kills the watcher, too.
    """

    def __enter__(self) -> Self:
        """Open the pipe. Raises OSError when there are too many open files."""
        self._reading, self._writing = os.pipe()  # neither is inherited by what else is started
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go: whatever of the group is left is killed."""
        os.close(self._writing)
        os.close(self._reading)

    @property
    def inherited(self) -> tuple[int, ...]:
        """What the program must inherit."""
        return (self._reading,)

    def command(self, command: Sequence[str]) -> list[str]:
        """What is to be started instead of *command*: its process becomes that one."""
        return ["/bin/sh", "-c", _SCRIPT, "understudy", str(self._reading), *command]
