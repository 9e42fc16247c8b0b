"""The server's log: one line per event, for machines as JSON, without anything that should not be there."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from understudy.cli.logs import configure_logs
from understudy.config import load


@pytest.fixture(autouse=True)
def restore_logging() -> Iterator[None]:
    """Give the process its logging back."""
    root = logging.getLogger()
    handlers, level, raising = root.handlers[:], root.level, logging.raiseExceptions
    yield
    root.handlers[:], logging.raiseExceptions = handlers, raising
    root.setLevel(level)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_our_lines_and_the_libraries_come_out_alike_as_json_when_it_is_no_terminal() -> None:
    stream = io.StringIO()
    configure_logs(load(), stream)
    structlog.get_logger("understudy.http").info("served", status=200, path="/ü")
    logging.getLogger("hypercorn.error").warning("odd %s", "thing")
    ours, theirs = lines(stream)
    assert {key: ours[key] for key in ("event", "level", "logger", "status", "path")} == {
        "event": "served", "level": "info", "logger": "understudy.http", "status": 200, "path": "/ü",
    }  # fmt: skip
    assert str(ours["timestamp"]).endswith("Z")
    assert (theirs["event"], theirs["level"], theirs["logger"]) == ("odd thing", "warning", "hypercorn.error")


def test_lines_below_the_level_are_left_out() -> None:
    stream = io.StringIO()
    configure_logs(load({"log_level": "warning"}), stream)
    structlog.get_logger("understudy").info("quiet")
    structlog.get_logger("understudy").warning("loud")
    assert [line["event"] for line in lines(stream)] == ["loud"]


@pytest.mark.parametrize("as_json", ["true", "false"])
def test_a_traceback_does_not_show_the_values_of_variables(as_json: str) -> None:
    stream = io.StringIO()
    configure_logs(load({"log_json": as_json}), stream)

    def check(password: str) -> None:
        raise ValueError("refused")

    try:
        check("hunter" + "2")
    except ValueError:
        structlog.get_logger("understudy").exception("failed")
    assert "ValueError: refused" in stream.getvalue()
    assert "hunter2" not in stream.getvalue()


def test_a_log_that_cannot_be_written_does_not_fail_whoever_logs() -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    configure_logs(load(), Full())
    structlog.get_logger("understudy").error("lost")
