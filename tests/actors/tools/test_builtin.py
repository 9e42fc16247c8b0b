"""The tools that every node has."""

import ipaddress
import time
from datetime import UTC, datetime

import msgspec
import pytest
import trio

from tests.actors.tools.stage import CONTEXT, page
from understudy.actors.outbound.guarded import GuardedClient
from understudy.actors.outbound.readable import readable
from understudy.actors.tools.builtin import builtin_tools
from understudy.actors.tools.messages import ToolResult
from understudy.actors.tools.toolbox import Toolbox
from understudy.storage.records import ToolCall

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


async def use(name: str, **arguments: object) -> ToolResult:
    outbound = GuardedClient([ipaddress.ip_network("127.0.0.1/32")])
    box = Toolbox(builtin_tools(outbound, now=lambda: NOON))
    with trio.fail_after(20):
        return await box.run(ToolCall("c", name, msgspec.json.encode(arguments).decode()), CONTEXT)


async def test_the_clock_tells_the_time_where_the_agent_lives() -> None:
    assert (await use("datetime_now")).content == "2026-11-21T07:00:00-05:00 (Saturday, America/New_York)"


async def test_the_clock_tells_the_time_of_a_named_zone() -> None:
    result = await use("datetime_now", timezone="Asia/Tokyo")
    assert result.content == "2026-11-21T21:00:00+09:00 (Saturday, Asia/Tokyo)"


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../../etc/passwd", "/etc/localtime", "\0", "Europe"])
async def test_a_zone_that_does_not_exist_is_refused(zone: str) -> None:
    result = await use("datetime_now", timezone=zone)
    assert not result.ok
    assert "no time zone" in result.content


async def test_the_calculator_calculates_and_names_its_errors() -> None:
    assert (await use("calculator", expression="0.1 + 0.2")).content == "0.3"
    failed = await use("calculator", expression="1/0")
    assert (failed.ok, failed.content) == (False, "division by zero")
    assert not (await use("calculator", expression="1" * 501)).ok


async def test_http_get_gives_the_text_of_a_page_without_its_markup() -> None:
    html = (
        b"<html><head><title>T</title><style>p{}</style></head><body><p>One <b>two</b></p><script>evil()</script>three"
    )
    async with page("text/html; charset=utf-8", html) as url:
        result = await use("http_get", url=url)
    assert result.ok
    assert result.content == f"HTTP 200 from {url}\n\nT\nOne two\nthree"


async def test_http_get_gives_an_error_page_too_with_its_status() -> None:
    async with page("application/json", b'{"error":"gone"}', 410) as url:
        result = await use("http_get", url=url)
    assert result.content == f'HTTP 410 from {url}\n\n{{"error":"gone"}}'


async def test_http_get_honours_the_charset() -> None:
    async with page("text/plain; charset=iso-8859-1", "Grüße".encode("latin-1")) as url:
        assert "Grüße" in (await use("http_get", url=url)).content
    for odd in ("klingon", "punycode", "idna"):  # not known, or so slow that a page could stand still in it
        async with page(f"text/plain; charset={odd}", "Grüße".encode()) as url:
            assert "Grüße" in (await use("http_get", url=url)).content
    async with page("text/plain", "Grüße".encode()) as url:
        assert "Grüße" in (await use("http_get", url=url)).content


@pytest.mark.parametrize(("kind", "body"), [("image/png", b"\x89PNG"), ("text/plain", b"a\0b"), ("video/mp4", b"x")])
async def test_http_get_refuses_what_is_not_text(kind: str, body: bytes) -> None:
    async with page(kind, body) as url:
        result = await use("http_get", url=url)
    assert not result.ok
    assert "not text" in result.content


@pytest.mark.parametrize("url", ["http://169.254.169.254/", "http://[::1]/", "file:///etc/passwd", "http://10.0.0.1/"])
async def test_http_get_is_guarded(url: str) -> None:
    result = await use("http_get", url=url)
    assert not result.ok
    assert "allowed" in result.content


def test_markup_that_never_ends_is_still_read() -> None:
    assert readable("a<br>b<p>c &amp; d<script>x</p") == "a\nb\nc & d"
    begun = time.process_time()
    assert readable(f"a<p>b{'<a' * 100_000}").startswith("a\nb")
    assert readable(f"a{' &b' * 50_000}").endswith("&b &b")
    assert time.process_time() - begun < 2  # minutes, were each beginning read to the end


def test_markup_that_no_parser_takes_is_shown_as_it_is() -> None:
    assert readable("a<![x[") == "a<![x["


def test_each_tool_tells_a_model_what_it_takes() -> None:
    specs = {tool.name: tool.spec() for tool in builtin_tools(GuardedClient())}
    assert set(specs) == {"datetime_now", "calculator", "http_get"}
    for spec in specs.values():
        assert spec.parameters["type"] == "object"
        assert spec.parameters["additionalProperties"] is False
        assert "$ref" not in str(spec.parameters)
    assert specs["calculator"].parameters["required"] == ["expression"]
