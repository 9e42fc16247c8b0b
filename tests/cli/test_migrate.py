"""``understudy migrate`` on the embedded database and on a server that is not there."""

from pathlib import Path

import pytest

from tests.cli.conftest import Run
from understudy.storage.migrate import load_migrations

NAMES = [migration.name for migration in load_migrations()]


def test_migrations_are_applied_once_to_the_embedded_database(run: Run) -> None:
    first, second = run("migrate"), run("migrate")
    assert first.out.splitlines() == [f"applied {name}" for name in NAMES]
    assert second.out == "The database is up to date.\n"
    assert [first.code, second.code] == [0, 0]


def test_a_dry_run_says_what_would_be_applied_and_makes_nothing(run: Run, home: Path) -> None:
    ran = run("migrate", "--dry-run")
    assert ran.out.splitlines() == [f"would apply {name}" for name in NAMES]
    assert list(home.iterdir()) == []


def test_a_database_that_does_not_answer_is_one_line_without_its_password(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:hunter2@127.0.0.1:1/x")
    ran = run("migrate")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("understudy: the database cannot be reached:")
    assert "hunter2" not in ran.err
