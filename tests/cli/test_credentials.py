"""The file in which logins are kept."""

import stat
from pathlib import Path

import pytest

from understudy.cli.credentials import Credentials, CredentialStore

MIRA = Credentials("mira@example.org", "access", "refresh")


def test_logins_are_kept_apart_by_server_in_a_private_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "credentials.json"
    store = CredentialStore(path)
    assert store.get("http://a") is None
    store.put("http://a", MIRA)
    store.put("http://b", Credentials("other@example.org", "x", "y"))
    assert CredentialStore(path).get("http://a") == MIRA
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    store.forget("http://a")
    store.forget("http://never-known")
    assert (store.get("http://a"), store.get("http://b")) == (None, Credentials("other@example.org", "x", "y"))
    assert [found.name for found in path.parent.iterdir()] == ["credentials.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"http://a": 3}', '{"http://a": {"email": "e"}}'])
def test_a_damaged_file_counts_as_empty(tmp_path: Path, text: str) -> None:
    path = tmp_path / "credentials.json"
    path.write_text(text)
    store = CredentialStore(path)
    assert store.get("http://a") is None
    store.put("http://a", MIRA)
    assert store.get("http://a") == MIRA


def test_tokens_do_not_show_in_the_repr() -> None:
    assert "refresh" not in repr(Credentials("e", "access-1", "refresh-1")).replace("refresh_token", "")
