"""``understudy doctor`` on a machine where no server runs, and where one refuses."""

import json
import socket
from pathlib import Path

import pytest

from tests.cli.conftest import Run


@pytest.fixture
def port() -> str:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_a_machine_in_order_passes_and_nothing_is_made(run: Run, home: Path, port: str) -> None:
    ran = run("doctor", "--json", "--port", port)
    report = json.loads(ran.out)
    assert (ran.code, report["status"], report["source"]) == (0, "pass", "offline")
    assert {check["name"] for check in report["checks"]} >= {"configuration", "data directory", "disk", "database"}
    assert report["summary"] == {"pass": len(report["checks"]), "warn": 0, "fail": 0}
    assert list(home.iterdir()) == []


def test_a_warning_is_exit_code_1(run: Run, port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_DATADIR", "x")
    ran = run("doctor", "--port", port)
    assert ran.code == 1
    assert "did you mean UNDERSTUDY_DATA_DIR?" in ran.out


def test_a_taken_port_an_unusable_directory_and_an_absent_database_each_fail(
    run: Run, home: Path, port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "file").write_text("")
    monkeypatch.setenv("DATABASE_URL", f"postgresql://me:hunter2@127.0.0.1:{port}/x")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: taken, and nobody answers there
        ran = run("doctor", "--json", "--port", str(taken.getsockname()[1]), "--data-dir", str(home / "file"))
    report = json.loads(ran.out)
    failed = {check["name"]: check for check in report["checks"] if check["status"] == "fail"}
    assert (ran.code, set(failed)) == (2, {"port", "data directory", "database"})
    assert all(check["hint"] for check in failed.values())
    assert "hunter2" not in ran.out


def test_quick_leaves_the_database_alone(run: Run, port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://127.0.0.1:{port}/x")
    assert run("doctor", "--quick", "--port", port).code == 0


def test_a_configuration_that_cannot_be_used_is_a_failed_check_for_each_problem(run: Run) -> None:
    ran = run("doctor", "--port", "x", "--host", "")
    assert ran.code == 2
    assert ran.out.count("FAIL  configuration") == 2


def test_a_server_that_was_named_and_does_not_answer_fails(run: Run, port: str) -> None:
    ran = run("doctor", "--url", f"http://127.0.0.1:{port}")
    assert ran.code == 2
    assert f"no server answers at http://127.0.0.1:{port}" in ran.out
