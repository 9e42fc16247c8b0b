"""``[mcp.servers.<name>]`` of ``understudy.toml``: the MCP servers whose tools agents may be given."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs

from understudy.config import values
from understudy.config.values import BadValue

T = TypeVar("T")

CALL_SECONDS = 30.0
MOST_SERVERS = 64
NAME = re.compile(r"(?=.{1,24}\Z)[a-z0-9]+(?:[_-][a-z0-9]+)*")
"""No two underscores together: those are what ends it in the name of a tool, ``mcp__<server>__<tool>``."""

_KEYS = ("command", "env", "cwd", "url", "headers", "timeout")
_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@attrs.frozen
class McpServerSettings:
    """One MCP server: a ``command`` that is run and spoken to over its pipes, or the ``url`` of one that runs already.

    ``timeout`` (seconds) bounds each call of a tool. What may carry secrets is not in the repr.
    """

    name: str
    command: tuple[str, ...] = attrs.field(default=(), repr=False)
    env: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    cwd: Path | None = None
    url: str | None = attrs.field(default=None, repr=False)
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    timeout: float = CALL_SECONDS


class McpReader:
    """Reads the table; ``problems`` (key and what would be right) and ``unknown`` keys are gathered on the way."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: list[tuple[str, str]] = []
        self.unknown: list[str] = []

    def servers(self, table: object) -> Iterator[McpServerSettings]:
        """The servers of the table ``mcp`` that can be used."""
        if not isinstance(table, Mapping):
            self.problems.append(("mcp", "give a table for each server: [mcp.servers.<name>]"))
            return
        self.unknown += [f"mcp.{key}" for key in table if key != "servers"]
        servers = table.get("servers", {})
        if not isinstance(servers, Mapping) or not all(isinstance(server, Mapping) for server in servers.values()):
            self.problems.append(("mcp.servers", "give a table for each server: [mcp.servers.<name>]"))
            return
        if len(servers) > MOST_SERVERS:
            self.problems.append(("mcp.servers", f"configure at most {MOST_SERVERS}"))
        for name, server in servers.items():
            before = len(self.problems)
            read = self._server(name, server)
            if len(self.problems) == before:
                yield read

    def _server(self, name: str, table: Mapping[str, Any]) -> McpServerSettings:
        at = f"mcp.servers.{name}"
        if not NAME.fullmatch(name):
            advice = "give it a name of small letters and digits, with single - or _ between; at most 24"
            self.problems.append((at, advice))
        self.unknown += [f"{at}.{key}" for key in table if key not in _KEYS]
        if ("command" in table) == ("url" in table):
            self.problems.append((at, "give either a command to run or a url to reach"))
        else:
            useless = [key for key in (("headers",) if "command" in table else ("env", "cwd")) if key in table]
            self.problems += [(f"{at}.{key}", "is of no use for such a server") for key in useless]
        read = self._value
        return McpServerSettings(
            name,
            command=read(f"{at}.command", table.get("command"), self._command, ()),
            env=read(f"{at}.env", table.get("env"), self._variables, {}),
            cwd=read(f"{at}.cwd", table.get("cwd"), values.path, None),
            url=read(f"{at}.url", table.get("url"), lambda raw: _url(self._filled(values.text(raw))), None),
            headers=read(f"{at}.headers", table.get("headers"), self._headers, {}),
            timeout=read(f"{at}.timeout", table.get("timeout"), values.duration(1, 3600), CALL_SECONDS),
        )

    def _value(self, at: str, raw: object, parse: Callable[[object], T], default: T) -> T:
        if raw is None:
            return default
        try:
            return parse(raw)
        except BadValue as error:
            self.problems.append((at, f"the value will not do; {error}"))
            return default

    def _command(self, raw: object) -> tuple[str, ...]:
        given = raw if isinstance(raw, list) else [raw]
        words = [word for word in given if isinstance(word, str) and "\0" not in word]
        if not words or len(words) < len(given) or not words[0]:
            raise BadValue('give the program and its arguments, such as ["uvx", "mcp-server-time"]')
        return tuple(self._filled(word) for word in words)

    def _variables(self, raw: object) -> dict[str, str]:
        found = self._texts(raw)
        if not all(_VARIABLE_NAME.fullmatch(name) and "\0" not in value for name, value in found.items()):
            raise BadValue("give a table of variables and texts")
        return found

    def _headers(self, raw: object) -> dict[str, str]:
        found = self._texts(raw)
        if not all(_HEADER_NAME.fullmatch(name) for name in found):
            raise BadValue("give a table of header names and texts")
        if not all(value.isascii() and value.isprintable() for value in found.values()):
            raise BadValue("a header's value is visible ASCII on one line")
        return found

    def _texts(self, raw: object) -> dict[str, str]:
        if not isinstance(raw, Mapping) or not all(isinstance(value, str) for value in raw.values()):
            raise BadValue("give a table of texts")
        return {name: self._filled(value) for name, value in raw.items()}

    def _filled(self, value: str) -> str:
        """*value* with each ``${NAME}`` replaced by that environment variable, so that a secret need not be in a file.

        Raises `BadValue` for one that is not set.
        """

        def filled(found: re.Match[str]) -> str:
            if not self._environ.get(found[1]):
                raise BadValue(f"the environment variable {found[1]!r} is not set")
            return self._environ[found[1]]

        return _VARIABLE.sub(filled, value)


def _url(raw: str) -> str:
    """As given, also a query: it belongs to the address here."""
    base, mark, query = raw.partition("?")
    values.http_url(base)
    if "#" in query or not query.isprintable():
        raise BadValue("give an http:// or https:// URL")
    return f"{base}{mark}{query}"
