"""The proofs that deliveries carry, checked as receivers check them."""

import hashlib
import hmac
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from understudy.actors.webhooks.signing import new_secret, secret_issue, signed_headers, signing_key

BODY = b'{"event": "agent.completed"}'
CHOSEN = "correct horse".replace(" ", "-")


def now() -> datetime:
    return datetime.now(UTC)


def test_the_standard_library_of_the_standard_takes_it_and_nothing_altered() -> None:
    secret = new_secret()
    headers = signed_headers([secret], "evt_1", BODY, now())
    assert Verifier(secret).verify(BODY, headers) == {"event": "agent.completed"}
    for wrong in (
        (BODY + b" ", headers),
        (BODY, headers | {"webhook-id": "evt_2"}),
        (BODY, headers | {"webhook-timestamp": str(int(headers["webhook-timestamp"]) + 1)}),
        (BODY, signed_headers([new_secret()], "evt_1", BODY, now())),
    ):
        with pytest.raises(WebhookVerificationError):
            Verifier(secret).verify(*wrong)


def test_a_secret_of_ones_own_is_its_own_key() -> None:
    headers = signed_headers([CHOSEN], "evt_1", BODY, now())
    Verifier(CHOSEN.encode()).verify(BODY, headers)


def test_during_a_rotation_both_secrets_verify_both_kinds_of_signature() -> None:
    new, old = new_secret(), new_secret()
    headers = signed_headers([new, old], "evt_1", BODY, now())
    signatures = headers["x-astra-signature"].split(",")
    for secret in (new, old):
        Verifier(secret).verify(BODY, headers)
        assert f"sha256={hmac.new(secret.encode(), BODY, hashlib.sha256).hexdigest()}" in signatures
    assert len(signatures) == 2


def test_without_a_secret_it_is_numbered_and_dated_and_not_signed() -> None:
    assert sorted(signed_headers([], "evt_1", BODY, now())) == ["webhook-id", "webhook-timestamp"]


def test_a_made_secret_has_the_form_of_the_standard_and_256_bits() -> None:
    secret = new_secret()
    assert secret.startswith("whsec_")
    assert len(signing_key(secret)) == 32
    assert secret_issue(secret) is None
    assert new_secret() != secret


@pytest.mark.parametrize(
    ("secret", "issue"),
    [
        ("short", "too_short"),
        ("x" * 257, "too_long"),
        ("with a space", "not_visible_ascii"),
        ("pässword", "not_visible_ascii"),
        ("whsec_not*base64", "not_base64"),
        ("whsec_abc", "not_base64"),
        ("whsec_c2VjcmV0", None),
        ("abcdefgh", None),
    ],
)
def test_a_chosen_secret_is_looked_at(secret: str, issue: str | None) -> None:
    assert secret_issue(secret) == issue
