"""A TLS front for a PostgreSQL that was built without it, and ports at which nobody answers.

The wheel's server speaks no TLS, so its clear text is wrapped here: the front answers libpq's SSLRequest, makes the
handshake and passes bytes on. What is tested, the client driving libpq's TLS from trio, is the same.
"""

import ssl
import struct
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

_SSL_REQUEST = struct.pack("!ii", 8, 80877103)
_CANCEL_LENGTH = 16


def make_certificate(directory: Path) -> tuple[Path, Path]:
    """A self-signed certificate for localhost and its key."""
    certificate, key = directory / "server.crt", directory / "server.key"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "1",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-keyout",
            str(key),
            "-out",
            str(certificate),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


@asynccontextmanager
async def tls_front(socket_path: str, certificate: Path, key: Path) -> AsyncIterator[int]:
    """Serve TLS on a port of localhost and pass clear text to the server's socket; yields the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def serve(client: trio.SocketStream) -> None:
        try:
            request = await client.receive_some(len(_SSL_REQUEST))
            assert request == _SSL_REQUEST
            await client.send_all(b"S")
            secure = trio.SSLStream(client, context, server_side=True)
            server = await trio.open_unix_socket(socket_path)
            async with secure, server, trio.open_nursery() as nursery:
                nursery.start_soon(_pass_on, secure, server, nursery.cancel_scope)
                nursery.start_soon(_pass_on, server, secure, nursery.cancel_scope)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def _pass_on(source: trio.abc.Stream, sink: trio.abc.Stream, done: trio.CancelScope) -> None:
    try:
        while data := await source.receive_some(65536):
            await sink.send_all(data)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    done.cancel()


@asynccontextmanager
async def tcp_front(socket_path: str) -> AsyncIterator[int]:
    """Pass a TCP port of localhost on to the server's socket, without TLS; yields the port."""

    async def serve(client: trio.SocketStream) -> None:
        server = await trio.open_unix_socket(socket_path)
        async with client, server, trio.open_nursery() as nursery:
            nursery.start_soon(_pass_on, client, server, nursery.cancel_scope)
            nursery.start_soon(_pass_on, server, client, nursery.cancel_scope)

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def silent_port() -> AsyncIterator[int]:
    """A port that accepts connections and never says a word."""
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")

        async def serve(client: trio.SocketStream) -> None:
            async with client:
                await trio.sleep_forever()

        nursery.start_soon(trio.serve_listeners, serve, [listener])
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()
