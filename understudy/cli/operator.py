"""What `tree` and `doctor` have in common: finding the running server and its internal key."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import attrs
import click

from understudy.cli.api import Api, normal_url
from understudy.cli.options import read_settings, settings_options
from understudy.config import Settings, find_secrets

F = TypeVar("F", bound=Callable[..., Any])

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - to be replaced, not to be bound


def operator_options(command: F) -> F:
    """Options that say which server and with which key."""
    command = click.option(
        "--key-file",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        metavar="FILE",
        help="A file with the internal key [INTERNAL_API_KEY; the one in the data directory].",
    )(command)
    command = click.option(
        "--url",
        envvar="UNDERSTUDY_URL",
        metavar="URL",
        help="The server [UNDERSTUDY_URL; the configured host and port on this machine].",
    )(command)
    return settings_options("host", "port", "data_dir")(command)


@attrs.frozen
class Operator:
    """Whom to ask, and the right to."""

    url: str
    key: str = attrs.field(repr=False)

    def api(self) -> Api:
        """The server, asked with the internal key."""
        return Api(self.url, headers={"X-Api-Key": self.key} if self.key else {})


def find_operator(options: dict[str, Any], settings: Settings | None = None) -> Operator:
    """The server and the key that *options* (of `operator_options`) and the configuration mean.

    Raises:
        ConfigError: the configuration cannot be used.
    """
    settings = find_secrets(settings or read_settings(options))
    key_file: Path | None = options.get("key_file")
    key = key_file.read_text(encoding="utf-8").strip() if key_file else settings.internal_api_key
    return Operator(normal_url(options.get("url") or local_url(settings)), key)


def local_url(settings: Settings) -> str:
    """Where a server with these settings can be reached from this machine."""
    host = _ANY_ADDRESS.get(settings.host, settings.host)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
