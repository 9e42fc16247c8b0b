"""The frame of the command: help, wrong usage, and how failures are told."""

import errno
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from tests.cli.conftest import Run
from understudy.cli.group import COMMANDS, LazyGroup
from understudy.config import settings_table


def test_help_lists_every_command_that_is_not_hidden(run: Run) -> None:
    for words in ([], ["--help"], ["-h"]):
        ran = run(*words)
        text = ran.out + ran.err
        for name, entry in COMMANDS.items():
            assert (entry.summary in text) is not entry.hidden, name


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help_with_examples(name: str, run: Run) -> None:
    ran = run(name, "--help")
    assert ran.code == 0
    assert f"understudy {name}" in ran.out.split("Example", 1)[1]


def test_help_imports_neither_the_server_nor_its_libraries() -> None:
    code = (
        "import sys\n"
        "sys.argv = ['understudy', '--help']\n"
        "from understudy.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'trio', 'quart', 'psycopg', 'httpx', 'understudy.app'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_serve_has_a_flag_for_every_setting_but_the_secret_ones(run: Run) -> None:
    shown = run("serve", "--help").out
    for setting in settings_table():
        flag = "--" + setting.key.replace(".", "-").replace("_", "-") + " "
        assert (flag in shown) is not setting.secret, setting.key


def test_wrong_usage_is_a_line_and_exit_code_2(run: Run) -> None:
    for words in (["srve"], ["serve", "--prot", "1"], ["reference", "nothing"]):
        ran = run(*words)
        assert (ran.code, ran.out) == (2, "")
        assert "Traceback" not in ran.err


def test_every_problem_of_the_configuration_is_told_and_nothing_is_made(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORT", "eighty")
    monkeypatch.setenv("LOG_LEVEL", "loud")
    ran = run("serve", "--drain-timeout", "long")
    assert ran.code == 2
    assert ran.err.splitlines() == [
        "understudy: PORT (environment): 'eighty' will not do; give a port, a whole number from 0 to 65535",
        "understudy: --drain-timeout (flag): 'long' will not do; give a duration such as 30s, 15m or 7d, from 0s to 1h",
        "understudy: LOG_LEVEL (environment): 'loud' will not do; give one of debug, info, warning, error",
    ]
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (RuntimeError("the sky\nfell"), 1, "understudy: RuntimeError: the sky (--debug shows where)"),
        (ExceptionGroup("two", [ExceptionGroup("one", [ValueError("inner")])]), 1, "understudy: ValueError: inner"),
        (OSError(errno.ENOSPC, "No space left on device", "/data"), 1, "understudy: /data: No space left on device"),
        (KeyboardInterrupt(), 130, "understudy: stopped"),
        (click.ClickException("plain words"), 1, "understudy: plain words"),
    ],
)
def test_any_failure_is_one_line_without_a_traceback(
    error: BaseException, code: int, line: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise error

    command = click.Command("serve", callback=fail)
    monkeypatch.setattr(LazyGroup, "get_command", lambda *_: command)
    ran = run("serve")
    assert (ran.code, ran.out) == (code, "")
    [told] = ran.err.strip("\n").split("\n")  # click ends the line on which the terminal shows ^C
    assert told.startswith(line)


def test_debug_shows_the_traceback_wherever_it_stands(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("the sky fell")

    command = click.Command("serve", callback=fail)
    monkeypatch.setattr(LazyGroup, "get_command", lambda *_: command)
    for words in (["--debug", "serve"], ["serve", "--debug"]):
        ran = run(*words)
        assert "in fail" in ran.err
        assert ran.err.splitlines()[-1].startswith("understudy: RuntimeError: the sky fell")


def test_a_reader_that_leaves_early_is_no_error() -> None:
    piped = subprocess.run(
        f"{sys.executable} -m understudy reference configuration | head -n 1",
        shell=True,
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
    )
    assert (piped.stdout, piped.stderr) == ("# Configuration\n", "")
