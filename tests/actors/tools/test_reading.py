"""Feeds, JSON, and a search that is not there."""

import ipaddress
import time

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from tests.actors.tools.stage import CONTEXT, page
from understudy.actors.outbound.guarded import GuardedClient
from understudy.actors.tools.messages import ToolResult
from understudy.actors.tools.reading import feed_text, query_json, reading_tools
from understudy.actors.tools.tool import ToolFailed
from understudy.actors.tools.toolbox import Toolbox
from understudy.storage.records import ToolCall

RSS = b"""<?xml version="1.0"?><rss version="2.0"><channel><title>News &amp; more</title>
<item><title>Second</title><link>http://x.test/2</link><pubDate>Mon, 02 Mar 2026 08:00:00 GMT</pubDate>
<description>&lt;p&gt;It &lt;b&gt;happened&lt;/b&gt;.&lt;/p&gt;
&lt;script&gt;alert(1)&lt;/script&gt;</description></item>
<item><title>First</title></item></channel></rss>"""
ATOM = b"""<feed xmlns="http://www.w3.org/2005/Atom"><title>Atoms</title>
<entry><title>One</title><link href="http://x.test/1"/><updated>2026-03-01T08:00:00Z</updated></entry></feed>"""
LAUGHS = b"""<?xml version="1.0"?><!DOCTYPE r [<!ENTITY a "ha">%s<!ENTITY file SYSTEM "file:///etc/passwd">]>
<rss version="2.0"><channel><title>&l9;&file;</title></channel></rss>""" % b"".join(
    b'<!ENTITY l%d "%s">' % (n, b"&l%d;" % (n - 1) * 10 if n else b"&a;" * 10) for n in range(10)
)


async def use(name: str, **arguments: object) -> ToolResult:
    box = Toolbox(reading_tools(GuardedClient([ipaddress.ip_network("127.0.0.1/32")])))
    with trio.fail_after(20):
        return await box.run(ToolCall("c", name, msgspec.json.encode(arguments).decode()), CONTEXT)


async def test_a_feed_is_told_as_text_newest_items_first() -> None:
    async with page("application/rss+xml", RSS) as url:
        result = await use("rss_read", url=url, limit=1)
        assert result.content.split("\n") == [
            "News & more: 2 items",
            "",
            "Second",
            "Mon, 02 Mar 2026 08:00:00 GMT",
            "http://x.test/2",
            "It happened.",
        ]
    async with page("application/atom+xml", ATOM) as url:
        assert "One\n2026-03-01T08:00:00Z\nhttp://x.test/1" in (await use("rss_read", url=url)).content


@pytest.mark.parametrize("body", [b"", b"<html><body>no feed</body></html>", b"\0\xff" * 1000, b"/etc/passwd"])
async def test_what_is_no_feed_is_said_to_be_none(body: bytes) -> None:
    async with page("text/plain", body) as url:
        result = await use("rss_read", url=url)
    assert (result.ok, result.content) == (False, "that is no RSS or Atom feed")


async def test_a_feed_that_would_grow_or_read_files_does_neither() -> None:
    async with page("application/rss+xml", LAUGHS) as url:
        result = await use("rss_read", url=url)
    assert "root:" not in result.content
    assert len(result.content) < 10_000


async def test_a_feed_that_is_not_there_or_not_allowed_is_a_failure() -> None:
    async with page("text/plain", b"gone", status=404) as url:
        assert "answered HTTP 404" in (await use("rss_read", url=url)).content
    assert not (await use("rss_read", url="http://10.0.0.1/feed")).ok
    assert not (await use("rss_read", url="file:///etc/passwd")).ok


DATA = '{"items":[{"name":"a","id":1},{"name":"b","id":2}],"a b":{"x-y":null},"n":1.50}'


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("$", None),
        ("", None),
        ("$.items[0].name", '"a"'),
        ("items[-1].id", "2"),
        ("$.items[*].name", '["a","b"]'),
        ('$["a b"].x-y', "null"),
        ("$.items[0][*]", '["a",1]'),
        ("$.n", "1.5"),
    ],
)
async def test_a_path_leads_to_a_value(path: str, found: str | None) -> None:
    result = await use("json_query", data=DATA, path=path)
    assert result.ok, result.content
    assert msgspec.json.decode(result.content) == msgspec.json.decode(DATA if found is None else found)


@pytest.mark.parametrize(
    ("data", "path", "words"),
    [
        ("{", "$", "data: not JSON"),
        ("[" * 100_000, "$", "data: not JSON"),
        (DATA, "$.none", "step 1: there is no 'none'; there are: items, a b, n"),
        (DATA, "$.items[2]", "step 2: there is no [2]; the list has 2"),
        (DATA, "$.items.name", "step 2: what is there is a list"),
        (DATA, "$.n[0]", "step 2: what is there is a plain value"),
        (DATA, "$..name", "is not understood at '..name'"),
        (DATA, "$.items[?(@.id>1)]", "is not understood"),
        ("[" * 40 + "]" * 40, "[0]" * 33, "more than 32 steps"),
        (f"[{','.join(['1'] * 1001)}]", "[*]", "more than 1000 values"),
    ],
)
async def test_a_path_that_leads_nowhere_says_where_it_ended(data: str, path: str, words: str) -> None:
    result = await use("json_query", data=data, path=path)
    assert not result.ok
    assert words in result.content


@given(st.text(max_size=60))
def test_whatever_the_path_is_there_is_a_value_or_a_reason(path: str) -> None:
    try:
        query_json(DATA, path)
    except ToolFailed as failure:
        assert str(failure).startswith("path: ")  # noqa: PT017  # either is right


async def test_a_search_that_is_not_configured_says_so() -> None:
    result = await use("web_search", query="anything")
    assert (result.ok, "not configured" in result.content) == (False, True)


def test_a_feed_that_says_a_slow_encoding_is_not_decoded_by_it() -> None:
    began = time.process_time()
    with pytest.raises(ToolFailed):
        feed_text(b'<?xml version="1.0" encoding="punycode"?>-' + b"9" * 300_000, "application/xml", 10)
    assert time.process_time() - began < 5
