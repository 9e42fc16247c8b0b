"""Feeds of every form and temper, as bytes."""

import gzip
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.actors.outbound.feeds import FeedItem, NotAFeed, item_key, newest_first, parse_feed

RSS = b"""<?xml version="1.0"?><rss version="2.0"><channel><title>News</title><link>http://a.example/</link>
<item><title>Second &amp; last</title><link>http://a.example/2</link><guid isPermaLink="false">n-2</guid>
<pubDate>Tue, 03 Mar 2026 10:00:00 GMT</pubDate>
<description>&lt;p&gt;Two &lt;b&gt;words&lt;/b&gt;&lt;script&gt;x()&lt;/script&gt;</description></item>
<item><title>First</title><link>http://a.example/1</link><pubDate>Mon, 02 Mar 2026 10:00:00 GMT</pubDate></item>
<item><title>Bare</title></item></channel></rss>"""

ATOM = b"""<?xml version="1.0" encoding="utf-8"?><feed xmlns="http://www.w3.org/2005/Atom"><title>News</title>
<id>urn:feed</id><updated>2026-03-02T10:00:00Z</updated><entry><title>Gr\xc3\xbc\xc3\x9fe</title>
<id>urn:1</id><link href="http://a.example/1"/><updated>2026-03-02T10:00:00Z</updated><summary>About it</summary>
</entry></feed>"""

RDF = b"""<?xml version="1.0"?><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
xmlns="http://purl.org/rss/1.0/"><channel rdf:about="http://a.example/"><title>News</title></channel>
<item rdf:about="http://a.example/1"><title>One</title><link>http://a.example/1</link></item></rdf:RDF>"""


def items(body: bytes, content_type: str, most: int) -> tuple[FeedItem, ...]:
    return parse_feed(body, content_type, most).items


def test_rss_is_read_with_keys_by_guid_then_link_then_title_and_date() -> None:
    second, first, bare = items(RSS, "application/rss+xml", 10)
    assert second.key == item_key("n-2", "http://elsewhere", "other title", "")
    assert (second.title, second.link, second.summary) == ("Second & last", "http://a.example/2", "Two words")
    assert first.key == item_key("", "http://a.example/1", "", "")
    assert bare.key == item_key("", "", "Bare", "")
    assert newest_first([first, second]) == [second, first]
    assert newest_first([first, bare, second]) == [first, bare, second], "without all dates, as the feed has it"


def test_atom_and_rss_one_are_read() -> None:
    (entry,) = items(ATOM, "application/atom+xml; charset=utf-8", 10)
    assert (entry.title, entry.link, entry.summary) == ("Grüße", "http://a.example/1", "About it")
    assert entry.key == item_key("urn:1", "", "", "")
    (item,) = items(RDF, "", 10)
    assert (item.title, item.link) == ("One", "http://a.example/1")


def test_no_more_items_are_read_than_are_wanted() -> None:
    assert len(items(RSS, "application/xml", 2)) == 2


@pytest.mark.parametrize(
    "body", [b"", b"<html><body>no</body></html>", b'{"items": []}', b"\x00\xff" * 500, gzip.compress(RSS)]
)
def test_what_is_no_feed_is_said_to_be_none(body: bytes) -> None:
    with pytest.raises(NotAFeed):
        items(body, "text/html", 10)


@pytest.mark.parametrize("space", [b"", b" " * 150, b"\n" * 600])
@pytest.mark.parametrize("encoding", ["ascii", "utf-16-be", "utf-32-le"])
def test_a_feed_that_says_a_slow_encoding_is_not_decoded_by_it(space: bytes, encoding: str) -> None:
    said = f'<?xml version="1.0" {space.decode()}encoding="punycode"?>'.encode(encoding)
    began = time.process_time()
    with pytest.raises(NotAFeed):
        items(said + b"-" + b"9" * 500_000, "application/xml; charset=punycode", 10)
    assert time.process_time() - began < 2
    (entry,) = items(ATOM, "application/atom+xml; charset=punycode", 10)
    assert entry.title == "Grüße"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_encodings_that_feeds_are_written_in_are_read(encoding: str) -> None:
    text = ATOM.decode().replace("utf-8", encoding.removesuffix("-sig"))
    (entry,) = items(text.encode(encoding), "application/atom+xml", 10)
    assert entry.title == "Grüße"


def test_broken_encodings_are_borne() -> None:
    wrong = RSS.replace(b"Bare", b"B\xe4r\xff")
    assert len(items(wrong, "application/rss+xml; charset=utf-8", 10)) == 3
    latin = RSS.replace(b'version="1.0"?', b'version="1.0" encoding="iso-8859-1"?').replace(b"Bare", b"B\xe4r")
    assert items(latin, "application/xml", 10)[2].title == "Bär"


def test_entities_that_multiply_are_not_expanded_and_outside_ones_not_fetched() -> None:
    levels = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    laughs = f'<?xml version="1.0"?><!DOCTYPE rss [<!ENTITY l0 "ha">{levels}]>'.encode()
    bomb = laughs + RSS.partition(b"?>")[2].replace(b"Bare", b"&l9;")
    items(RSS, "application/xml", 1)  # the parser itself takes a while to be imported
    began = time.process_time()
    for item in items(bomb, "application/xml", 10):
        assert len(item.title) <= 300
    assert time.process_time() - began < 2
    outside = b'<?xml version="1.0"?><!DOCTYPE rss [<!ENTITY x SYSTEM "file:///etc/hostname">]>'
    for item in items(outside + RSS.partition(b"?>")[2].replace(b"Bare", b"[&x;]"), "application/xml", 10):
        assert item.title in {"Second & last", "First", "[]", "[&x;]"}


@pytest.mark.parametrize(
    "filler", [b"<item><title>x</title></item>", b"<a>", b"&lt;", b"<![CDATA[", b"<item><description>&lt;div "]
)
def test_a_heap_of_anything_is_read_in_bounded_time(filler: bytes) -> None:
    body = RSS.partition(b"<item>")[0] + filler * (30_000 // len(filler))
    began = time.process_time()
    with suppress(NotAFeed):
        assert len(items(body, "application/rss+xml", 1000)) <= 1000
    assert time.process_time() - began < 8


def test_markup_that_no_parser_bears_is_shown_as_it_is() -> None:
    odd = RSS.replace(b"<title>Bare</title>", b"<title>Bare</title><description><![CDATA[a <![x[ b]]></description>")
    assert items(odd, "application/xml", 10)[2].summary == "a <![x[ b"


def test_keywords_are_found_in_title_or_summary_in_capitals_or_not() -> None:
    item = FeedItem(b"k", "Release of Straße 3", summary="with Breaking changes")
    assert item.matches(())
    assert item.matches(("STRASSE",))
    assert item.matches(("nothing", "breaking"))
    assert not item.matches(("nothing",))


@settings(max_examples=60)
@given(
    head=st.sampled_from([RSS, ATOM, RDF]),
    cuts=st.lists(st.tuples(st.integers(0, 900), st.integers(0, 60), st.binary(max_size=20)), max_size=5),
    kind=st.sampled_from(["", "application/xml", "text/html; charset=", "x; charset=utf-16"]),
)
def test_whatever_a_feed_is_made_of_it_is_items_or_no_feed(
    head: bytes, cuts: list[tuple[int, int, bytes]], kind: str
) -> None:
    for at, length, inserted in cuts:
        head = head[:at] + inserted + head[at + length :]
    with suppress(NotAFeed):
        assert all(len(item.key) == 16 for item in items(head, kind, 5))
