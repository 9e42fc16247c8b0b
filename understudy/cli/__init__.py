"""The ``understudy`` command: one file per subcommand, each imported only when it is asked for.

`main` is the outermost frame of the program, and the only place that turns any failure whatever into one line and an
exit code. Exit codes: 0 done, 1 failed (for ``doctor``: warnings), 2 wrong usage or configuration (for ``doctor``: a
failed check), 130 stopped by Ctrl-C.
"""

import contextlib
import os
import sys
import traceback
from collections.abc import Sequence

import click

from understudy.cli.errors import innermost
from understudy.cli.group import LazyGroup
from understudy.config import ConfigError
from understudy.storage.errors import StorageError

_EPILOG = """\b
Examples:
  understudy serve                      a server on http://127.0.0.1:8080, with a database of its own
  understudy chat "What is 6 times 7?"  one question, its answer streamed
  understudy tree --watch               the supervision tree, live
"""


@click.group(cls=LazyGroup, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an unexpected error.")
@click.version_option(package_name="understudy", prog_name="understudy", message="%(prog)s %(version)s")
def understudy() -> None:
    """A supervised home for live AI agents: every session, agent and provider is an actor in one tree."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command and leave the process with its exit code. The script's and ``python -m``'s entry."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    code = _run(arguments)
    with contextlib.suppress(BrokenPipeError):  # what is still buffered for a reader that left is lost either way
        sys.stdout.flush()
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    ours = arguments[: arguments.index("--")] if "--" in arguments else arguments
    debug = "--debug" in ours
    if debug:  # wherever it stands: nobody remembers which options go before the subcommand
        arguments = [word for word in ours if word != "--debug"] + arguments[len(ours) :]
    try:
        result = understudy.main(arguments, prog_name="understudy", standalone_mode=False)
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001 - the outermost frame: nobody sees a traceback unasked
        return _explain(innermost(error), debug)
    return result if isinstance(result, int) else 0


def _explain(error: BaseException, debug: bool) -> int:
    if debug and not isinstance(error, KeyboardInterrupt | click.Abort | click.ClickException | BrokenPipeError):
        traceback.print_exception(error)
    match error:
        case click.UsageError():
            error.show()
            return error.exit_code
        case click.ClickException():
            click.echo(f"understudy: {error.format_message()}", err=True)
            return error.exit_code
        case ConfigError(problems=problems):
            for problem in problems:
                click.echo(f"understudy: {problem}", err=True)
            return 2
        case KeyboardInterrupt() | click.Abort():
            click.echo("understudy: stopped", err=True)
            return 130
        case BrokenPipeError():
            # The reader (`head`, a closed pager) has left. Python would complain again when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        case StorageError():  # each is one sentence for the operator
            click.echo(f"understudy: {_first_line(error)}", err=True)
            return 1
        case OSError():
            where = f"{error.filename}: " if error.filename else ""
            click.echo(f"understudy: {where}{error.strerror or error}", err=True)
            return 1
        case _:
            click.echo(f"understudy: {type(error).__name__}: {_first_line(error)} (--debug shows where)", err=True)
            return 1


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or "no further words").splitlines()[0]
