"""The secrets that the server makes for itself, once, when nobody gave them."""

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import attrs

from understudy.config.loading import ConfigError, Problem
from understudy.config.settings import Settings

_MADE: dict[str, Callable[[], str]] = {
    "jwt_secret": lambda: secrets.token_urlsafe(64),
    "internal_api_key": lambda: "usk_" + secrets.token_urlsafe(32),
}


def ensure_secrets(settings: Settings) -> Settings:
    """*settings* with every secret filled in, making the data directory (0700) and the files (0600) when absent.

    Two servers that start at once agree: the first file put in place wins, whole.

    Raises:
        ConfigError: when the directory or a file cannot be made or read.
    """
    missing = _missing(settings)
    if not missing:
        return settings
    directory = settings.data_dir
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = {name: _read_or_make(directory / name, _MADE[name]) for name in missing}
    except OSError as error:
        where = error.filename or directory
        raise ConfigError((_unusable(f"{where}: {error.strerror or error}"),)) from error
    return _with(settings, found)


def find_secrets(settings: Settings) -> Settings:
    """*settings* with those secrets filled in that already exist; makes nothing. What is unreadable stays empty."""
    found: dict[str, str] = {}
    for name in _missing(settings):
        with suppress(OSError):
            found[name] = (settings.data_dir / name).read_text(encoding="utf-8").strip()
    return _with(settings, found)


def _missing(settings: Settings) -> list[str]:
    given = {"jwt_secret": settings.jwt_secret, "internal_api_key": settings.internal_api_key}
    return [name for name, value in given.items() if not value]


def _with(settings: Settings, found: dict[str, str]) -> Settings:
    return attrs.evolve(
        settings,
        jwt_secret=found.get("jwt_secret", settings.jwt_secret),
        internal_api_key=found.get("internal_api_key", settings.internal_api_key),
    )


def _read_or_make(path: Path, make: Callable[[], str]) -> str:
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        secret = _make(path, make())
    if not secret:
        raise ConfigError((_unusable(f"{path} is empty; delete it and a new one is made"),))
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)
    return secret


def _make(path: Path, secret: str) -> str:
    """Put *secret* in place unless somebody was faster; return the one that is in place."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(secret + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            # A link appears whole or not at all, and never over an existing file: a rename would replace the winner's.
            os.link(draft, path)
        except FileExistsError:
            return path.read_text(encoding="utf-8").strip()
    finally:
        draft.unlink()
    return secret


def _unusable(message: str) -> Problem:
    return Problem("data_dir", "data directory", message)
