"""The guarded client: for every URL that a user, a model or another server gave us.

It resolves the name itself, checks every address, connects to a checked one and to no other (so a second DNS answer
changes nothing), checks each redirect anew, and stops reading at a size and a time. One connection for each request,
no cookies, and no proxy from the environment: through one, the check would be of the wrong host.

    OutboundError
      OutboundRefused    the guard said no; nothing was sent there
      OutboundFailed     the other side could not be reached, or answered badly
      OutboundTimedOut   it took longer than allowed
"""

import math
import re
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal

import attrs
import h11
import httpx
import trio

from understudy.actors.outbound.addresses import AddressPolicy, Network
from understudy.actors.outbound.connection import Connection, Head, HttpFault, Origin, connect
from understudy.actors.outbound.inflate import BadEncoding, Inflater
from understudy.actors.secrecy import SECRET_HEADER

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]

_HOST = re.compile(rb"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# Ports of other protocols, which a crafted HTTP request must not reach (fetch.spec.whatwg.org, "bad port").
_BAD_HIGH_PORTS = frozenset(
    {1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, *range(6665, 6670), 6679, 6697, 10080}
)


class OutboundError(Exception):
    """Base of what a guarded request raises. The message may be shown to a user."""


class OutboundRefused(OutboundError):
    """The URL, or where it leads, is not allowed."""


class OutboundFailed(OutboundError):
    """The request was allowed and did not work out."""


class OutboundTimedOut(OutboundError):
    """The time for the whole request, redirects included, was used up."""


@attrs.frozen
class Fetched:
    """An answer. ``url`` is where it came from in the end; ``truncated`` says that there was more than was kept.

    ``headers`` has lower-case names; of a repeated one, the last.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    truncated: bool
    redirects: int = 0


async def system_resolver(host: str, port: int) -> Sequence[str]:
    """Every address of *host*, by the system's resolver in a thread; cancelled means the thread is left behind."""
    found = await trio.socket.getaddrinfo(host, port, type=trio.socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


class GuardedClient:
    """Fetches other people's URLs. *allow* opens networks that would be refused (``127.0.0.1/32``)."""

    def __init__(
        self,
        allow: Sequence[Network] = (),
        *,
        resolver: Resolver = system_resolver,
        tls: ssl.SSLContext | None = None,
        user_agent: str = "understudy",
    ) -> None:
        self._policy = AddressPolicy(allow)
        self._resolver = resolver
        self._tls = tls
        self._user_agent = user_agent

    async def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        content: bytes = b"",
        max_bytes: int = 1_048_576,
        timeout: float = 10.0,
        max_redirects: int = 5,
        follow: bool = True,
    ) -> Fetched:
        """Send one request and read its answer, at most *max_bytes* of it after decompression.

        *timeout* (seconds) covers all: names, connections, redirects, body. Redirects to another origin lose
        credentials; with ``follow=False`` a redirect is the answer. Cancelled means closed. Raises `OutboundRefused`,
        `OutboundFailed`, `OutboundTimedOut`.
        """
        given = {name.lower(): value for name, value in (headers or {}).items()}
        sent = {"user-agent": self._user_agent, "accept": "*/*", **given, "accept-encoding": "gzip"}
        try:
            with trio.fail_after(timeout):
                left = max_redirects if follow else None
                return await self._follow(check_url(url), method, sent, content, max_bytes, left)
        except trio.TooSlowError as error:
            raise OutboundTimedOut(f"{_shown(url)} took longer than {timeout:g} s") from error
        except HttpFault as error:
            raise OutboundFailed(f"{_shown(url)}: {error}") from error

    async def _follow(
        self, url: httpx.URL, method: str, headers: dict[str, str], content: bytes, max_bytes: int, left: int | None
    ) -> Fetched:
        redirects = 0
        while True:
            connection = await self._connect(url)
            try:
                head = await _send(connection, url, method, headers, content)
                found = {name.decode(): value.decode("latin-1") for name, value in head.headers}
                location = found.get("location")
                if head.status not in _REDIRECTS or location is None or left is None:
                    body, truncated = await _read(connection, found.get("content-encoding", ""), max_bytes)
                    return Fetched(str(url), head.status, found, body, truncated, redirects)
            finally:
                connection.close()
            if redirects == left:
                raise OutboundFailed(f"more than {left} redirects, the last to {_shown(location)}")
            redirects += 1
            target = check_url(_joined(url, location))
            if _origin(target) != _origin(url):
                headers = {name: value for name, value in headers.items() if not SECRET_HEADER.search(name)}
            if head.status == 303 or (head.status in {301, 302} and method == "POST"):
                method, content = ("HEAD" if method == "HEAD" else "GET"), b""
                headers = {name: value for name, value in headers.items() if not name.startswith("content-")}
            url = target

    async def addresses(self, origin: Origin) -> Sequence[str]:
        """The addresses of the origin's host, once every one of them was allowed: connect to these and no others.

        Raises `OutboundRefused` when one is not, `OutboundFailed` when the name has none.
        """
        host, port = origin.host, origin.port
        try:
            addresses = await self._resolver(host, port)
        except (OSError, UnicodeError) as error:
            raise OutboundFailed(f"cannot resolve {host}: {getattr(error, 'strerror', None) or error}") from error
        if not addresses:
            raise OutboundFailed(f"{host} has no address")
        for address in addresses:  # one bad answer among good ones is an attack, not an accident
            reason = self._policy.refusal(address)
            if reason is not None:
                leads = "it is" if address == host else f"it leads to {address}, which is"
                raise OutboundRefused(f"{host} is not allowed: {leads} {reason}")
        if not _port_is_open(port) and not all(map(self._policy.allows_explicitly, addresses)):
            raise OutboundRefused(f"port {port} is not allowed: it belongs to another protocol than HTTP")
        return addresses

    async def _connect(self, url: httpx.URL) -> Connection:
        """Resolve, check every address, and connect to one of them and no other."""
        origin = Origin(*_origin(url))
        addresses = await self.addresses(origin)
        if origin.scheme == "https" and self._tls is None:
            self._tls = ssl.create_default_context()
        return await connect(origin, self._tls, math.inf, addresses)


def check_url(url: str) -> httpx.URL:
    """*url*, if its form is allowed: http(s), a host, no credentials, a plausible port. Raises `OutboundRefused`."""
    if len(url) > 2048:
        raise OutboundRefused("the URL is longer than 2048 characters")
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise OutboundRefused(f"not a valid URL: {error}") from error
    if parsed.scheme not in {"http", "https"}:
        raise OutboundRefused(f"only http and https URLs are allowed, not {parsed.scheme or 'relative ones'!r}")
    if not parsed.raw_host:  # not `host`, which takes punycode apart and may fail at that
        raise OutboundRefused("the URL has no host")
    port = 80 if parsed.port is None else parsed.port
    if not _HOST.fullmatch(parsed.raw_host) or not 0 < port < 65536:
        raise OutboundRefused("not a valid URL: its host or port cannot be")
    if parsed.userinfo:
        raise OutboundRefused("URLs with credentials in them are not allowed")
    return parsed


def _joined(url: httpx.URL, location: str) -> str:
    try:
        return str(url.join(location))
    except (httpx.InvalidURL, ValueError) as error:
        raise OutboundRefused(f"redirected to what is not a valid URL: {error}") from error


def _port_is_open(port: int) -> bool:
    """Below 1024 only HTTP's own ports; above, all but those of protocols that a request could be mistaken for."""
    return port in {80, 443} if port < 1024 else port not in _BAD_HIGH_PORTS


def _origin(url: httpx.URL) -> tuple[Literal["http", "https"], str, int]:
    secure = url.scheme == "https"
    return ("https" if secure else "http"), url.raw_host.decode(), url.port or (443 if secure else 80)


def _shown(url: str) -> str:
    """Fit for a message: without query (it may hold secrets) and short."""
    return url.partition("?")[0].partition("#")[0][:200]


async def _send(connection: Connection, url: httpx.URL, method: str, headers: dict[str, str], content: bytes) -> Head:
    lines = [(name.encode("latin-1", "replace"), value.encode("latin-1", "replace")) for name, value in headers.items()]
    if content or method not in {"GET", "HEAD"}:
        lines.append((b"content-length", b"%d" % len(content)))
    try:
        sent = [(b"host", url.netloc), *lines, (b"connection", b"close")]
        return await connection.exchange(url.raw_path, sent, content, method)
    except h11.LocalProtocolError as error:
        raise OutboundRefused(f"not a valid request: {error}") from error


async def _read(connection: Connection, encoding: str, max_bytes: int) -> tuple[bytes, bool]:
    """The decoded body up to *max_bytes*, and whether there was more."""
    try:
        inflater = Inflater(encoding)
        body = bytearray()
        while raw := await connection.read_body():
            body += inflater.feed(raw, max_bytes + 1 - len(body))
            if len(body) > max_bytes:
                return bytes(body[:max_bytes]), True
    except BadEncoding as error:
        raise OutboundFailed(str(error)) from error
    return bytes(body), False
