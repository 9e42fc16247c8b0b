"""Both kinds of token: what is accepted, and everything that must not be."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.actors.identity.tokens import BadToken, TokenCodec, expired, token_hash
from understudy.storage.records import RefreshToken

SECRET = "the current secret, which is long enough for HS256"
PREVIOUS = "the secret before it, which is long enough as well"
NOW = datetime(2026, 3, 1, 8, 0, 0, 123456, tzinfo=UTC)
CODEC = TokenCodec(SECRET, None, access_seconds=900, refresh_seconds=604_800)

Claims = dict[str, Any]


def row(codec: TokenCodec = CODEC) -> RefreshToken:
    return codec.new_refresh("usr_1", "fam_1", "ref_1", NOW)


def access(version: int = 0) -> str:
    return CODEC.access_token(row(), version)


def refresh() -> str:
    return CODEC.refresh_token(row())


def claims_of(token: str) -> Claims:
    return jwt.decode(token, options={"verify_signature": False})


def signed(claims: Claims, secret: str = SECRET, algorithm: str = "HS256") -> str:
    return jwt.encode(claims, secret, algorithm=algorithm)


def segment(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def test_an_access_token_carries_the_documented_claims_and_no_type() -> None:
    claims = claims_of(access(version=3))
    assert set(claims) == {"uid", "sub", "iat", "exp", "jti", "ver"}
    assert (claims["uid"], claims["sub"], claims["ver"]) == ("usr_1", "usr_1", 3)
    assert claims["exp"] - claims["iat"] == 900


def test_a_refresh_token_says_its_type_and_its_family() -> None:
    claims = claims_of(refresh())
    assert set(claims) == {"uid", "sub", "type", "iat", "exp", "jti", "family"}
    assert (claims["type"], claims["jti"], claims["family"]) == ("refresh", "ref_1", "fam_1")
    assert claims["exp"] - claims["iat"] == 604_800


def test_the_same_row_gives_the_same_pair_whenever_it_is_asked_for() -> None:
    # What the grace for concurrent refreshes stands on: only a hash is stored, and the pair is made again from the row.
    stored = row()
    again = TokenCodec(SECRET, PREVIOUS, access_seconds=900, refresh_seconds=604_800)
    assert token_hash(again.refresh_token(stored)) == stored.token_hash
    assert again.access_token(stored, 2) == CODEC.access_token(stored, 2)


def test_two_rows_of_the_same_second_give_different_tokens() -> None:
    one, other = (CODEC.new_refresh("usr_1", "fam_1", jti, NOW) for jti in ("ref_1", "ref_2"))
    assert CODEC.refresh_token(one) != CODEC.refresh_token(other)
    assert CODEC.access_token(one, 0) != CODEC.access_token(other, 0)


def test_neither_kind_stands_in_for_the_other() -> None:
    with pytest.raises(BadToken, match="not an access token"):
        CODEC.read_access(refresh(), NOW)
    with pytest.raises(BadToken, match="not a refresh token"):
        CODEC.read_refresh(access(), NOW)


def test_tokens_of_the_previous_secret_still_count_and_are_never_made() -> None:
    old = TokenCodec(PREVIOUS, None, access_seconds=900, refresh_seconds=604_800)
    rotated = TokenCodec(SECRET, PREVIOUS, access_seconds=900, refresh_seconds=604_800)
    assert rotated.read_access(old.access_token(row(old), 0), NOW).uid == "usr_1"
    with pytest.raises(BadToken, match="signature"):
        old.read_access(rotated.access_token(row(rotated), 0), NOW)


@pytest.mark.parametrize(
    ("offset", "counts"),
    [(timedelta(seconds=900 + 29), True), (timedelta(seconds=900 + 30), False), (timedelta(days=400), False)],
)
def test_an_access_token_counts_until_thirty_seconds_after_its_end(offset: timedelta, counts: bool) -> None:
    token, at = access(), NOW.replace(microsecond=0) + offset
    if counts:
        assert not expired(CODEC.read_access(token, at), at)
    else:
        with pytest.raises(BadToken, match="expired"):
            CODEC.read_access(token, at)


def test_a_token_from_a_clock_that_runs_ahead_counts_within_the_leeway_only() -> None:
    CODEC.read_access(access(), NOW - timedelta(seconds=29))
    with pytest.raises(BadToken, match="not valid yet"):
        CODEC.read_access(access(), NOW - timedelta(seconds=32))


def test_alg_none_is_refused_with_and_without_a_signature() -> None:
    header, body = segment({"alg": "none", "typ": "JWT"}), segment(claims_of(access()))
    for token in (f"{header}.{body}.", f"{header}.{body}", access().rsplit(".", 1)[0] + "."):
        with pytest.raises(BadToken):
            CODEC.read_access(token, NOW)


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_another_algorithm_with_the_right_secret_is_refused(algorithm: str) -> None:
    secret = SECRET * 2
    codec = TokenCodec(secret, None, access_seconds=900, refresh_seconds=604_800)
    codec.read_access(signed(claims_of(access()), secret), NOW)
    with pytest.raises(BadToken):
        codec.read_access(signed(claims_of(access()), secret, algorithm), NOW)


def test_a_token_signed_with_another_secret_is_refused() -> None:
    with pytest.raises(BadToken, match="signature"):
        CODEC.read_access(signed(claims_of(access()), "somebody else's secret of sufficient length"), NOW)


def test_a_header_that_lies_about_the_key_changes_nothing() -> None:
    header = segment({"alg": "HS256", "typ": "JWT", "jwk": {"kty": "oct", "k": "AAAA"}, "kid": "../../dev/null"})
    signing_input = f"{header}.{segment(claims_of(access()))}"
    forged = hmac.new(b"\0\0\0", signing_input.encode(), hashlib.sha256).digest()
    with pytest.raises(BadToken, match="signature"):
        CODEC.read_access(f"{signing_input}.{base64.urlsafe_b64encode(forged).decode().rstrip('=')}", NOW)


def without(*names: str) -> Callable[[Claims], Claims]:
    return lambda claims: {name: value for name, value in claims.items() if name not in names}


def having(**changes: object) -> Callable[[Claims], Claims]:
    return lambda claims: {**claims, **changes}


@pytest.mark.parametrize(
    "change",
    [
        *(without(name) for name in ("uid", "sub", "iat", "exp", "jti", "ver")),
        having(uid="usr_2"),
        having(sub="usr_2"),
        having(sub=7, uid=7),
        having(jti=7),
        having(ver="0"),
        having(ver=True),
        having(ver=None),
        having(exp="never"),
        having(exp=True),
        having(exp=1e400),
        having(exp=10**30),
        having(iat=-1),
        having(iat=None),
        having(iat=[1]),
        having(type="access"),
        having(type=None),
    ],
)
def test_a_well_signed_token_with_wrong_claims_is_refused(change: Callable[[Claims], Claims]) -> None:
    with pytest.raises(BadToken):
        CODEC.read_access(signed(change(claims_of(access()))), NOW)


@pytest.mark.parametrize("change", [without("type"), having(type="Refresh"), without("family"), having(family=1)])
def test_a_well_signed_refresh_token_with_wrong_claims_is_refused(change: Callable[[Claims], Claims]) -> None:
    with pytest.raises(BadToken):
        CODEC.read_refresh(signed(change(claims_of(refresh()))), NOW)


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_no_text_whatever_makes_anything_but_a_refusal(text: str) -> None:
    with pytest.raises(BadToken):
        CODEC.read_access(text, NOW)


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_changing_any_one_character_of_a_token_makes_it_count_no_more(at: int, by: int) -> None:
    token = access()
    at %= len(token)
    changed = token[:at] + chr((ord(token[at]) + by) % 256) + token[at + 1 :]
    try:
        CODEC.read_access(changed, NOW)
    except BadToken:
        return
    # The last character of a base64 segment has spare bits: the bytes, and so the signature, may be the same.
    assert [_bytes(part) for part in changed.split(".")] == [_bytes(part) for part in token.split(".")]


def test_a_token_longer_than_any_of_ours_is_not_even_looked_at() -> None:
    with pytest.raises(BadToken, match="malformed"):
        CODEC.read_access(signed(having(pad="x" * 5000)(claims_of(access()))), NOW)


def test_an_empty_secret_is_no_secret() -> None:
    with pytest.raises(ValueError, match="empty"):
        TokenCodec("", None, access_seconds=900, refresh_seconds=604_800)


def _bytes(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
