"""Sending, through the guarded client."""

from collections.abc import Mapping

import httpx
import trio

from understudy.actors.outbound.connection import Origin
from understudy.actors.outbound.guarded import GuardedClient, OutboundError, OutboundRefused, check_url
from understudy.actors.webhooks.ports import Posted

TIMEOUT = 10.0
"""Seconds for a receiver to answer, name and connection included."""

AT_ONCE = 300
"""Requests of this node that may be under way, over all webhooks: more than one user's webhooks can have together."""

_ANSWER = 1024
_LONGEST_ERROR = 300


class GuardedPoster:
    """Posts to addresses of the public internet, or to those the operator opened; to https unless *insecure*.

    Nothing is remembered of an address: it is resolved and allowed anew for each request, and no redirect is followed.
    """

    def __init__(self, client: GuardedClient, *, insecure: bool = False, timeout: float = TIMEOUT) -> None:
        self._client = client
        self._insecure = insecure
        self._timeout = timeout
        self._room = trio.CapacityLimiter(AT_ONCE)

    async def approve(self, url: str) -> None:
        """Resolve the host and look at every address of it. Raises `OutboundRefused`, `OutboundFailed`."""
        checked = self._check(url)
        secure = checked.scheme == "https"
        port = checked.port or (443 if secure else 80)
        await self._client.addresses(Origin("https" if secure else "http", checked.raw_host.decode(), port))

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Posted:
        """Send *body* and read the status. Waits for room first, which does not count against the timeout."""
        async with self._room:
            began = trio.current_time()
            status = None
            try:
                self._check(url)
                fetched = await self._client.fetch(
                    url,
                    method="POST",
                    headers=headers,
                    content=body,
                    max_bytes=_ANSWER,
                    timeout=self._timeout,
                    follow=False,
                )
                status = fetched.status
                error = None if 200 <= status < 300 else f"answered {status}"
            except OutboundError as failed:
                error = str(failed)[:_LONGEST_ERROR]
            return Posted(status, round((trio.current_time() - began) * 1000), error)

    def _check(self, url: str) -> httpx.URL:
        checked = check_url(url)
        if checked.scheme != "https" and not self._insecure:
            raise OutboundRefused("only https URLs are allowed here")
        return checked
