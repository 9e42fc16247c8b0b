"""Models at addresses of their own: what an agent's owner gives as ``model.endpoint``.

Such an address is somebody else's URL, so it is guarded (`understudy.actors.outbound`): every connection is made to an
address that was checked. The node's own keys are for the addresses that its operator configured, and never go there.
"""

import re
from collections import OrderedDict
from collections.abc import Mapping
from urllib.parse import urlsplit

from understudy.actors.inference.claude import ClaudeClient
from understudy.actors.inference.client import ModelClient
from understudy.actors.inference.errors import UpstreamFailed
from understudy.actors.inference.gemini import GeminiClient
from understudy.actors.inference.openai import OpenAIClient
from understudy.actors.inference.timeouts import Timeouts
from understudy.actors.outbound.connection import Origin
from understudy.actors.outbound.http1 import Guard, Http1Client

_VERSIONED = re.compile(r"/v\d\w*(?:/|$)")


class Endpoints:
    """Clients by provider and endpoint, the *limit* that were used last; *configured* has the node's own base URLs."""

    def __init__(
        self,
        guard: Guard,
        *,
        configured: Mapping[str, str] | None = None,
        timeouts: Timeouts | None = None,
        limit: int = 64,
    ) -> None:
        self._guard = guard
        self._configured = dict(configured or {})
        self._timeouts = timeouts
        self._limit = limit
        self._clients: OrderedDict[tuple[str, str], ModelClient] = OrderedDict()

    async def client(self, provider: str, endpoint: str) -> tuple[str, ModelClient] | None:
        """The client for *endpoint* and the name of its breaker; None when it is what the node has configured anyway.

        An evicted client's streams go on. Raises `UpstreamFailed` for what is no URL.
        """
        url = complete(provider, endpoint)
        if url == self._configured.get(provider):
            return None
        try:
            name = f"{provider}@{Origin.of(url).authority}"
        except ValueError as error:
            raise UpstreamFailed(f"{provider} cannot be asked: {error}", at_fault=False) from error
        client = self._clients.get((provider, url))
        if client is None:
            client = self._clients[provider, url] = self._open(provider, url, name)
        self._clients.move_to_end((provider, url))
        while len(self._clients) > self._limit:
            _, oldest = self._clients.popitem(last=False)
            await oldest.aclose()
        return name, client

    async def aclose(self) -> None:
        """Close all kept connections."""
        while self._clients:
            _, client = self._clients.popitem()
            await client.aclose()

    def _open(self, provider: str, url: str, name: str) -> ModelClient:
        http = Http1Client(max_idle=8, guard=self._guard)
        match provider:
            case "claude":
                return ClaudeClient(url, name=name, timeouts=self._timeouts, http=http)
            case "gemini" if not url.endswith("/openai"):
                return GeminiClient(url, name=name, timeouts=self._timeouts, http=http)
            case _:
                return OpenAIClient(url, name=name, timeouts=self._timeouts, http=http)


def complete(provider: str, endpoint: str) -> str:
    """*endpoint* with the API's version at its end, unless it has one; the usual examples stop before it."""
    url = endpoint.rstrip("/")
    if _VERSIONED.search(urlsplit(url).path):
        return url
    return url + ("/v1beta" if provider == "gemini" else "/v1")
