"""TLS, with a certificate of our own for ``provider.example`` that nobody else trusts (valid until 2126, test only)."""

import ipaddress
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from understudy.actors.outbound.connection import ConnectFailed, ConnectTimedOut, Origin, connect
from understudy.actors.outbound.guarded import GuardedClient, OutboundFailed
from understudy.actors.outbound.http1 import Http1Client

KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQglRs/WNypjP9Ra4nf
JBbvEkkWluiXLSHS8ANlULs7ZiyhRANCAAROwVIjEcMrIZRVV6FC/9IpeCCca7FP
IjVAQDsuBmuC7iyDxdM0hy83PRP1LSj+ECNaJ4kJpjwwqNPC8uRvK7eI
-----END PRIVATE KEY-----
"""
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBtjCCAVugAwIBAgIUdQp+FvHCnQEwuefENmmRUg81PR4wCgYIKoZIzj0EAwIw
GzEZMBcGA1UEAwwQcHJvdmlkZXIuZXhhbXBsZTAgFw0yNjExMjEyMzU5MDBaGA8y
MTI2MTAyODIzNTkwMFowGzEZMBcGA1UEAwwQcHJvdmlkZXIuZXhhbXBsZTBZMBMG
ByqGSM49AgEGCCqGSM49AwEHA0IABE7BUiMRwyshlFVXoUL/0il4IJxrsU8iNUBA
Oy4Ga4LuLIPF0zSHLzc9E/UtKP4QI1oniQmmPDCo08Ly5G8rt4ijezB5MB0GA1Ud
DgQWBBSHmwhnSoL8A+PoAcDBf5s86JN4CTAfBgNVHSMEGDAWgBSHmwhnSoL8A+Po
AcDBf5s86JN4CTAPBgNVHRMBAf8EBTADAQH/MCYGA1UdEQQfMB2CEHByb3ZpZGVy
LmV4YW1wbGWCCWxvY2FsaG9zdDAKBggqhkjOPQQDAgNJADBGAiEA1UGYZ5IAHw9U
QzqsaybmdYqatW8E3tpG0vVko9mKzh4CIQClNCOtzXZBcnl6bzJB+io++JqCObkp
gNQWt89odehGtQ==
-----END CERTIFICATE-----
"""
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def loopback(host: str, port: int) -> Sequence[str]:
    await trio.lowlevel.checkpoint()
    return ["127.0.0.1"]


@pytest.fixture
def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cadata=CERTIFICATE)


@asynccontextmanager
async def https_server(tmp_path: Path) -> AsyncIterator[int]:
    """Answers every request with ``ok`` until the client leaves."""
    both = tmp_path / "both.pem"
    both.write_text(KEY + CERTIFICATE)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(both)

    async def serve(raw: trio.SocketStream) -> None:
        stream = trio.SSLStream(raw, context, server_side=True, https_compatible=True)
        try:
            while b"\r\n\r\n" in await stream.receive_some(65536):
                await stream.send_all(ANSWER)
        except trio.BrokenResourceError:
            pass
        finally:
            await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        with trio.fail_after(30):
            yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def test_a_trusted_provider_is_spoken_to_and_its_connection_kept(
    tmp_path: Path, trusting: ssl.SSLContext
) -> None:
    async with https_server(tmp_path) as port:
        client = Http1Client(tls=trusting)
        origin = Origin("https", "localhost", port)
        for _ in range(3):
            headers = [(b"host", b"localhost"), (b"content-length", b"0")]
            response = await client.post(origin, b"/", headers, b"", connect_timeout=5)
            assert await response.read() == b"ok"
            assert await response.read() == b""
            response.release()
        assert client.statistics().opened == 1, "session tickets that come with TLS 1.3 must not pass for a dead line"
        client.close()


async def test_a_certificate_of_nobody_we_trust_is_refused_by_name(tmp_path: Path) -> None:
    async with https_server(tmp_path) as port:
        with pytest.raises(ConnectFailed, match=r"TLS handshake with localhost failed.*self-signed"):
            await connect(Origin("https", "localhost", port), ssl.create_default_context(), 5)


async def test_the_guarded_client_holds_the_certificate_to_the_name_not_to_the_address(
    tmp_path: Path, trusting: ssl.SSLContext
) -> None:
    async with https_server(tmp_path) as port:
        client = GuardedClient([ipaddress.ip_network("127.0.0.1")], resolver=loopback, tls=trusting)
        assert (await client.fetch(f"https://provider.example:{port}/")).body == b"ok"
        with pytest.raises(OutboundFailed, match=r"TLS handshake with other.example failed"):
            await client.fetch(f"https://other.example:{port}/")


async def test_a_server_that_does_not_speak_tls_is_refused() -> None:
    async def plain(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, plain, [listener])
        with pytest.raises(ConnectFailed, match="TLS handshake"):
            await connect(Origin("https", "localhost", listener.socket.getsockname()[1]), None, 5)
        nursery.cancel_scope.cancel()


async def test_a_handshake_that_never_ends_is_a_connect_timeout(idle_clock: MockClock) -> None:
    async def silent(stream: trio.SocketStream) -> None:
        async with stream:
            while await stream.receive_some():
                pass
            closed.set()

    closed = trio.Event()
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, silent, [listener])
        with pytest.raises(ConnectTimedOut, match=r"within 0.1 s"):
            await connect(Origin("https", "localhost", listener.socket.getsockname()[1]), None, 0.1)
        with trio.fail_after(30):
            await closed.wait()
        nursery.cancel_scope.cancel()
