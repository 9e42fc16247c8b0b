"""What the documents name exists: operations, settings, environment variables, flags, subcommands."""

import re
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from understudy.cli import understudy
from understudy.config.loading import load
from understudy.config.providers import KNOWN_PROVIDERS
from understudy.config.settings import settings_table
from understudy.http.app import create_app
from understudy.http.openapi import document

ROOT = Path(__file__).parents[2]
WRITTEN = sorted(
    path
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    if not {"reference", "decisions"} & set(path.relative_to(ROOT).parts)
)
OURS = [path for path in WRITTEN if path.stem != "move-from-open-astra"]
"""Pages that speak of this server alone."""

_CURL = re.compile(r"^\s*(?:\$ )?(?:\w+=\$\()?curl (?:[^\n]*\\\n)*[^\n]*", re.MULTILINE)
_URL = re.compile(r"(?:https?://)?(?:localhost|127\.0\.0\.1|agents\.example\.org)(?::\d+)?(/[^\s\"'|)]*)")
_NAMED = re.compile(r"`(GET|POST|PUT|PATCH|DELETE) (/[^\s`?]*)[^`]*`")
_VARIABLE = re.compile(r"\b(UNDERSTUDY_[A-Z_]+)\b")
_GIVEN = re.compile(r"^((?:[A-Z_]+=(?:'[^']*'|\$\([^)]*\)|\S*) )+)understudy ", re.MULTILINE)
_TOML = re.compile(r"^```toml\n(?!# prices\.toml)(.*?)^```", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"\bunderstudy (serve|chat|tree|doctor|migrate|openapi|reference)((?: --?[a-z][a-z-]*)*)")

pages = pytest.mark.parametrize("page", WRITTEN, ids=lambda path: str(path.relative_to(ROOT)))


@pytest.fixture(scope="module")
def operations() -> list[tuple[str, re.Pattern[str]]]:
    paths = document(create_app())["paths"]
    return [
        (method.upper(), re.compile(re.sub(r"\\\{(\w+)\\\}", _part, re.escape(path))))
        for path, item in paths.items()
        for method in item
    ]


def _part(name: re.Match[str]) -> str:
    return ".+" if name[1] == "address" else "[^/]+"  # an actor's address has slashes of its own


def is_served(operations: list[tuple[str, re.Pattern[str]]], path: str, method: str | None = None) -> bool:
    path = re.sub(r"…", "x", path).rstrip(".,;")
    return any(known.fullmatch(path) and method in {None, name} for name, known in operations)


@pages
def test_every_request_that_a_page_shows_is_one_the_server_answers(
    page: Path, operations: list[tuple[str, re.Pattern[str]]]
) -> None:
    text = page.read_text(encoding="utf-8")
    for command in _CURL.findall(text):
        for url in _URL.findall(command):
            path = url.partition("?")[0]
            given = re.search(r"-X (\w+)", command)
            method = given[1] if given else "POST" if re.search(r"\s(-d|--data\S*)\s", command) else "GET"
            assert is_served(operations, path, method), f"{method} {path}"
    for method, path in _NAMED.findall(text):
        assert is_served(operations, path, method), f"{method} {path}"


@pages
def test_every_variable_that_a_page_names_is_read_by_somebody(page: Path) -> None:
    client = {"UNDERSTUDY_CONFIG", "UNDERSTUDY_URL", "UNDERSTUDY_EMAIL", "UNDERSTUDY_PASSWORD"}
    known = client.union(*(setting.env for setting in settings_table()))
    assert set(_VARIABLE.findall(page.read_text(encoding="utf-8"))) <= known


@pytest.mark.parametrize("page", OURS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_variable_that_a_command_is_given_is_read_by_the_server(page: Path) -> None:
    known = {name for setting in settings_table() for name in setting.env}
    known |= {f"{known.prefix}_{end}" for known in KNOWN_PROVIDERS for end in ("API_KEY", "BASE_URL")}
    commands = _GIVEN.findall(page.read_text(encoding="utf-8"))
    assert {name for command in commands for name in re.findall(r"([A-Z_]+)=", command)} <= known


@pages
def test_every_command_and_flag_that_a_page_shows_exists(page: Path) -> None:
    for name, flags in set(_COMMAND.findall(page.read_text(encoding="utf-8"))):
        told = CliRunner().invoke(understudy, [name, "--help"]).output
        for flag in flags.split():
            assert re.search(rf"{re.escape(flag)}\b", told), f"understudy {name} has no {flag}"


@pages
def test_every_key_of_a_configuration_that_a_page_shows_is_read(page: Path) -> None:
    for shown in _TOML.findall(page.read_text(encoding="utf-8")):
        variables = dict.fromkeys(re.findall(r"\$\{(\w+)\}", shown), "x")
        told = load(environ=variables, toml=tomllib.loads(shown)).warnings
        assert not told, told


def test_the_documents_name_no_place_of_the_machine_that_they_were_written_on() -> None:
    for page in WRITTEN:
        assert not re.search(r"/(?:home|Users|work|tmp)/\w", page.read_text(encoding="utf-8")), page
