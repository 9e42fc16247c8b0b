"""The tokens of the servers one has logged in to, in a file of the user's own (0600)."""

import json
import os
import secrets
from pathlib import Path
from typing import Any

import attrs
import click


@attrs.frozen
class Credentials:
    """What one login gave. The tokens do not appear in the repr."""

    email: str
    access_token: str = attrs.field(repr=False)
    refresh_token: str = attrs.field(repr=False)


class CredentialStore:
    """Credentials by server URL, in one JSON file. Each change replaces the file whole."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or Path(click.get_app_dir("understudy")) / "credentials.json"

    def get(self, url: str) -> Credentials | None:
        """What is stored for *url*; None when nothing is, or when the file is damaged."""
        entry = self._read().get(url)
        try:
            return Credentials(entry["email"], entry["accessToken"], entry["refreshToken"]) if entry else None
        except (KeyError, TypeError):
            return None

    def put(self, url: str, credentials: Credentials) -> None:
        """Store *credentials* for *url*."""
        everything = self._read()
        everything[url] = {
            "email": credentials.email,
            "accessToken": credentials.access_token,
            "refreshToken": credentials.refresh_token,
        }
        self._write(everything)

    def forget(self, url: str) -> None:
        """Remove what is stored for *url*, if anything is."""
        everything = self._read()
        if everything.pop(url, None) is not None:
            self._write(everything)

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _write(self, everything: dict[str, Any]) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._path.with_name(f".{self._path.name}.{secrets.token_hex(8)}")
        # Private from its first byte: made with 0600, and only then moved into place.
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(everything, file, indent=1)
        draft.replace(self._path)
