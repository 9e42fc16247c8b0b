"""The request as views see it: quart's, with the node, its id and what became of its limits."""

import math
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

import trio
from quart import request as _current
from quart_trio.wrappers import TrioRequest

from understudy.actors.limits.messages import Allowance
from understudy.http.draining import Draining
from understudy.http.node import Node
from understudy.http.readers import Readers
from understudy.http.settings import HttpSettings
from understudy.runtime import Ask

PATIENCE = 15.0
"""Seconds for an actor to answer while the database is slow."""

R = TypeVar("R")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._~:/+=@-]{1,128}")
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class ApiRequest(TrioRequest):
    """One request. ``payload`` is its whole body, read before the view runs."""

    node: Node
    settings: HttpSettings
    draining: Draining
    readers: Readers
    payload: bytes = b""
    id: str = ""
    deadline: float = float("inf")
    """When (trio's clock) the answer must have begun."""
    clock: trio.CancelScope | None = None
    """What ends the request at its deadline."""
    tenant: str | None = None
    """The workspace on whose behalf actors are asked, once it is known that the caller may act in it."""
    seed: str | None = None
    """What the ids of things it makes are drawn from, when it has an idempotency key."""
    allowance: Allowance | None = None
    """What the rate limits said, for the headers of the answer; None when the route has none."""
    log_fields: Mapping[str, Any] = {}
    """What the view adds to the request's line in the log: never a secret, never content."""

    async def ask(self, address: str, message: Ask[R], timeout: float = PATIENCE) -> R:
        """Ask an actor on the caller's behalf, until the request's own deadline at the latest.

        Raises the actor's `Refusal`, or a `RuntimeFault`.
        """
        with self.on_behalf():
            return await self.node.ask(address, message, timeout=timeout)

    def on_behalf(self) -> AbstractContextManager[None]:
        """What actors are asked inside is asked on behalf of the caller, as part of this request."""
        trace = traceparent(self.headers.get("Traceparent"))
        return self.node.context(
            request_id=self.id, trace=trace, tenant=self.tenant, seed=self.seed, deadline=self.deadline
        )

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Stop the request's clock: what is waited for within does not count, as the time that a person thinks."""
        if self.clock is None:
            yield
            return
        began, self.clock.deadline = trio.current_time(), math.inf
        try:
            yield
        finally:
            self.deadline += trio.current_time() - began
            self.clock.deadline = self.deadline

    @property
    def client_address(self) -> str:
        """The client's IP address; behind a trusted proxy, the one that the proxy saw."""
        if self.settings.trust_proxy:
            forwarded = self.headers.get("X-Forwarded-For")
            if forwarded:
                return forwarded.rpartition(",")[2].strip()
        return self.remote_addr or "local"


def traceparent(offered: str | None) -> str | None:
    """The caller's place in their own trace (W3C Trace Context), if the header is well formed; else it is ignored.

    A later version than 00 may say more behind what is known; that is left away.
    """
    if offered is None:
        return None
    found = _TRACEPARENT.match(offered)
    if found is None:
        return None
    rest = offered[found.end() :]
    return found[0] if not rest or (rest.startswith("-") and not offered.startswith("00")) else None


def this_request() -> ApiRequest:
    """The request being served in this task."""
    proxy: Any = _current
    request: ApiRequest = proxy._get_current_object()  # noqa: SLF001  # werkzeug's documented way past its proxy
    return request


def request_id(offered: str | None) -> str:
    """The id that a client *offered*, if it is safe to echo and to log; else a fresh one."""
    if offered is not None and _REQUEST_ID.fullmatch(offered):
        return offered
    return str(uuid.uuid4())
