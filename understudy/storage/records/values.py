"""What all records share: the shape of JSON and of header fields, and how an id is drawn."""

import secrets
from collections.abc import Mapping
from typing import Any

Json = Mapping[str, Any]
Headers = tuple[tuple[str, str], ...]
"""Header fields of an answer, in their order."""


def new_id(prefix: str) -> str:
    """A fresh identifier: *prefix*, an underscore and 128 random bits, URL-safe. Never a counter."""
    return f"{prefix}_{secrets.token_urlsafe(16)}"
