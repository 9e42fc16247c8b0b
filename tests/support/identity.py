"""One identity actor on a database that outlives it, and the words a user would say to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import argon2
import attrs
import trio

from tests.support.clock import WallClock
from tests.support.writing import DirectWriter
from understudy.actors.errors import Unauthenticated
from understudy.actors.identity.actor import identity_spec
from understudy.actors.identity.messages import (
    IDENTITY,
    Authenticate,
    Client,
    Login,
    Refresh,
    Register,
    SignedIn,
    TokenPair,
)
from understudy.actors.identity.passwords import Passwords
from understudy.runtime import ActorSystem
from understudy.storage.journal import Journal
from understudy.storage.pool import Pool
from understudy.storage.repositories import Repositories

HOME = Client(ip="192.0.2.1", user_agent="tests", request_id="req-1")
PASSWORD = "s3cret!"
SECRET = "the current secret, which is long enough for HS256"
FAST = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@attrs.frozen
class Settings:
    """As much of the settings as identity needs."""

    jwt_secret: str = SECRET
    jwt_secret_prev: str | None = None
    jwt_access_seconds: int = 900
    jwt_refresh_seconds: int = 604_800
    internal_api_key: str = "the operator's key"
    password_min_length: int = 6


class IdentityNode:
    """One identity actor on a database that outlives it."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.store = Repositories.on(pool)
        self.clock = WallClock()
        self.system: ActorSystem

    @asynccontextmanager
    async def running(
        self, settings: Settings = Settings(), hasher: argon2.PasswordHasher = FAST
    ) -> AsyncIterator["IdentityNode"]:
        """Start the actor, anew each time."""
        with trio.fail_after(20):
            async with ActorSystem("test") as self.system:
                await self.system.spawn(
                    identity_spec(
                        settings,
                        self.store,
                        DirectWriter(Journal(self.pool)),
                        now=self.clock,
                        passwords=lambda: Passwords(hasher=hasher),
                    )
                )
                yield self

    async def register(self, email: str = "mira@example.org", client: Client = HOME) -> SignedIn:
        return await self.system.ask(IDENTITY, Register(email, PASSWORD, client))

    async def login(self, password: str = PASSWORD, email: str = "mira@example.org", client: Client = HOME) -> SignedIn:
        return await self.system.ask(IDENTITY, Login(email, password, client))

    async def refresh(self, token: str) -> TokenPair:
        return await self.system.ask(IDENTITY, Refresh(token, HOME))

    async def whose(self, token: str) -> str:
        return (await self.system.ask(IDENTITY, Authenticate(token))).uid

    async def counts(self, token: str) -> bool:
        try:
            await self.whose(token)
        except Unauthenticated:
            return False
        return True

    async def audited(self, uid: str) -> list[str]:
        return [entry.event for entry in await self.store.audit.of_user(uid)]
