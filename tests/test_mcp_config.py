"""``[mcp.servers.<name>]``: read whole, refused whole."""

import sys
from pathlib import Path
from typing import Any

import pytest

from understudy.app.configured import configured_mcp_servers
from understudy.config import ConfigError, McpServerSettings, load


def servers(table: dict[str, Any], environ: dict[str, str] | None = None) -> tuple[McpServerSettings, ...]:
    return load(toml={"mcp": {"servers": table}}, environ=environ).mcp_servers


def problem(table: Any) -> str:
    with pytest.raises(ConfigError) as refused:
        load(toml={"mcp": table})
    (told,) = refused.value.problems
    return str(told)


def test_servers_are_read_with_what_is_in_the_environment_filled_in() -> None:
    time, docs = servers(
        {
            "time": {"command": ["mcp-server-time"], "env": {"TOKEN": "${SECRET}"}, "cwd": "~", "timeout": "1m"},
            "my-docs": {
                "url": "https://example.org/mcp?key=${SECRET}",
                "headers": {"Authorization": "Bearer ${SECRET}"},
            },
        },
        {"SECRET": "s3cret"},
    )
    assert time == McpServerSettings("time", ("mcp-server-time",), {"TOKEN": "s3cret"}, Path.home(), timeout=60.0)
    assert docs.url == "https://example.org/mcp?key=s3cret"
    assert docs.headers == {"Authorization": "Bearer s3cret"}
    assert "s3cret" not in repr((time, docs))


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ([], "[mcp.servers.<name>]"),
        ({"servers": {"a": 1}}, "[mcp.servers.<name>]"),
        ({"servers": {"a__b": {"url": "http://x"}}}, "mcp.servers.a__b (understudy.toml): give it a name"),
        ({"servers": {"a": {}}}, "either a command to run or a url"),
        ({"servers": {"a": {"url": "http://x", "command": ["y"]}}}, "either a command to run or a url"),
        ({"servers": {"a": {"url": "http://x", "env": {}}}}, "a.env (understudy.toml): is of no use"),
        ({"servers": {"a": {"command": ["x"], "headers": {}}}}, "a.headers (understudy.toml): is of no use"),
        ({"servers": {"a": {"command": []}}}, "the program and its arguments"),
        ({"servers": {"a": {"command": ["x", 1]}}}, "the program and its arguments"),
        ({"servers": {"a": {"command": ["x"], "env": {"A-B": "c"}}}}, "a table of variables"),
        ({"servers": {"a": {"command": ["x"], "env": {"AB": 1}}}}, "a table of texts"),
        ({"servers": {"a": {"command": ["${NOWHERE}"]}}}, "'NOWHERE' is not set"),
        ({"servers": {"a": {"url": "ftp://x"}}}, "http:// or https://"),
        ({"servers": {"a": {"url": "http://x", "headers": {"A B": "c"}}}}, "header names"),
        ({"servers": {"a": {"url": "http://x", "headers": {"A": "b\nc"}}}}, "visible ASCII"),
        ({"servers": {"a": {"url": "http://x", "timeout": "1d"}}}, "give a duration"),
    ],
)
def test_what_cannot_be_used_is_refused(table: Any, told: str) -> None:
    assert told in problem(table)


def test_what_is_unknown_is_warned_of() -> None:
    settings = load(toml={"mcp": {"server": {}, "servers": {"a": {"url": "http://x", "command_line": "y"}}}})
    assert settings.warnings == (
        "mcp.server (understudy.toml) is not a setting",
        "mcp.servers.a.command_line (understudy.toml) is not a setting",
    )


def test_servers_without_the_extra_refuse_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(toml={"mcp": {"servers": {"a": {"url": "http://x"}}}})
    (plan,) = configured_mcp_servers(settings)
    assert (plan.name, plan.transport, plan.timeout) == ("a", "http", 30.0)
    monkeypatch.setitem(sys.modules, "understudy.actors.mcp.client.connect", None)
    assert configured_mcp_servers(load()) == ()
    with pytest.raises(ConfigError, match=r"pip install 'understudy\[mcp\]'"):
        configured_mcp_servers(settings)
