"""A server that runs elsewhere, spoken to over streamable HTTP, through the SDK's transport and a client with bounds.

The URL is the operator's: it is not checked against private addresses as what a model asks for is.
"""

import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager

import httpx2
import trio
from mcp.client._transport import TransportStreams
from mcp.client.streamable_http import streamable_http_client

LARGEST_MESSAGE = 4 * 1_048_576
CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 300.0
"""Between two bytes of an answer; streams on which a server may have nothing to say are opened again after it."""

log = logging.getLogger(__name__)


@asynccontextmanager
async def web(url: str, headers: Mapping[str, str]) -> AsyncGenerator[TransportStreams, None]:
    """A transport of the SDK's. What goes wrong with a connection comes out of the block as httpx2's own errors."""
    # Reading the authorities' certificates takes tens of milliseconds: not on the loop, and not for nothing.
    tls = await trio.to_thread.run_sync(httpx2.create_ssl_context) if url.startswith("https:") else False
    async with (
        httpx2.AsyncClient(
            headers={**headers, "accept-encoding": "identity"},
            timeout=httpx2.Timeout(CONNECT_SECONDS, read=SILENCE_SECONDS),
            transport=_Bounded(tls),
            trust_env=False,
        ) as client,
        streamable_http_client(url, http_client=client, max_sse_event_size=LARGEST_MESSAGE) as streams,
    ):
        yield streams


class _Bounded(httpx2.AsyncBaseTransport):
    """Answers of any length, up to a bound: of a message here, of an event in the SDK. Nothing is inflated."""

    def __init__(self, tls: ssl.SSLContext | bool) -> None:
        self._inner = httpx2.AsyncHTTPTransport(verify=tls, limits=httpx2.Limits(max_connections=20))

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._inner.handle_async_request(request)
        if response.status_code >= 400:
            # The SDK tells that there was an error, and not which.
            log.info("MCP server at %s answered %d", request.url.host, response.status_code)
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            raise httpx2.DecodingError("the server sent an encoding that it was not asked for", request=request)
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101  # an async transport's is
            response.stream = _Limited(response.stream)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Limited(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        total = 0
        async for chunk in self._inner:
            total += len(chunk)
            if total > LARGEST_MESSAGE:
                raise httpx2.StreamError(f"the answer is larger than {LARGEST_MESSAGE} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()
