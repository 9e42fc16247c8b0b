"""Options that several commands share, made from the declared settings."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from understudy.cli.group import one_line
from understudy.config import Setting, Settings, read, settings_table

F = TypeVar("F", bound=Callable[..., Any])

_CONFIG = "config_file"


def settings_options(*keys: str) -> Callable[[F], F]:
    """Options for the settings named by *keys* (all that have a flag, when none is named), and ``--config``."""

    def decorate(command: F) -> F:
        chosen = [s for s in settings_table() if s.flag is not None and (not keys or s.key in keys)]
        for setting in reversed(chosen):
            command = _option(setting)(command)
        return click.option(
            "--config",
            _CONFIG,
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="FILE",
            help="The configuration file [UNDERSTUDY_CONFIG; understudy.toml in the working directory].",
        )(command)

    return decorate


def _option(setting: Setting) -> Callable[[F], F]:
    default = setting.default if setting.default is not None else one_line(setting.unset)
    return click.option(
        str(setting.flag),
        _parameter(setting),
        metavar="VALUE",
        help=f"{one_line(setting.doc)} [{setting.env[0]}; {default}]",
    )


def read_settings(options: dict[str, Any]) -> Settings:
    """The settings of a command that carries `settings_options`; *options* are its keyword arguments.

    Raises:
        ConfigError: with every problem.
    """
    flags = {setting.key: options.get(_parameter(setting)) for setting in settings_table()}
    return read(flags, config=options.get(_CONFIG))


def _parameter(setting: Setting) -> str:
    return "setting_" + setting.key.replace(".", "_")
