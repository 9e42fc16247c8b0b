"""Pages as text, and what an agent is told of them."""

from typing import Any

import pytest

from understudy.actors.heartbeats.document import Trigger
from understudy.actors.heartbeats.pagelook import Down, Event, PageState, Up, judge
from understudy.actors.heartbeats.prompts import LONGEST_MESSAGE, listed, render
from understudy.actors.heartbeats.text import PageProblem, PageText, difference, page_text, pointed
from understudy.actors.outbound.charset import known_charset
from understudy.actors.outbound.feeds import FeedItem


def hash_of(body: bytes, kind: str = "", **how: Any) -> str:
    return page_text(body, kind, **{"contains": None, "select": None, **how}).hash


def test_spelling_does_not_count_and_content_does() -> None:
    assert hash_of(b"a  b\n\n c") == hash_of(b"a b\r\nc ")
    assert hash_of(b"a b") != hash_of(b"a c")
    json = "application/json; charset=utf-8"
    assert hash_of(b'{"a": 1, "b": [1.0]}', json) == hash_of(b'{"b":[1.0],"a":1}', json)
    html = "text/html"
    one = b"<html><script>nonce('1')</script><p class=x>Hi <b>you</b></p></html>"
    assert hash_of(one, html) == hash_of(one.replace(b"'1'", b"'2'").replace(b"class=x", b"id=y"), html)
    assert hash_of(one, html) != hash_of(one.replace(b"you", b"them"), html)
    assert hash_of(b"not json", json) == hash_of(b"not  json")
    assert hash_of(b"<p>a</p> <![x[ b", html) != hash_of(b"<p>a</p> <![x[ c", html)


def test_a_selected_value_is_all_that_counts() -> None:
    at = {"select": "/items/1/price"}
    before = b'{"items": [{"price": 1}, {"price": 2}], "at": 1}'
    assert hash_of(before, **at) == hash_of(before.replace(b'"at": 1', b'"at": 2'), **at)
    assert hash_of(before, **at) != hash_of(before.replace(b'"price": 2', b'"price": 3'), **at)
    for pointer in ("/items/2/price", "/items/-", "/items/01", "/nothing", "/items/1/price/deeper"):
        with pytest.raises(PageProblem):
            hash_of(before, select=pointer)
    with pytest.raises(PageProblem, match="not JSON"):
        hash_of(b"<html>", select="/a")
    with pytest.raises(PageProblem, match="not JSON"):
        hash_of(b"[" * 100_000, select="/0")
    with pytest.raises(PageProblem, match="contain"):
        hash_of(before, contains="sold out")


def test_pointers_are_followed_as_the_rfc_says() -> None:
    document = {"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "m~n": 8, " ": 7}
    found = {
        pointer: pointed(document, pointer) for pointer in ("", "/foo", "/foo/0", "/", "/a~1b", "/c%d", "/m~0n", "/ ")
    }
    assert list(found.values()) == [document, ["bar", "baz"], "bar", 0, 1, 2, 8, 7]


@pytest.mark.parametrize("name", ["punycode", "idna", "rot13", "zlib", "unicode_escape", "utf-7", "nonsense", ""])
def test_encodings_that_no_document_is_in_are_not_known(name: str) -> None:
    assert known_charset(name) is None


def test_bytes_are_read_in_their_encoding_and_wrong_ones_borne() -> None:
    read = page_text("Größe".encode("cp1252"), "text/plain; charset=windows-1252", contains="Größe", select=None)
    assert read.text == "Größe"
    assert page_text(b"\xff\xfe\x00", "text/plain; charset=punycode", contains=None, select=None).text


def test_a_difference_is_the_lines_that_went_and_came_and_never_long() -> None:
    assert difference("a\nb\nc", "a\nB\nc", 100) == "-b\n+B"
    assert difference("", "anything", 100) == ""
    assert len(difference("x\n" * 5000, "y\n" * 5000, 300)) == 300


def up(name: str) -> Up:
    return Up(200, PageText(name, name))


@pytest.mark.parametrize(
    ("trigger", "events"),
    [
        (Trigger.ON_CHANGE, [None, "changed", None, None, "down", None, "back up", None, "changed"]),
        (Trigger.ON_FAILURE, [None, None, None, None, "down", None, "back up", None, None]),
        (Trigger.ALWAYS, ["up", "changed", "up", None, "down", None, "back up", "up", "changed"]),
    ],
)
def test_each_trigger_hears_what_it_wants_to(trigger: Trigger, events: list[str | None]) -> None:
    looks: list[Up | Down] = [up("a"), up("b"), Up(304), Down("x"), Down("x"), Down("x"), up("b"), up("b"), up("c")]
    state, heard = PageState(), list[Event | None]()
    for look in looks:
        state, event = judge(trigger, state, look)
        heard.append(event)
    assert heard == events


def test_one_failure_is_forgotten_and_a_page_that_was_never_up_is_down() -> None:
    state, event = judge(Trigger.ON_CHANGE, PageState(), Down("x"))
    assert (state.failures, event) == (1, None)
    assert judge(Trigger.ON_CHANGE, state, Down("x"))[1] is Event.DOWN
    state, event = judge(Trigger.ON_CHANGE, state, up("a"))
    assert (state.failures, event) == (0, None)


def test_placeholders_are_filled_in_once_and_bounded() -> None:
    assert render("{{ url }} {{items}} {{other}}", {"url": "{{items}}", "items": "i"}) == "{{items}} i {{other}}"
    assert render("{{#if diff}}{{diff}}{{else}}Up.{{/if}} {{url}}", {"url": "u", "diff": ""}) == "Up. u"
    assert render("Look.", {"items": "- one"}) == "Look.\n\n- one"
    assert render("Look.", {"status": "down", "diff": ""}) == "Look.\n\ndown"
    assert len(render("{{items}}" * 400, {"items": "x" * 6000})) == LONGEST_MESSAGE


def test_items_that_there_is_no_room_for_are_counted() -> None:
    items = [FeedItem(b"k", "t" * 300, "http://a.example/" + "x" * 1000, "today", "s" * 300) for _ in range(10)]
    text = listed(items)
    assert text.endswith("- and 7 more")
    assert len(text) < 6100
