"""The server under signals."""

import errno
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable

import click
import structlog
import trio

from understudy.app import run
from understudy.cli.errors import lone_error
from understudy.config import Settings
from understudy.http.sockets import AddressInUse
from understudy.runtime import ActorCrashed

log = structlog.get_logger("understudy.serve")


async def serve_until_signal(settings: Settings, progress: Callable[[str], None], ready: Callable[[str], None]) -> None:
    """Run the server until SIGTERM or SIGINT, then drain it; a second signal ends the process on the spot.

    Raises:
        click.ClickException: another program has the port, or the address is none of this machine's.
        Exception: whatever kept a part of the tree from starting, without the names of those that died of it.
    """
    drain = trio.CancelScope()
    try:
        with lone_error(), trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_stop_on_signal, signals, drain)
                with drain:
                    await run(settings, on_progress=progress, on_ready=ready)
                nursery.cancel_scope.cancel()
    except AddressInUse as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        if not isinstance(error, socket.gaierror) and error.errno not in {errno.EADDRNOTAVAIL, errno.EACCES}:
            raise
        where = f"{settings.host}:{settings.port}"
        raise click.ClickException(
            f"cannot listen on {where}: {error.strerror}; choose others with --host, --port"
        ) from error
    except ActorCrashed as error:
        raise _root_cause(error) from None


def _root_cause(error: BaseException) -> BaseException:
    """Why a part of the tree could not start, without the names of those that died of it."""
    while isinstance(error, ActorCrashed) and error.__cause__ is not None:
        error = error.__cause__
    return error


async def _stop_on_signal(signals: AsyncIterator[int], drain: trio.CancelScope) -> None:
    """Drain on the first signal; end the process on the second, without another word from anybody."""
    first = await anext(signals)
    log.info("stopping", signal=signal.Signals(first).name)
    drain.cancel()
    second = await anext(signals)
    log.warning("killed", signal=signal.Signals(second).name)
    sys.stderr.flush()
    os._exit(128 + second)
