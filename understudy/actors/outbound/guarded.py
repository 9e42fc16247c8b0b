"""The guarded client: for every URL that a user, a model or another server gave us.

It resolves the name itself, checks every address, connects to a checked one and to no other (so a second DNS answer
changes nothing), checks each redirect anew, and stops reading at a size and a time. Proxies from the environment are
ignored: through one, the check would be of the wrong host.

    OutboundError
      OutboundRefused    the guard said no; nothing was sent
      OutboundFailed     the other side could not be reached, or answered badly
      OutboundTimedOut   it took longer than allowed
"""

import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

import attrs
import httpcore
import httpx
import trio

from understudy.actors.outbound.addresses import AddressPolicy, Network
from understudy.actors.outbound.inflate import BadEncoding, Inflater

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key"})
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
    """An answer. ``url`` is where it came from in the end; ``truncated`` says that there was more than was kept."""

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


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Makes httpcore's connections: the one place through which a guarded request can leave."""

    def __init__(self, policy: AddressPolicy, resolver: Resolver = system_resolver) -> None:
        self._policy = policy
        self._resolver = resolver
        self._inner: httpcore.AsyncNetworkBackend = httpcore.AsyncTrioBackend()  # type: ignore[attr-defined]

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Resolve, check all addresses, connect to the first that answers. Raises `OutboundRefused`."""
        try:
            addresses = await self._resolver(host, port)
        except OSError as error:
            raise httpcore.ConnectError(f"cannot resolve {host}: {error.strerror or error}") from error
        if not addresses:
            raise httpcore.ConnectError(f"{host} has no address")
        for address in addresses:  # one bad answer among good ones is an attack, not an accident
            reason = self._policy.refusal(address)
            if reason is not None:
                raise OutboundRefused(f"{host} is not allowed: {address} is {reason}")
        if not _port_is_open(port) and not all(map(self._policy.allows_explicitly, addresses)):
            raise OutboundRefused(f"port {port} is not allowed: it belongs to another protocol than HTTP")
        failure: Exception | None = None
        for address in addresses:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError(host)

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Never."""
        raise OutboundRefused("unix sockets are not allowed")

    async def sleep(self, seconds: float) -> None:
        """Wait between httpcore's attempts."""
        await trio.sleep(seconds)


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
        # httpcore, not httpx, makes the requests: httpx takes no network backend and would keep one cookie jar for all.
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls,
            max_connections=100,
            max_keepalive_connections=10,
            keepalive_expiry=5.0,
            network_backend=GuardedBackend(AddressPolicy(allow), resolver),
        )
        self._user_agent = user_agent

    async def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        max_bytes: int = 1_048_576,
        timeout: float = 10.0,
        max_redirects: int = 5,
    ) -> Fetched:
        """Send one request and read its answer, at most *max_bytes* of it after decompression.

        *timeout* (seconds) covers all: names, connections, redirects, body. Redirects to another origin lose
        credentials. Cancelled means closed. Raises `OutboundRefused`, `OutboundFailed`, `OutboundTimedOut`.
        """
        sent = {"user-agent": self._user_agent, "accept": "*/*", **(headers or {}), "accept-encoding": "gzip"}
        try:
            with trio.fail_after(timeout):
                return await self._follow(check_url(url), method, sent, content, max_bytes, max_redirects)
        except trio.TooSlowError as error:
            raise OutboundTimedOut(f"{_shown(url)} took longer than {timeout:g} s") from error
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise OutboundFailed(f"{_shown(url)}: {str(error) or type(error).__name__}") from error

    async def aclose(self) -> None:
        """Close kept connections."""
        await self._pool.aclose()

    async def _follow(
        self, url: httpx.URL, method: str, headers: dict[str, str], content: bytes | None, max_bytes: int, left: int
    ) -> Fetched:
        redirects = 0
        while True:
            raw = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
            async with self._pool.stream(method, raw, headers=list(headers.items()), content=content) as response:
                status = response.status
                found = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
                location = found.get("location")
                if status not in _REDIRECTS or location is None:
                    body, truncated = await _read(response, found.get("content-encoding", ""), max_bytes)
                    return Fetched(str(url), status, found, body, truncated, redirects)
            if redirects == left:
                raise OutboundFailed(f"more than {left} redirects, the last to {_shown(location)}")
            redirects += 1
            target = check_url(str(url.join(location)))
            if _origin(target) != _origin(url):
                headers = {name: value for name, value in headers.items() if name.lower() not in _SECRET_HEADERS}
            if status == 303 or (status in {301, 302} and method == "POST"):
                method, content = ("HEAD" if method == "HEAD" else "GET"), None
                headers = {name: value for name, value in headers.items() if not name.lower().startswith("content-")}
            url = target


def check_url(url: str) -> httpx.URL:
    """*url*, if its form is allowed: http(s), a host, no credentials, a plausible port. Raises `OutboundRefused`."""
    if len(url) > 2048:
        raise OutboundRefused("the URL is longer than 2048 characters")
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError, UnicodeError) as error:
        raise OutboundRefused(f"not a valid URL: {error}") from error
    if parsed.scheme not in {"http", "https"}:
        raise OutboundRefused(f"only http and https URLs are allowed, not {parsed.scheme or 'relative ones'!r}")
    if not parsed.host:
        raise OutboundRefused("the URL has no host")
    if parsed.userinfo:
        raise OutboundRefused("URLs with credentials in them are not allowed")
    return parsed


def _port_is_open(port: int) -> bool:
    """Below 1024 only HTTP's own ports; above, all but those of protocols that a request could be mistaken for."""
    return port in {80, 443} if port < 1024 else port not in _BAD_HIGH_PORTS


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)


def _shown(url: str) -> str:
    """Fit for a message: without query (it may hold secrets) and short."""
    return url.partition("?")[0].partition("#")[0][:200]


async def _read(response: httpcore.Response, encoding: str, max_bytes: int) -> tuple[bytes, bool]:
    """The decoded body up to *max_bytes*, and whether there was more."""
    try:
        inflater = Inflater(encoding)
        body = bytearray()
        async for raw in response.aiter_stream():
            body += inflater.feed(raw, max_bytes + 1 - len(body))
            if len(body) > max_bytes:
                return bytes(body[:max_bytes]), True
    except BadEncoding as error:
        raise OutboundFailed(str(error)) from error
    return bytes(body), False
