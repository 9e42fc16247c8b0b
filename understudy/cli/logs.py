"""The server's log: one line per event on standard error, for people on a terminal and as JSON everywhere else."""

import logging
import sys
from typing import TextIO

import structlog
from structlog.typing import Processor

from understudy.config import Settings

# Libraries that would repeat in prose what our own lines say in fields.
_QUIET = ("httpx", "httpx2", "httpcore", "hypercorn.access", "mcp")


def configure_logs(settings: Settings, stream: TextIO | None = None) -> None:
    """Send structlog's and the standard library's records, alike, to *stream* (standard error).

    Everything ends in one `logging` handler on purpose: a handler that cannot write (a full disk, a closed pipe)
    swallows the error, where a printing logger would raise it into the actor that only wanted to log.
    """
    target = sys.stderr if stream is None else stream
    as_json = settings.log_json if settings.log_json is not None else not target.isatty()
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    final: list[Processor]
    if as_json:
        final = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]
    else:
        # The default traceback shows the values of local variables: passwords and tokens among them.
        plain = structlog.dev.plain_traceback
        final = [structlog.dev.ConsoleRenderer(colors=target.isatty(), exception_formatter=plain)]
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    logging.raiseExceptions = False
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
