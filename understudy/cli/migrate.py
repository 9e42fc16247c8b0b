"""``understudy migrate``: the database's tables, brought up to date without starting a server."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import click
import psycopg
import trio

from understudy.cli.errors import lone_error
from understudy.cli.options import read_settings, settings_options
from understudy.config import Settings
from understudy.storage.connection import Connection
from understudy.storage.embedded import EmbeddedPostgres
from understudy.storage.migrate import load_migrations, pending
from understudy.storage.migrate import migrate as apply

_EPILOG = """\b
Examples:
  understudy migrate
  understudy migrate --dry-run
  DATABASE_URL=postgresql://me@db/understudy understudy migrate
"""

_CONNECT_SECONDS = 10


@click.command(epilog=_EPILOG, short_help="Bring the database's tables up to date.")
@click.option("--dry-run", is_flag=True, help="Only say what would be applied.")
@settings_options("data_dir")
def migrate(dry_run: bool, **options: Any) -> None:
    """Apply the migrations that the database lacks, each in a transaction of its own.

    `serve` does this at every start; here it can be done before. Any number of processes may try at once. Without
    DATABASE_URL the embedded database is started for it, and made when there is none.
    """
    trio.run(_migrate, read_settings(options), dry_run)


async def _migrate(settings: Settings, dry_run: bool) -> None:
    made = settings.database_url is not None or (settings.data_dir / "postgres" / "PG_VERSION").exists()
    if dry_run and not made:  # to look must not make a database
        _report([migration.name for migration in load_migrations()], dry_run)
        return
    with lone_error():
        async with _database(settings) as connection:
            names = await (pending(connection) if dry_run else apply(connection))
    _report(names, dry_run)


def _report(names: Sequence[str], dry_run: bool) -> None:
    for name in names:
        click.echo(f"{'would apply' if dry_run else 'applied'} {name}")
    if not names:
        click.echo("The database is up to date.")


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[Connection[Any]]:
    if settings.database_url is not None:
        async with _connected(settings.database_url) as connection:
            yield connection
        return
    async with (
        EmbeddedPostgres(settings.data_dir, progress=_tell) as server,
        _connected(server.conninfo) as connection,
    ):
        yield connection


def _tell(step: str) -> None:
    click.echo(f"{step} ...", err=True)


@asynccontextmanager
async def _connected(conninfo: str) -> AsyncIterator[Connection[Any]]:
    try:
        connection = await Connection.connect(conninfo, connect_timeout=_CONNECT_SECONDS)
    except psycopg.Error as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise click.ClickException(f"the database cannot be reached: {reason}") from error
    try:
        yield connection
    finally:
        with trio.CancelScope(shield=True), trio.move_on_after(2):
            await connection.close()
