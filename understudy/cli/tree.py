"""``understudy tree``: the supervision tree of a running server, once or live."""

import json
import random
from typing import Any

import click
import httpx
import trio
from rich.console import Console
from rich.live import Live

from understudy.cli.api import Api, ApiError, unreachable
from understudy.cli.errors import lone_error
from understudy.cli.operator import Operator, find_operator, operator_options
from understudy.cli.sse import EventDecoder, ServerEvent
from understudy.cli.treeview import TreeView
from understudy.cli.turn import COMING_BACK, TRIES

_EPILOG = """\b
Examples:
  understudy tree
  understudy tree --watch
  understudy tree --watch | grep session     a line per change, when it is no terminal
  understudy tree --url https://chat.example.org --key-file key.txt
"""

_ACTORS = "/diagnostics/actors"
_FRAME = 0.1


@click.command(epilog=_EPILOG, short_help="Show the supervision tree of a running server.")
@click.option("--watch", is_flag=True, help="Go on, and show changes as they happen. Ctrl-C leaves.")
@click.option("--all", "everything", is_flag=True, help="Show every child, however many are alike.")
@operator_options
def tree(watch: bool, everything: bool, **options: Any) -> None:
    """Show every actor and supervisor of a running server: what it does, what waits for it, how often it restarted.

    Needs the internal key, which it finds in the server's data directory when run where the server was started.
    """
    operator = find_operator(options)
    console = Console(highlight=False)
    most = None if everything else max(5, console.height // 3)
    try:
        trio.run(_watch if watch else _once, operator, console, most)
    except KeyboardInterrupt:
        if not watch:  # else it is how one leaves
            raise
    except ApiError as error:
        if error.status != 401:
            raise
        raise click.ClickException(
            f"{operator.url} refuses the internal key; name its key with --key-file, INTERNAL_API_KEY or --data-dir"
        ) from error


async def _once(operator: Operator, console: Console, most: int | None) -> None:
    view = TreeView()
    async with operator.api() as api:
        view.snapshot(await api.call("GET", _ACTORS), 0.0)
    console.print(view.draw(0.0, most))


async def _watch(operator: Operator, console: Console, most: int | None) -> None:
    follower = TreeFollower(operator)
    with lone_error():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follower.follow)
            if console.is_terminal:
                await _draw(follower, console, most)
            else:
                await _tell(follower)


async def _draw(follower: "TreeFollower", console: Console, most: int | None) -> None:
    with Live(console=console, screen=True, auto_refresh=False, vertical_overflow="ellipsis") as live:
        while True:
            await follower.wait_changed(1.0)
            live.update(follower.view.draw(trio.current_time(), most), refresh=True)
            await trio.sleep(_FRAME)


async def _tell(follower: "TreeFollower") -> None:
    known: dict[str, str] = {}
    while True:
        await follower.wait_changed(1.0)
        states = follower.view.states()
        for address, state in states.items():
            if known.get(address) != state:
                click.echo(f"{address or '/'} {state}")
        known = states


class TreeFollower:
    """Keeps a `TreeView` like the server's tree, over as many connections as it takes."""

    def __init__(self, operator: Operator) -> None:
        self.view = TreeView()
        self._operator = operator
        self._rng = random.Random()  # noqa: S311 - it spreads retries, it guards nothing
        self._changed = trio.Event()
        self._reached = False

    async def wait_changed(self, timeout: float) -> None:
        """Wait for a change, or until *timeout* seconds have passed: time alone changes what is drawn, too."""
        with trio.move_on_after(timeout):
            await self._changed.wait()
        self._changed = trio.Event()
        self.view.expire(trio.current_time())

    async def follow(self) -> None:
        """Follow the tree for ever.

        Raises:
            ApiError, Unreachable: from the start, or for longer than `TRIES` last.
        """
        failures = 0
        while True:
            try:
                async with self._operator.api() as api:
                    await self._one_connection(api)
                failures = 0
            except httpx.TransportError as error:
                failures += 1
                if not self._reached or failures > TRIES:
                    raise unreachable(self._operator.url, error) from error
            except ApiError as error:
                failures += 1
                if not self._reached or error.status < 500 or failures > TRIES:
                    raise
            await trio.sleep(COMING_BACK.delay(max(1, failures), self._rng))

    async def _one_connection(self, api: Api) -> None:
        decoder = EventDecoder()
        async with api.stream("GET", f"{_ACTORS}?watch=1") as response:
            self._reached = True
            async for chunk in response.aiter_raw():
                for event in decoder.feed(chunk):
                    self._take(event)
                if self.view.lost:
                    self.view.snapshot(await api.call("GET", _ACTORS), trio.current_time())
                self._changed.set()

    def _take(self, event: ServerEvent) -> None:
        data = json.loads(event.data)
        if event.type == "snapshot":
            self.view.snapshot(data, trio.current_time())
        elif event.type == "change":
            self.view.change(data["changed"], data["removed"], trio.current_time())
