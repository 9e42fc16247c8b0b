"""Bringing a database to this version's schema: numbered SQL files, each applied once, in order, never edited after.

Any number of processes may start at once: an advisory lock lets one migrate and the others wait for it.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from importlib import resources
from itertools import pairwise
from typing import Any

import attrs
import psycopg

from understudy.storage.connection import Connection
from understudy.storage.errors import MigrationError, StoreUnavailable

_LOCK = 0x756E6465727374  # "underst"; any number of our own

_TABLE = """
CREATE TABLE schema_migrations (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


@attrs.frozen
class Migration:
    """One step: its number, its file's name, what it does, and the SHA-256 that proves it was not edited since."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the SQL, hexadecimal."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def load_migrations() -> tuple[Migration, ...]:
    """The migrations shipped with this version, in order. Raises `MigrationError` when two have one number."""
    found = [
        Migration(int(named[1]), file.name.removesuffix(".sql"), file.read_text(encoding="utf-8"))
        for file in (resources.files("understudy.storage") / "migrations").iterdir()
        if (named := re.fullmatch(r"(\d{4})_\w+\.sql", file.name))
    ]
    found.sort(key=lambda migration: migration.version)
    for one, next_one in pairwise(found):
        if one.version == next_one.version:
            raise MigrationError(f"migrations {one.name} and {next_one.name} have one number")
    return tuple(found)


async def migrate(
    connection: Connection[Any],
    migrations: Sequence[Migration] | None = None,
    *,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[str, ...]:
    """Apply what is missing, each migration in a transaction of its own; the names of those applied now.

    Waits for another process that is migrating. Cancelled: the migration under way is rolled back.

    Raises:
        MigrationError: one fails, was edited after it ran, or the database was made by a newer version.
        StoreUnavailable: the server went away.
    """
    steps = load_migrations() if migrations is None else tuple(migrations)
    applied: list[str] = []
    try:
        while (name := await _apply_next(connection, steps, progress)) is not None:
            applied.append(name)
    except psycopg.OperationalError as error:
        raise StoreUnavailable(f"the database went away while it was being migrated: {error}") from error
    return tuple(applied)


async def pending(connection: Connection[Any]) -> tuple[str, ...]:
    """The names of the migrations that `migrate` would apply. Raises as `migrate`."""
    recorded: dict[int, tuple[str, str]] = {}
    async with connection.transaction():
        if await _table_exists(connection):
            recorded = await _recorded(connection)
    steps = load_migrations()
    _check(steps, recorded)
    return tuple(step.name for step in steps if step.version not in recorded)


async def _apply_next(
    connection: Connection[Any], steps: Sequence[Migration], progress: Callable[[str], None]
) -> str | None:
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        await connection.execute("SET LOCAL client_min_messages = warning")
        # Not IF NOT EXISTS: that takes the right to make tables, which a server on a migrated database needs not have.
        if not await _table_exists(connection):
            await connection.execute(_TABLE, prepare=False)
        recorded = await _recorded(connection)
        _check(steps, recorded)
        step = next((step for step in steps if step.version not in recorded), None)
        if step is None:
            return None
        progress(f"applying migration {step.name}")
        try:
            # A file is many statements: only the simple protocol, unprepared, takes them in one go.
            await connection.execute(step.sql.encode(), prepare=False)
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            raise MigrationError(f"migration {step.name} failed: {error}") from error
        await connection.execute(
            "INSERT INTO schema_migrations (version, name, checksum) VALUES (%s, %s, %s)",
            (step.version, step.name, step.checksum),
        )
        return step.name


async def _table_exists(connection: Connection[Any]) -> bool:
    found = await (await connection.execute("SELECT to_regclass('schema_migrations')")).fetchone()
    return found is not None and found[0] is not None


async def _recorded(connection: Connection[Any]) -> dict[int, tuple[str, str]]:
    rows = await connection.execute("SELECT version, name, checksum FROM schema_migrations ORDER BY version")
    return {version: (name, checksum) for version, name, checksum in await rows.fetchall()}


def _check(steps: Sequence[Migration], recorded: dict[int, tuple[str, str]]) -> None:
    known = {step.version: step for step in steps}
    for version, (name, checksum) in recorded.items():
        step = known.get(version)
        if step is None:
            raise MigrationError(
                f"the database has migration {name}, which this version of Understudy does not know: start a newer one"
            )
        if step.checksum != checksum:
            raise MigrationError(f"migration {step.name} was edited after it ran on this database")
