"""``understudy doctor``: is this server, or this machine without one, in order?"""

import json
from typing import Any

import click
import trio

from understudy.cli.api import Api, ApiError, Unreachable
from understudy.cli.checks import FAIL, PASS, WARN, CheckResult, offline_checks
from understudy.cli.operator import Operator, find_operator, operator_options
from understudy.cli.options import read_settings
from understudy.config import ConfigError

_EPILOG = """\b
Examples:
  understudy doctor
  understudy doctor --quick --json
  understudy doctor --url https://chat.example.org --key-file key.txt
\b
Exit code: 0 all is well, 1 warnings, 2 something failed.
"""

_EXIT = {PASS: 0, WARN: 1, FAIL: 2}
_MARK = {PASS: ("ok", "green"), WARN: ("warn", "yellow"), FAIL: ("FAIL", "red")}


@click.command(epilog=_EPILOG, short_help="Check a running server, or this machine when none runs.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--quick", is_flag=True, help="Only what takes no time: no thorough look at the database.")
@operator_options
def doctor(as_json: bool, quick: bool, **options: Any) -> int:
    """Check a running server from the inside; when none runs, check what a server would need on this machine."""
    report = _report(options, quick=quick)
    if as_json:
        click.echo(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        _print(report)
    return _EXIT.get(report["status"], 2)


def _report(options: dict[str, Any], *, quick: bool) -> dict[str, Any]:
    try:
        operator: Operator | None = find_operator(options)
    except ConfigError:
        operator = None  # which the offline checks then tell in full
    if operator is not None:
        try:
            return {"source": operator.url, **trio.run(_ask, operator.api(), quick)}
        except Unreachable as error:
            if options.get("url"):  # somebody meant that server, and not this machine
                return _summed("server", [CheckResult("server", FAIL, error.message)])
        except ApiError as error:
            if error.status != 401:
                raise
            message = f"a server answers at {operator.url}, and refuses the internal key"
            hint = "name its key with --key-file, INTERNAL_API_KEY, or its data directory with --data-dir"
            return _summed("server", [CheckResult("internal key", FAIL, message, hint)])
    return _summed("offline", list(offline_checks(lambda: read_settings(options), quick=quick)))


async def _ask(api: Api, quick: bool) -> dict[str, Any]:
    async with api:
        answer: dict[str, Any] = await api.call("GET", "/diagnostics/quick" if quick else "/diagnostics")
        return answer


def _summed(source: str, results: list[CheckResult]) -> dict[str, Any]:
    counts = {status: sum(result.status == status for result in results) for status in (PASS, WARN, FAIL)}
    status = FAIL if counts[FAIL] else WARN if counts[WARN] else PASS
    checks = [
        {"name": r.name, "status": r.status, "message": r.message, "durationMs": r.duration_ms, "hint": r.hint}
        for r in results
    ]
    return {"source": source, "status": status, "checks": checks, "summary": counts}


def _print(report: dict[str, Any]) -> None:
    source = report["source"]
    if source == "offline":
        click.echo("No server runs here; this is what one would find:")
    elif source != "server":
        click.echo(f"The server at {source} says:")
    checks: list[dict[str, Any]] = report["checks"]
    width = max((len(check["name"]) for check in checks), default=0)
    for check in checks:
        word, colour = _MARK.get(check["status"], (check["status"], "red"))
        click.echo(f"  {click.style(f'{word:<4}', fg=colour)}  {check['name']:<{width}}  {check['message']}")
        if check.get("hint") and check["status"] != PASS:
            click.echo(f"  {'':<4}  {'':<{width}}  -> {check['hint']}")
