"""``understudy serve``: the server, until a signal drains it."""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import click
import structlog
import trio
from rich.console import Console

from understudy.cli.logs import configure_logs
from understudy.cli.options import read_settings, settings_options
from understudy.config import Settings, ensure_secrets

_EPILOG = """\b
Examples:
  understudy serve
  understudy serve --port 9000 --data-dir ~/understudy
  OPENAI_API_KEY=sk-... understudy serve --model openai/gpt-4.1-mini
  DATABASE_URL=postgresql://me@db/understudy understudy serve --host 0.0.0.0
\b
SIGTERM or Ctrl-C drains: no new work, running turns and open streams may end
within --drain-timeout. A second signal ends the process at once.
"""

log = structlog.get_logger("understudy.serve")


@click.command(epilog=_EPILOG, short_help="Start the server.")
@settings_options()
def serve(**options: Any) -> None:
    """Start the server: HTTP, the actors, and an embedded PostgreSQL unless DATABASE_URL names another.

    Every setting is a flag, an environment variable or a line in understudy.toml, in this order of precedence.
    Secrets have no flag, since anyone may list the processes of a machine.
    """
    settings = ensure_secrets(read_settings(options))
    configure_logs(settings)
    for warning in settings.warnings:
        log.warning("configuration", warning=warning)
    with _announcer(settings) as announcer:
        from understudy.cli.running import serve_until_signal  # the whole server: not for `serve --help`

        trio.run(serve_until_signal, settings, announcer.progress, announcer.ready)


@attrs.frozen
class Announcer:
    """Tells the person at the terminal what is being waited for, and then where the server is."""

    progress: Callable[[str], None]
    ready: Callable[[str], None]


@contextlib.contextmanager
def _announcer(settings: Settings) -> Iterator[Announcer]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Announcer(
            progress=lambda step: log.info("starting", step=step),
            ready=lambda url: click.echo(ready_line(url, settings)),
        )
        return
    with console.status("Starting ...") as status:

        def ready(url: str) -> None:
            status.stop()
            click.echo(ready_line(url, settings))

        # Cut to one line: a wrapped status line leaves its remains behind on the screen.
        yield Announcer(progress=lambda step: status.update(step[: console.width - 4]), ready=ready)


def ready_line(url: str, settings: Settings) -> str:
    """The one line that says that it works, where, on which model and with which database."""
    database = "DATABASE_URL" if settings.database_url else f"embedded in {_short(settings)}"
    return f"Understudy is ready on {url} (model {settings.model}, database {database}). Ctrl-C stops it."


def _short(settings: Settings) -> str:
    with contextlib.suppress(ValueError):
        return str(settings.data_dir.relative_to(os.getcwd()))
    return str(settings.data_dir)
