"""A command group that imports a subcommand only when it runs, so that ``--help`` costs nothing."""

import importlib
import re

import attrs
import click


@attrs.frozen
class Entry:
    """A subcommand: the module that holds it (under its own name) and the line that the list of commands shows."""

    module: str
    summary: str
    hidden: bool = False


COMMANDS: dict[str, Entry] = {
    "serve": Entry("understudy.cli.serve", "Start the server."),
    "chat": Entry("understudy.cli.chat", "Talk to an agent in the terminal."),
    "tree": Entry("understudy.cli.tree", "Show the supervision tree of a running server."),
    "doctor": Entry("understudy.cli.doctor", "Check a running server, or this machine when none runs."),
    "migrate": Entry("understudy.cli.migrate", "Bring the database's tables up to date."),
    "openapi": Entry("understudy.cli.openapi", "Print the OpenAPI document."),
    "reference": Entry("understudy.cli.reference", "Write the reference pages.", hidden=True),
}


class LazyGroup(click.Group):
    """The group of `COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order in which a newcomer wants them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now; None when there is none of that name."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command: click.Command = getattr(importlib.import_module(entry.module), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, from the table alone."""
        rows = [(name, entry.summary) for name, entry in COMMANDS.items() if not entry.hidden]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def one_line(text: str) -> str:
    """Markdown prose as one plain line for ``--help``."""
    return re.sub(r"\s+", " ", text.replace("`", "")).strip()
