"""The command, run in this process with a home and a working directory of its own."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import attrs
import pytest

from understudy.cli import main


@attrs.frozen
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str


Run: TypeAlias = Callable[..., Ran]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home directory, working directory and environment."""
    for name in list(os.environ):
        if name.startswith(("UNDERSTUDY_", "JWT_")) or name in {"PORT", "DATABASE_URL", "INTERNAL_API_KEY"}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(home: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the command with these words and return its exit code and output."""

    def run(*words: str) -> Ran:
        with pytest.raises(SystemExit) as left:
            main(words)
        captured = capfd.readouterr()
        code = left.value.code
        assert isinstance(code, int)
        return Ran(code, captured.out, captured.err)

    return run
