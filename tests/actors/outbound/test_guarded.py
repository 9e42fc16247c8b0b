"""The guarded client against real servers on loopback, which has to be allowed for it."""

import gzip
import ipaddress
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from understudy.actors.outbound.guarded import (
    GuardedClient,
    OutboundFailed,
    OutboundRefused,
    OutboundTimedOut,
    system_resolver,
)

LOOPBACK = (ipaddress.ip_network("127.0.0.1/32"),)
Respond = Callable[[str, dict[str, str]], bytes]


def answer(body: bytes, status: int = 200, **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Server:
    """Answers GET and POST by a function of path and headers; remembers what was asked."""

    def __init__(self, port: int, respond: Respond) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.respond = respond
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        self.closed = trio.Event()

    async def serve(self, stream: trio.SocketStream) -> None:
        data = b""
        async with stream:
            try:
                while True:
                    while b"\r\n\r\n" not in data:
                        more = await stream.receive_some()
                        if not more:
                            return
                        data += more
                    head, _, data = data.partition(b"\r\n\r\n")
                    line, *rest = head.decode().split("\r\n")
                    headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in rest)}
                    length = int(headers.get("content-length", 0))
                    while len(data) < length:
                        data += await stream.receive_some()
                    self.seen.append((line, headers, data[:length]))
                    data = data[length:]
                    await stream.send_all(self.respond(line.split(" ")[1], headers))
            except trio.BrokenResourceError:
                pass
            finally:
                self.closed.set()


@asynccontextmanager
async def serving(respond: Respond) -> AsyncIterator[Server]:
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        server = Server(listener.socket.getsockname()[1], respond)
        nursery.start_soon(trio.serve_listeners, server.serve, [listener])
        with trio.fail_after(20):
            yield server
        nursery.cancel_scope.cancel()


@pytest.fixture
def client() -> GuardedClient:
    return GuardedClient(LOOPBACK)


@pytest.fixture
def strict() -> GuardedClient:
    return GuardedClient()


def resolving(**names: Sequence[str]) -> Callable[[str, int], Awaitable[Sequence[str]]]:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return names[host.replace(".", "_")] if host.replace(".", "_") in names else await system_resolver(host, port)

    return resolve


async def test_an_allowed_address_is_fetched(client: GuardedClient) -> None:
    async with serving(lambda path, headers: answer(b"hello", content_type="text/plain")) as server:
        got = await client.fetch(server.url + "/a?b=c", headers={"x-mine": "1"})
        line, headers, _ = server.seen[0]
    assert (got.status, got.body, got.truncated, got.headers["content-type"]) == (200, b"hello", False, "text/plain")
    assert line == "GET /a?b=c HTTP/1.1"
    assert headers["host"] == f"127.0.0.1:{server.port}"
    assert headers["x-mine"] == "1"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/",
        "http://localhost:{port}/",
        "http://127.1:{port}/",
        "http://2130706433:{port}/",
        "http://0x7f.0.0.1:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://[::1]:{port}/",
        "http://0.0.0.0:{port}/",
    ],
)
async def test_no_spelling_of_loopback_gets_through(strict: GuardedClient, url: str) -> None:
    async with serving(lambda path, headers: answer(b"secret")) as server:
        with pytest.raises((OutboundRefused, OutboundFailed)) as caught:
            await strict.fetch(url.format(port=server.port))
        assert server.seen == []
    assert isinstance(caught.value, OutboundRefused) or "resolve" in str(caught.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("file:///etc/passwd", "only http and https"),
        ("ftp://example.org/", "only http and https"),
        ("gopher://127.0.0.1/", "only http and https"),
        ("/relative", "only http and https"),
        ("", "only http and https"),
        ("http://", "no host"),
        ("http://user:pw@example.org/", "credentials"),
        ("http://user@127.0.0.1/", "credentials"),
        ("http://example.org:99999/", "not a valid URL"),
        ("http://exa mple.org/", "not a valid URL"),
        ("http://169.254.169.254/latest/meta-data/", "metadata"),
        ("http://1.1.1.1:22/", "port 22"),
        ("http://1.1.1.1:25/", "port 25"),
        ("http://1.1.1.1:6667/", "port 6667"),
        ("http://example.org/" + "a" * 3000, "longer than 2048"),
    ],
)
async def test_urls_that_are_not_allowed_say_why(strict: GuardedClient, url: str, words: str) -> None:
    with pytest.raises(OutboundRefused, match=words):
        await strict.fetch(url)


async def test_one_private_address_among_public_ones_refuses_the_name() -> None:
    client = GuardedClient(resolver=resolving(mixed_example=["1.1.1.1", "10.0.0.5"]))
    with pytest.raises(OutboundRefused, match=r"mixed.example is not allowed: it leads to 10.0.0.5, which is private"):
        await client.fetch("http://mixed.example/")


async def test_the_address_that_was_checked_is_the_one_connected_to_whatever_dns_says_next() -> None:
    answers = iter([["127.0.0.1"], ["169.254.169.254"]])

    async def rebinding(host: str, port: int) -> Sequence[str]:
        await trio.lowlevel.checkpoint()
        return next(answers)

    async with serving(lambda path, headers: answer(b"ok", connection="close")) as server:
        client = GuardedClient(LOOPBACK, resolver=rebinding)
        url = f"http://rebind.example:{server.port}/"
        assert (await client.fetch(url)).body == b"ok"
        assert server.seen[0][1]["host"] == f"rebind.example:{server.port}"
        with pytest.raises(OutboundRefused, match="metadata"):
            await client.fetch(url)


async def test_redirects_are_followed_and_counted(client: GuardedClient) -> None:
    def respond(path: str, headers: dict[str, str]) -> bytes:
        step = int(path[1:])
        return answer(b"", 302, location=f"/{step + 1}") if step < 3 else answer(b"there")

    async with serving(respond) as server:
        got = await client.fetch(server.url + "/0")
    assert (got.body, got.redirects, got.url) == (b"there", 3, server.url + "/3")


async def test_a_redirect_to_a_private_address_is_refused(client: GuardedClient) -> None:
    async with serving(lambda path, headers: answer(b"", 302, location="http://169.254.169.254/x")) as server:
        with pytest.raises(OutboundRefused, match="metadata"):
            await client.fetch(server.url)


async def test_a_name_that_is_no_punycode_is_not_found_like_any_other() -> None:
    async def nowhere(host: str, port: int) -> Sequence[str]:
        raise OSError(f"{host}:{port}")

    with pytest.raises(OutboundFailed, match="cannot resolve xn--"):
        await GuardedClient(resolver=nowhere).fetch("https://xn--/")


async def test_a_redirect_that_is_not_to_be_followed_is_the_answer(client: GuardedClient) -> None:
    async with serving(lambda path, _: answer(b"there", 302, location="/elsewhere")) as server:
        fetched = await client.fetch(f"{server.url}/", follow=False)
        assert (fetched.status, fetched.redirects, len(server.seen)) == (302, 0, 1)


@pytest.mark.parametrize("location", ["file:///etc/passwd", "http://u:p@127.0.0.1/", "javascript:alert(1)"])
async def test_a_redirect_to_another_kind_of_url_is_refused(client: GuardedClient, location: str) -> None:
    async with serving(lambda path, headers: answer(b"", 301, location=location)) as server:
        with pytest.raises(OutboundRefused):
            await client.fetch(server.url)


async def test_endless_redirects_end(client: GuardedClient) -> None:
    async with serving(lambda path, headers: answer(b"", 307, location="/again")) as server:
        with pytest.raises(OutboundFailed, match="more than 5 redirects"):
            await client.fetch(server.url)
        assert len(server.seen) == 6


async def test_credentials_do_not_follow_a_redirect_to_another_origin(client: GuardedClient) -> None:
    async with (
        serving(lambda path, headers: answer(b"")) as target,
        serving(lambda path, headers: answer(b"", 302, location=target.url)) as server,
    ):
        await client.fetch(server.url, headers={"Authorization": "Bearer x", "X-Shop-Token": "t", "x-keep": "1"})
        assert {"authorization", "x-shop-token"} <= set(server.seen[0][1])
        assert not {"authorization", "x-shop-token"} & set(target.seen[0][1])
        assert target.seen[0][1]["x-keep"] == "1"


@pytest.mark.parametrize(("status", "method"), [(302, "GET"), (303, "GET"), (307, "POST"), (308, "POST")])
async def test_a_posts_redirect_keeps_or_drops_its_body_as_the_status_says(
    client: GuardedClient, status: int, method: str
) -> None:
    def respond(path: str, headers: dict[str, str]) -> bytes:
        return answer(b"", status, location="/end") if path == "/" else answer(b"")

    async with serving(respond) as server:
        await client.fetch(server.url + "/", method="POST", content=b"data", headers={"content-type": "text/plain"})
        line, headers, body = server.seen[1]
    assert line == f"{method} /end HTTP/1.1"
    assert body == (b"data" if method == "POST" else b"")
    assert ("content-type" in headers) == (method == "POST")


async def test_cookies_of_one_request_do_not_ride_on_the_next(client: GuardedClient) -> None:
    async with serving(lambda path, headers: answer(b"", set_cookie="a=b")) as server:
        await client.fetch(server.url)
        await client.fetch(server.url)
        assert "cookie" not in server.seen[1][1]


async def test_a_long_body_is_cut_and_the_connection_closed(client: GuardedClient) -> None:
    async with serving(lambda path, headers: answer(b"x" * 5_000_000)) as server:
        got = await client.fetch(server.url, max_bytes=1000)
        assert (got.body, got.truncated) == (b"x" * 1000, True)
        with trio.fail_after(20):
            await server.closed.wait()


@pytest.mark.parametrize("size", [999, 1000])
async def test_a_body_of_just_the_limit_is_whole(client: GuardedClient, size: int) -> None:
    async with serving(lambda path, headers: answer(b"x" * size)) as server:
        got = await client.fetch(server.url, max_bytes=1000)
    assert (len(got.body), got.truncated) == (size, False)


async def test_a_compressed_bomb_is_cut_at_the_same_size(client: GuardedClient) -> None:
    bomb = gzip.compress(b"\0" * 100_000_000)
    async with serving(lambda path, headers: answer(bomb, content_encoding="gzip")) as server:
        got = await client.fetch(server.url, max_bytes=10_000)
    assert (len(got.body), got.truncated) == (10_000, True)


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_compressed_bodies_are_read(client: GuardedClient, encoding: str, pack: Callable[[bytes], bytes]) -> None:
    async with serving(lambda path, headers: answer(pack(b"hello" * 100), content_encoding=encoding)) as server:
        assert (await client.fetch(server.url)).body == b"hello" * 100


@pytest.mark.parametrize(("encoding", "body"), [("br", b"x"), ("gzip", b"not gzip at all")])
async def test_encodings_that_were_not_asked_for_and_broken_ones_are_errors(
    client: GuardedClient, encoding: str, body: bytes
) -> None:
    async with serving(lambda path, headers: answer(body, content_encoding=encoding)) as server:
        with pytest.raises(OutboundFailed, match=r"encoding|broken"):
            await client.fetch(server.url)


@pytest.mark.parametrize(
    "raw",
    [b"", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort"],
    ids=["none", "junk", "short"],
)
async def test_a_broken_answer_is_an_error(client: GuardedClient, raw: bytes) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(raw)

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        with trio.fail_after(30), pytest.raises(OutboundFailed):
            await client.fetch(f"http://127.0.0.1:{listener.socket.getsockname()[1]}/")
        nursery.cancel_scope.cancel()


async def test_the_time_covers_everything_and_a_drip_does_not_extend_it(
    client: GuardedClient, idle_clock: MockClock
) -> None:
    async def drip(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
            try:
                while True:
                    await stream.send_all(b".")
                    await trio.sleep(0.01)
            except trio.BrokenResourceError:
                closed.set()

    closed = trio.Event()
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, drip, [listener])
        with trio.fail_after(30), pytest.raises(OutboundTimedOut, match=r"longer than 0.2 s"):
            await client.fetch(f"http://127.0.0.1:{listener.socket.getsockname()[1]}/", timeout=0.2)
        with trio.fail_after(30):
            await closed.wait()
        nursery.cancel_scope.cancel()


async def test_a_slow_resolver_is_covered_by_the_time(idle_clock: MockClock) -> None:
    async def slow(host: str, port: int) -> Sequence[str]:
        await trio.sleep(60)
        return []

    client = GuardedClient(resolver=slow)
    with trio.fail_after(30), pytest.raises(OutboundTimedOut):
        await client.fetch("http://slow.example/", timeout=0.05)


async def test_an_unknown_name_is_an_error_that_names_it(strict: GuardedClient) -> None:
    with trio.fail_after(15), pytest.raises(OutboundFailed, match=r"cannot resolve nothing.invalid|longer"):
        await strict.fetch("http://nothing.invalid/", timeout=10)


async def test_a_proxy_in_the_environment_is_ignored(client: GuardedClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with serving(lambda path, headers: answer(b"direct")) as server:
        assert (await client.fetch(server.url)).body == b"direct"


async def test_errors_do_not_show_the_query_which_may_hold_secrets(client: GuardedClient) -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    with pytest.raises(OutboundFailed) as caught:
        await client.fetch(f"http://127.0.0.1:{port}/p?token=secret")
    assert "secret" not in str(caught.value)


async def test_a_certificate_must_fit_the_name_not_the_address() -> None:
    trust = ssl.create_default_context()
    client = GuardedClient(LOOPBACK, resolver=resolving(name_example=["127.0.0.1"]), tls=trust)

    async def plain(stream: trio.SocketStream) -> None:
        async with stream:
            hello = await stream.receive_some()
            assert b"name.example" in hello, "the name goes into the handshake, though an address was connected to"
            await stream.send_all(b"HTTP/1.1 400 no TLS here\r\n\r\n")

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, plain, [listener])
        with trio.fail_after(30), pytest.raises(OutboundFailed):
            await client.fetch(f"https://name.example:{listener.socket.getsockname()[1]}/")
        nursery.cancel_scope.cancel()
