"""What a registration must look like."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.actors.errors import Detail, Invalid
from understudy.actors.identity.validation import check_registration, is_email


@pytest.mark.parametrize(
    "email",
    [
        "mira@example.org",
        "Mira.O'Neil+tag@sub.example.co.uk",
        "a@b",
        '"two words"@example.org',
        "root@[192.0.2.1]",
        "x" * 64 + "@" + "d" * 189,
    ],
)
def test_addr_specs_are_taken(email: str) -> None:
    assert is_email(email)


@pytest.mark.parametrize(
    "email",
    [
        "",
        "mira",
        "@example.org",
        "mira@",
        "mira@@example.org",
        "mira example@example.org",
        " mira@example.org",
        "mira@example.org\n",
        "mira@exam ple.org",
        ".mira@example.org",
        "mira.@example.org",
        "mi..ra@example.org",
        "mira@.example.org",
        "mira@example..org",
        "Mira <mira@example.org>",
        "mira@example.org, eve@example.org",
        "mïra@example.org",
        "mira\0@example.org",
        "x" * 65 + "@" + "d" * 189,
    ],
)
def test_what_is_no_addr_spec_is_not(email: str) -> None:
    assert not is_email(email)


@given(st.text())
def test_no_text_makes_the_check_raise(text: str) -> None:
    assert is_email(text) in (True, False)


def wrong(email: str = "mira@example.org", password: str = "s3cret!", name: str | None = None) -> tuple[Detail, ...]:
    try:
        check_registration(email, password, name, shortest_password=6)
    except Invalid as invalid:
        return invalid.details
    return ()


def test_the_documented_example_with_its_seven_characters_is_taken() -> None:
    assert wrong(password="s3cret!") == ()


def test_everything_that_is_wrong_is_told_at_once() -> None:
    assert wrong("nobody", "12345", "x" * 101) == (
        Detail("email", "malformed"),
        Detail("password", "too_short"),
        Detail("name", "too_long", 100),
    )


@pytest.mark.parametrize(("length", "issue"), [(5, "too_short"), (6, None), (128, None), (129, "too_long")])
def test_a_password_has_six_to_128_characters_of_any_kind(length: int, issue: str | None) -> None:
    assert [detail.issue for detail in wrong(password="ü" * length)] == ([issue] if issue else [])


@pytest.mark.parametrize("name", ["", "  ", "a\0b", "a\nb", "\ud800", "\x1b[31m"])
def test_a_name_is_one_printable_line(name: str) -> None:
    assert wrong(name=name) == (Detail("name", "malformed"),)


def test_an_email_over_254_characters_is_too_long() -> None:
    assert wrong(email="a" * 250 + "@b.cd") == (Detail("email", "too_long", 254),)
