"""Getting a login: the stored one, or from the environment, or by asking at the terminal."""

import os
import sys

import attrs
import click
import trio

from understudy.cli.api import Api, ApiError
from understudy.cli.credentials import CredentialStore


@attrs.frozen
class SignIn:
    """How to become somebody on one server. Asks only when standard input is a terminal."""

    url: str
    store: CredentialStore
    email: str | None = None
    register: bool = False

    def ensure(self) -> None:
        """Return with a login stored.

        Raises:
            ApiError: the server refused.
            Unreachable: nobody answers.
            click.UsageError: there is no terminal to ask at, and the environment does not say.
        """
        stored = self.store.get(self.url)
        if stored is not None and self.email in {None, stored.email}:
            return
        interactive = sys.stdin.isatty()
        email, password = self.email, os.environ.get("UNDERSTUDY_PASSWORD")
        if not interactive and (not email or not password):
            raise click.UsageError(
                f"no login is stored for {self.url}, and there is no terminal to ask at: "
                "set UNDERSTUDY_EMAIL and UNDERSTUDY_PASSWORD"
            )
        if not email:
            click.echo(f"No login is stored for {self.url} yet.", err=True)
            email = str(click.prompt("E-mail", err=True)).strip()
        if not password:
            password = str(click.prompt("Password", hide_input=True, err=True))
        try:
            self._login(email, password, register=False)
        except ApiError as error:
            if error.status != 401:
                raise
            self._register(email, password, ask=interactive and not self.register)

    def _register(self, email: str, password: str, *, ask: bool) -> None:
        if not ask and not self.register:
            raise click.ClickException(f"no account of {email} with this password; --register makes one")
        if ask and not click.confirm(f"No account with these. Register {email} now?", default=True, err=True):
            raise click.Abort
        try:
            self._login(email, password, register=True)
        except ApiError as error:
            if error.status != 409:
                raise
            raise click.ClickException(f"{email} has an account, and this is not its password") from error

    def _login(self, email: str, password: str, *, register: bool) -> None:
        async def ask() -> None:
            async with Api(self.url, store=self.store) as api:
                await api.login(email, password, register=register)

        trio.run(ask)
