"""Who talks to the stand-in server, and how they are signed in there."""

import os
from pathlib import Path

from tests.support.scripted_server import Exchange

EMAIL = "mira@example.org"
PASSWORD = "correct horse"


def environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("UNDERSTUDY_")}
    return {**kept, "HOME": str(home), "XDG_CONFIG_HOME": str(home), "UNDERSTUDY_PASSWORD": PASSWORD}


async def signed_in(exchange: Exchange) -> bool:
    """Answer the questions of signing in; False when it is another."""
    match exchange.asked.path:
        case "/auth/login":
            await exchange.json(401, {"error": "wrong e-mail or password", "code": "UNAUTHENTICATED"})
        case "/auth/register":
            await exchange.json(201, {"user": {}, "accessToken": "access-1", "refreshToken": "refresh-1"})
        case _:
            assert exchange.asked.headers.get("authorization", "Bearer access-1") == "Bearer access-1"
            return False
    return True
