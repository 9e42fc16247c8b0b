"""Where the server listens."""

import errno
import socket
from collections.abc import Sequence
from contextlib import suppress

BACKLOG = 1024
"""Connections that may wait while the listener is being restarted."""


class AddressInUse(Exception):
    """Another program listens on the port already."""


def bind(host: str, port: int) -> tuple[socket.socket, ...]:
    """Listening sockets on every address that *host* means. Raises `AddressInUse`, or OSError for a foreign address."""
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            bound = socket.socket(family, kind, protocol)
            sockets.append(bound)
            bound.setblocking(False)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                with suppress(OSError):
                    bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            # The first one chooses when any free port will do; the others then take the same.
            chosen = port or (sockets[0].getsockname()[1] if len(sockets) > 1 else 0)
            bound.bind((address[0], chosen, *address[2:]))
            bound.listen(BACKLOG)
    except OSError as error:
        for bound in sockets:
            bound.close()
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(
                f"another program listens on {host}:{port} already; choose another with --port"
            ) from None
        raise
    return tuple(sockets)


def url_of(sockets: Sequence[socket.socket]) -> str:
    """Where a browser on this machine finds the server."""
    host, port = sockets[0].getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104  # shown, not bound
    return f"http://{shown}:{port}"
