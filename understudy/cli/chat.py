"""``understudy chat``: talk to an agent in the terminal."""

import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from typing import Any

import attrs
import click
import trio

from understudy.cli.api import Api, ApiError, Unreachable, normal_url
from understudy.cli.credentials import CredentialStore
from understudy.cli.errors import lone_error
from understudy.cli.signin import SignIn
from understudy.cli.sse import ServerEvent
from understudy.cli.transcript import Transcript
from understudy.cli.turn import StreamedTurn

_EPILOG = """\b
Examples:
  understudy chat                                 a conversation; Ctrl-D leaves
  understudy chat "What is 6 times 7?"            one question
  echo "Sum up: ..." | understudy chat            the question from a pipe
  understudy chat --new --name trip "Plan a day"  a fresh conversation called trip
  UNDERSTUDY_EMAIL=me@example.org UNDERSTUDY_PASSWORD=... understudy chat --register "Hi"
\b
Ctrl-C stops the answer that is being written; a second one leaves at once.
In a conversation, /reset starts afresh and /quit leaves.
"""


@click.command(epilog=_EPILOG, short_help="Talk to an agent in the terminal.")
@click.argument("text", nargs=-1)
@click.option(
    "--url", envvar="UNDERSTUDY_URL", default="http://127.0.0.1:8080", help="The server [UNDERSTUDY_URL].",
    show_default=True,
)  # fmt: skip
@click.option("--agent", default="chad", show_default=True, help="Whom to talk to.")
@click.option(
    "--name", default="main", show_default=True, help="Which conversation; each name has a memory of its own."
)
@click.option("--new", is_flag=True, help="Start the conversation afresh.")
@click.option("--workspace", help="The workspace, for those who have several.")
@click.option("--email", envvar="UNDERSTUDY_EMAIL", help="Who you are [UNDERSTUDY_EMAIL; asked for once].")
@click.option("--register", is_flag=True, help="Make the account when there is none.")
@click.option("--logout", is_flag=True, help="Forget the stored login, here and on the server.")
@click.option("--json", "as_json", is_flag=True, help="Print each event as a line of JSON.")
def chat(**options: Any) -> int:
    """Talk to an agent: the answer is streamed as it is written, tool calls are shown as they happen.

    The first time, it asks for an e-mail address and a password and keeps the login in your configuration directory.
    The password is never kept; without a terminal it is read from UNDERSTUDY_PASSWORD.
    """
    url = normal_url(options["url"])
    store = CredentialStore()
    if options["logout"]:
        trio.run(_logout, url, store)
        return 0
    conversation = Conversation(
        url=url,
        store=store,
        transcript=Transcript(as_json=options["as_json"]),
        address={"agentId": options["agent"], "surface": "chat", "surfaceId": options["name"]},
        headers={"X-Workspace-Id": options["workspace"]} if options["workspace"] else {},
        sign_in=SignIn(url, store, email=options["email"], register=options["register"]),
    )
    text = " ".join(options["text"]).strip()
    if not text and not sys.stdin.isatty():
        text = sys.stdin.read().strip()
        if not text:
            raise click.UsageError("there is nothing to say: the text is empty")
    if options["new"]:
        conversation.reset()
    return conversation.say(text) if text else _converse(conversation, options["agent"])


def _converse(conversation: "Conversation", agent: str) -> int:
    with contextlib.suppress(ImportError):  # editing and history at the prompt, where Python has it
        import readline  # noqa: F401  # `input` uses it when it is there
    conversation.sign_in.ensure()
    conversation.transcript.note(
        f"{agent} on {conversation.url} - Ctrl-C stops an answer, /reset starts afresh, Ctrl-D leaves"
    )
    while True:
        try:
            text = input("> ").strip()
        except EOFError:
            click.echo()
            return 0
        if text in {"/quit", "/exit"}:
            return 0
        if not text:
            continue
        try:
            if text == "/reset":
                conversation.reset()
                conversation.transcript.note("a fresh conversation")
            else:
                conversation.say(text)
        except (ApiError, Unreachable) as error:
            # A refusal of one question (a rate limit, a server that is being restarted) is no reason to leave.
            conversation.transcript.end_line()
            click.echo(f"understudy: {error.format_message()}", err=True)


@attrs.frozen
class Conversation:
    """One named conversation with one agent on one server."""

    url: str
    store: CredentialStore
    transcript: Transcript
    address: Mapping[str, str]
    headers: Mapping[str, str]
    sign_in: SignIn

    def say(self, text: str) -> int:
        """Ask *text* and show the answer; the exit code is 0, 1 for an error, 130 when stopped."""
        code: int = self._signed_in(self._say, text)
        return code

    def reset(self) -> None:
        """Archive the conversation so far; the next message opens a new one."""
        self._signed_in(self._reset)

    def _signed_in(self, call: Any, *args: Any) -> Any:
        self.sign_in.ensure()
        try:
            return trio.run(call, *args)
        except ApiError as error:
            if error.status != 401 or self.store.get(self.url) is not None:
                raise
        # The stored login had run out, and was forgotten when the server refused to renew it.
        self.sign_in.ensure()
        return trio.run(call, *args)

    async def _say(self, text: str) -> int:
        async with Api(self.url, store=self.store, headers=self.headers) as api:
            turn = StreamedTurn(api, {"message": text, **self.address}, self.transcript.show, self.transcript.note)
            with lone_error(), trio.open_signal_receiver(signal.SIGINT) as signals:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._watch, signals, turn, nursery)
                    last = await turn.run()
                    nursery.cancel_scope.cancel()
        self.transcript.end_line()
        return _exit_code(last)

    async def _watch(self, signals: AsyncIterator[int], turn: StreamedTurn, nursery: trio.Nursery) -> None:
        """Cancel the turn on the first Ctrl-C, leave on the second."""
        await anext(signals)
        nursery.start_soon(self._cancel, turn)
        await anext(signals)
        raise KeyboardInterrupt

    async def _cancel(self, turn: StreamedTurn) -> None:
        self.transcript.note("stopping ... (Ctrl-C again leaves at once)")
        try:
            await turn.cancel()
        except (ApiError, Unreachable) as error:
            self.transcript.note(f"it could not be stopped: {error.format_message()}")

    async def _reset(self) -> None:
        async with Api(self.url, store=self.store, headers=self.headers) as api:
            await api.call("POST", "/agent/reset", self.address)


async def _logout(url: str, store: CredentialStore) -> None:
    async with Api(url, store=store) as api:
        # With the server away or the login run out, forgetting it here is all that is left to do.
        with contextlib.suppress(ApiError, Unreachable):
            await api.call("POST", "/auth/logout", {})
    store.forget(url)


def _exit_code(last: ServerEvent) -> int:
    if last.type == "done":
        return 0
    return 130 if json.loads(last.data).get("code") == "CANCELLED" else 1
