"""What a connection may take of time and room before it is closed."""

import attrs


@attrs.frozen
class WireLimits:
    """All times in seconds."""

    max_connections: int = 10_000
    """More than this at once are answered 503 and closed; the process's limit of open files may make it fewer."""
    header_timeout: float = 10.0
    """From the first byte of a request (or the connection's opening) until its headers are complete; then 408."""
    keep_alive_timeout: float = 75.0
    """How long a connection may idle between two requests."""
    write_timeout: float = 30.0
    """How long a client may take nothing of what is sent to it."""
    linger: float = 2.0
    """How long a closing connection waits for its client to close, so that the last answer is not lost to a reset."""
