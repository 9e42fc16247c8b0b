"""The server as the command line's clients see it: calls, who one is, and errors with words."""

import contextlib
import ipaddress
import json
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Self
from urllib.parse import urlsplit

import click
import httpx
import trio

from understudy.cli.credentials import Credentials, CredentialStore

# The server sends a comment every 15 s on a quiet stream: three of them missed is a dead connection.
STREAM_SILENCE = 45.0
_CONNECT = 10.0


class ApiError(click.ClickException):
    """The server refused: its status, its code word and its sentence, shown as one line."""

    def __init__(self, status: int, code: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after = retry_after

    def format_message(self) -> str:
        """The server's sentence, its code, and when to try again."""
        later = f"; try again in {self.retry_after:g} s" if self.retry_after else ""
        return f"{self.message} ({self.code}){later}"


class Unreachable(click.ClickException):
    """No server answers, or the connection failed."""


class Api:
    """One server, for the length of an `async with`; *headers* go with every request.

    With *store*, requests carry the access token stored for *url*; one that has run out is refreshed, once, unseen.
    """

    def __init__(
        self, url: str, *, store: CredentialStore | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        self.url = url
        self._store = store
        self._http = httpx.AsyncClient(
            base_url=url,
            headers={"User-Agent": "understudy-cli", **(headers or {})},
            timeout=httpx.Timeout(_CONNECT, read=150.0),  # the server's own limit on a request is 120 s
            trust_env=not _is_loopback(url),  # a proxy set for the web at large cannot reach this machine's loopback
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        with trio.CancelScope(shield=True), trio.move_on_after(1):
            await self._http.aclose()

    async def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Send one request and return its JSON (None for an empty answer).

        Raises:
            ApiError: the server said no.
            Unreachable: nobody answered.
        """
        for attempt in (1, 2):
            with self._reachable():
                response = await self._http.request(method, path, json=body, headers=self._authorization())
            if response.status_code == 401 and attempt == 1 and await self.refresh():
                continue
            if response.status_code >= 400:
                raise api_error(response.status_code, response.content, response.headers)
            return _json(response.content)
        raise AssertionError  # pragma: no cover - the second attempt returns or raises

    @contextlib.asynccontextmanager
    async def stream(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[httpx.Response]:
        """Open one streaming answer. The caller reads ``aiter_raw``; a refusal is raised before anything is read.

        Raises:
            ApiError: the server said no.
            httpx.TransportError: the connection failed, here or while reading: the caller may come back.
        """
        timeout = httpx.Timeout(_CONNECT, read=STREAM_SILENCE)
        accept = {"Accept": "text/event-stream", "Accept-Encoding": "identity", **(headers or {})}
        async with self._http.stream(
            method, path, json=body, headers={**accept, **self._authorization()}, timeout=timeout
        ) as response:
            if response.status_code >= 400:
                raise api_error(response.status_code, await response.aread(), response.headers)
            yield response

    async def login(self, email: str, password: str, *, register: bool = False) -> None:
        """Log in (or register) and store the tokens."""
        if self._store is None:
            raise AssertionError("an Api without a store cannot log in")
        path = "/auth/register" if register else "/auth/login"
        with self._reachable():
            response = await self._http.post(path, json={"email": email, "password": password})
        if response.status_code >= 400:
            raise api_error(response.status_code, response.content, response.headers)
        answer = _json(response.content)
        self._store.put(self.url, Credentials(email, answer["accessToken"], answer["refreshToken"]))

    async def refresh(self) -> bool:
        """Exchange the refresh token for new tokens; False when there is none or it no longer counts."""
        if self._store is None or (known := self._store.get(self.url)) is None:
            return False
        with self._reachable():
            response = await self._http.post("/auth/refresh", json={"refreshToken": known.refresh_token})
        if response.status_code >= 500 or response.status_code == 429:
            raise api_error(response.status_code, response.content, response.headers)
        if response.status_code >= 400:
            self._store.forget(self.url)
            return False
        answer = _json(response.content)
        self._store.put(self.url, Credentials(known.email, answer["accessToken"], answer["refreshToken"]))
        return True

    def _authorization(self) -> dict[str, str]:
        known = self._store.get(self.url) if self._store is not None else None
        return {"Authorization": f"Bearer {known.access_token}"} if known else {}

    @contextlib.contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            yield
        except httpx.TransportError as error:
            raise unreachable(self.url, error) from error


def unreachable(url: str, error: httpx.TransportError) -> Unreachable:
    """That nobody answers at *url*, in words."""
    if isinstance(error, httpx.ConnectError):
        return Unreachable(f"no server answers at {url}; start one with: understudy serve")
    return Unreachable(f"the connection to {url} failed: {str(error) or type(error).__name__}")


def api_error(status: int, body: bytes, headers: Mapping[str, str]) -> ApiError:
    """The refusal in *body*, whether it is our envelope or some proxy's page."""
    try:
        answer = _json(body)
        message, code = str(answer["error"]), str(answer.get("code", status))
        for detail in answer.get("details") or ():
            message += f"; {detail.get('path', '?')}: {detail.get('issue', '?')}"
    except (ValueError, KeyError, TypeError, AttributeError):
        message, code = f"the server answered with status {status}", str(status)
    retry_after = headers.get("retry-after", "")
    return ApiError(status, code, message, float(retry_after) if retry_after.isdigit() else None)


def normal_url(url: str) -> str:
    """*url* as the key under which credentials are stored: scheme, host and port alone."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise click.UsageError(f"{url!r} is not the URL of a server; it looks like http://127.0.0.1:8080")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def new_key() -> str:
    """A fresh idempotency key."""
    return uuid.uuid4().hex


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _json(body: bytes) -> Any:
    return json.loads(body) if body else None
