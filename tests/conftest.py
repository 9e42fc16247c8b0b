"""Fixtures for every test that needs a database, and a bound for every test that is async."""

import shutil
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from trio.testing import MockClock

from tests.support.bounded import bound
from tests.support.database import TestServer, copy_cluster, fast_directory, make_cluster
from tests.support.leaves import told
from understudy.storage.pool import Pool

# How long an example takes says more of the machine than of us; what must be fast is measured where it is claimed.
# The examples are the same in each run: a failure is of the change that it comes with. `--hypothesis-profile explore`
# draws others.
settings.register_profile("understudy", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", settings.get_profile("understudy"), derandomize=False)
settings.load_profile("understudy")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bound each async test; what hangs elsewhere (in a fixture, in a thread) is ended by `faulthandler_timeout`."""
    for item in items:
        if isinstance(item, pytest.Function):
            bound(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say below the stacks of a group of errors what they came down to."""
    report = yield
    if report.failed and call.excinfo is not None and isinstance(call.excinfo.value, BaseExceptionGroup):
        report.sections.append(("What it came down to", told(call.excinfo.value)))
    return report


@pytest.fixture
def idle_clock() -> MockClock:
    """A clock that goes on only while nobody has anything to do: however slow the machine is, no time passes of that.

    For tests whose sockets have both their ends in this process. A thread, a process or a database at work looks as if
    nobody had anything to do.
    """
    return MockClock(autojump_threshold=0.02)


@pytest.fixture(scope="session")
def pg_server() -> Iterator[TestServer]:
    """The run's PostgreSQL server, started when the first test asks."""
    server = TestServer()
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def pg_dsn(pg_server: TestServer) -> Iterator[str]:
    """The DSN of a fresh, migrated database."""
    with pg_server.database() as dsn:
        yield dsn


@pytest.fixture
async def pool(pg_dsn: str) -> AsyncIterator[Pool]:
    """An open pool on a fresh, migrated database."""
    pool = Pool(pg_dsn, min_size=0, max_size=8)
    await pool.open()
    try:
        yield pool
    finally:
        await pool.close()


@pytest.fixture(scope="session")
def made_cluster() -> Iterator[Path]:
    """A data directory in which the database was made and the server stopped again."""
    directory = fast_directory("understudy-cluster-")
    try:
        make_cluster(directory)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def data_dir(made_cluster: Path) -> Iterator[Path]:
    """A data directory of one's own with a made, stopped database; its path is short enough for a socket."""
    directory = fast_directory("understudy-")
    try:
        copy_cluster(made_cluster, directory)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
