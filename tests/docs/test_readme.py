"""The README's transcript, pasted into a shell beside a real server, gives what it says."""

import re
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
import trio

from tests.support.node import running_node

README = Path(__file__).parents[2] / "README.md"
_BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
_MARK = "--- end of command ---"


@attrs.frozen
class Step:
    """One command, and what the README says that it prints (``…`` is anything on a line; alone, any lines)."""

    command: str
    shown: str

    def matches(self, printed: str) -> bool:
        pattern = re.escape(self.shown.rstrip("\n"))
        pattern = re.sub(r"^…\\\n", r"(?:.*\\n)*?", pattern, flags=re.MULTILINE).replace("…", ".*?")
        return re.fullmatch(pattern, printed.rstrip("\n")) is not None


def transcript(text: str) -> list[Step]:
    steps = []
    for block in _BLOCK.findall(text):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            lines = part.split("\n")
            end = next(number for number, line in enumerate(lines) if not line.endswith("\\")) + 1
            steps.append(Step("\n".join(lines[:end]), "\n".join(lines[end:])))
    return steps


async def run(steps: list[Step], folder: Path, environment: dict[str, str]) -> list[str]:
    """Paste the commands into one shell; what each printed."""
    script = "".join(f"{step.command}\nprintf '\\n{_MARK}\\n'\n" for step in steps)
    ran = await trio.run_process(
        ["bash"], stdin=script.encode(), capture_stdout=True, stderr=subprocess.STDOUT, cwd=folder, env=environment
    )
    return [part.removeprefix("\n") for part in ran.stdout.decode().split(f"\n{_MARK}\n")[:-1]]


async def test_the_transcript_of_the_readme_is_true(tmp_path: Path) -> None:
    with trio.fail_after(120):
        async with running_node(tmp_path / "node", environment={"RATE_LIMIT_MAX": "30"}) as node:
            steps = transcript(README.read_text(encoding="utf-8").replace("http://127.0.0.1:8080", node.url))
            assert len(steps) >= 7
            printed = await run(
                steps,
                tmp_path,
                {
                    **node.environment,
                    "PATH": f"{Path(sys.executable).parent}:{node.environment['PATH']}",
                    "UNDERSTUDY_URL": node.url,
                    "COLUMNS": "120",
                },
            )
    assert len(printed) == len(steps)
    for step, text in zip(steps, printed, strict=True):
        assert step.matches(text), f"$ {step.command}\nprinted\n{text}\nand not\n{step.shown}"


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a…c\n", "abc\n", True),
        ("a…c\n", "ab\nc\n", False),
        ("a\n…\nz\n", "a\nb\n\nc\nz\n", True),
        ("a\n…\nz\n", "a\nz", True),
        ("a\n", "b\n", False),
        ("", "", True),
    ],
)
def test_an_ellipsis_stands_for_what_differs_and_for_nothing_else(shown: str, printed: str, same: bool) -> None:
    assert Step("x", shown).matches(printed) is same
