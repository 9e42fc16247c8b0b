"""What of the configuration the HTTP floor needs."""

import attrs

from understudy.http.limits import WireLimits

MAX_BODY = 1024 * 1024
"""The platform's limit for a request body, in bytes."""


@attrs.frozen
class HttpSettings:
    """Times in seconds, sizes in bytes."""

    request_timeout: float = 120.0
    """How long a request may take until its answer begins; then 504. Streams may go on after that."""
    body_timeout: float = 30.0
    """How long a request's body may take to arrive; then 408."""
    max_body: int = MAX_BODY
    """A larger body is answered 413, however it is framed."""
    ping_every: float = 15.0
    """A comment goes down an event stream that has been silent for so long."""
    stream_grace: float = 30.0
    """How long a turn goes on when nobody reads it."""
    streams_of_user: int = 100
    """Event streams that one user may read at once; 0 is no limit."""
    drain_timeout: float = 30.0
    """How long requests in flight may take to finish when the server stops."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may call us; ``*`` for any. None by default."""
    trust_proxy: bool = False
    """Whether the address of a client is read from the last ``X-Forwarded-For``."""
    wire: WireLimits = attrs.field(factory=WireLimits)
