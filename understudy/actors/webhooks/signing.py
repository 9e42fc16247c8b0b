"""How a receiver knows that a delivery is from this server, and fresh: two kinds of signature, by each valid secret."""

import base64
import binascii
import hashlib
import hmac
import secrets as chance
from collections.abc import Sequence
from datetime import datetime

PREFIX = "whsec_"
SHORTEST_SECRET, LONGEST_SECRET = 8, 256
_MADE = 32


def new_secret() -> str:
    """A fresh secret in the form of Standard Webhooks: ``whsec_`` and 32 random bytes in base64."""
    return PREFIX + base64.b64encode(chance.token_bytes(_MADE)).decode()


def secret_issue(secret: str) -> str | None:
    """What is wrong with a secret that somebody chose, in a word; None when it will do."""
    if len(secret) < SHORTEST_SECRET:
        return "too_short"
    if len(secret) > LONGEST_SECRET:
        return "too_long"
    if not all("!" <= letter <= "~" for letter in secret):
        return "not_visible_ascii"
    return None if signing_key(secret) else "not_base64"


def signing_key(secret: str) -> bytes:
    """The key of the Standard Webhooks signature: the bytes behind ``whsec_``; of any other secret its own bytes.

    Empty when ``whsec_`` is followed by what is no base64.
    """
    if not secret.startswith(PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        return b""


def signed_headers(secrets: Sequence[str], event_id: str, body: bytes, at: datetime) -> dict[str, str]:
    """The headers that prove *body*; of several secrets each signs. Without any it is only numbered and dated.

    ``webhook-id``, ``webhook-timestamp`` and ``webhook-signature`` are those of https://www.standardwebhooks.com: the
    signature is over ``id.timestamp.body``, several are separated by spaces. ``X-Astra-Signature`` is over the body
    alone, with the secret's text as the key, as GitHub does it; several are separated by commas.
    """
    stamp = str(int(at.timestamp()))
    headers = {"webhook-id": event_id, "webhook-timestamp": stamp}
    if secrets:
        signed = f"{event_id}.{stamp}.".encode() + body
        headers["webhook-signature"] = " ".join(
            f"v1,{base64.b64encode(_mac(signing_key(secret), signed)).decode()}" for secret in secrets
        )
        headers["x-astra-signature"] = ",".join(f"sha256={_mac(secret.encode(), body).hex()}" for secret in secrets)
    return headers


def _mac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, hashlib.sha256)
