"""Bad input to a real server: each a named error in the envelope, nothing changed, nothing logged but a line."""

import base64
import re
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx
import jwt
import msgspec
import trio

from tests.support.client import PASSWORD, Client, connect, register
from tests.support.node import JWT_SECRET, Node, running_node
from understudy.storage.pool import Pool

CHAT, STREAM, RESET = "/agent/chat", "/agent/chat/stream", "/agent/reset"
REGISTER, LOGIN, REFRESH, LOGOUT = "/auth/register", "/auth/login", "/auth/refresh", "/auth/logout"
HI = b'{"message":"hi"}'

TABLES = (
    "users",
    "refresh_tokens",
    "workspaces",
    "workspace_members",
    "sessions",
    "turns",
    "session_messages",
    "run_events",
    "idempotency_keys",
    "agent_configs",
    "outbox",
)
"""What bad input could have changed. Not among them: the audit log, which notes the replay, and the failed sign-ins."""


@attrs.frozen
class Case:
    """A request that must be refused, and how."""

    name: str
    method: str
    target: str
    status: int
    code: str
    issue: tuple[str, str] | None = None
    body: bytes = b""
    headers: Mapping[str, str] = attrs.field(factory=dict)
    signed: bool = True
    """Whether it carries the user's good token (unless its own headers say otherwise)."""


@attrs.frozen
class Scene:
    """Two users with a conversation each, and refresh tokens in every state."""

    mira: Client
    eve: Client
    session: str
    foreign: str
    foreign_workspace: str
    last_seq: int
    spent: str


def post(name: str, target: str, body: bytes, *issue: str, **headers: str) -> Case:
    """A body that does not fit its schema."""
    return Case(name, "POST", target, 400, "VALIDATION", (issue[0], issue[1]), body, named(headers))


def get(name: str, target: str, *issue: str) -> Case:
    """A query that does not fit its schema."""
    return Case(name, "GET", target, 400, "VALIDATION", (issue[0], issue[1]))


def named(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers from keyword arguments: ``Last_Event_ID`` is ``Last-Event-ID``."""
    return {name.replace("_", "-"): value for name, value in headers.items()}


def said(**fields: Any) -> bytes:
    """A JSON body."""
    return msgspec.json.encode(fields)


def bodies() -> list[Case]:
    """What is wrong with bodies."""
    return [
        post("malformed JSON", CHAT, b'{"message": ', "body", "malformed_json"),
        post("malformed JSON, streamed", STREAM, b"}", "body", "malformed_json"),
        post("no body", CHAT, b"", "body", "malformed_json"),
        post("not JSON but a form", CHAT, b"message=hi", "body", "malformed_json"),
        post("not UTF-8", CHAT, b'{"message":"\xff\xfe"}', "body", "malformed_json"),
        post("UTF-16", CHAT, '{"message":"hi"}'.encode("utf-16"), "body", "malformed_json"),
        post("half a character", CHAT, b'{"message":"\\ud83d"}', "body", "malformed_json"),
        post("a NUL", CHAT, b'{"message":"a\\u0000b"}', "message", "nul_character"),
        post("a NUL in the agent", CHAT, b'{"message":"a","agentId":"\\u0000"}', "agentId", "nul_character"),
        post("not a number", CHAT, b'{"message":NaN}', "body", "malformed_json"),
        post("bottomless", CHAT, b'{"x":' + b"[" * 200_000, "body", "malformed_json"),
        post("an array", CHAT, b"[]", "body", "wrong_type"),
        post("a number for a message", CHAT, said(message=7), "message", "wrong_type"),
        post("a number of 5,000 digits", CHAT, b'{"message":' + b"9" * 5000 + b"}", "message", "invalid_value"),
        post("an object for a message", STREAM, said(message={}), "message", "wrong_type"),
        post("null for a message", CHAT, said(message=None), "message", "wrong_type"),
        post("no message", CHAT, b"{}", "message", "missing"),
        post("no message, streamed", STREAM, b"{}", "message", "missing"),
        post("an empty message", CHAT, said(message=""), "message", "too_short"),
        post("a blank message", CHAT, said(message=" \n\u00a0"), "message", "too_short"),
        post("10,001 characters", CHAT, said(message="x" * 10_001), "message", "too_long"),
        post("10,001 emoji, streamed", STREAM, said(message="😀" * 10_001), "message", "too_long"),
        post("an unknown surface", CHAT, said(message="hi", surface="fax"), "surface", "invalid_value"),
        post("a long surfaceId", CHAT, said(message="hi", surfaceId="x" * 129), "surfaceId", "too_long"),
        post("an unknown onBusy", CHAT, said(message="hi", onBusy="fork"), "onBusy", "invalid_value"),
        post("a reset of a number", RESET, said(surface=3), "surface", "wrong_type"),
        post("an e-mail that is none", REGISTER, said(email="mira", password=PASSWORD), "email", "malformed"),
        post("a short password", REGISTER, said(email="a@example.org", password="12345"), "password", "too_short"),
        post("a long password", REGISTER, said(email="a@example.org", password="x" * 129), "password", "too_long"),
        post("no password", LOGIN, said(email="a@example.org"), "password", "missing"),
        post("no refresh token", REFRESH, b"{}", "refreshToken", "missing"),
        Case("over a megabyte", "POST", CHAT, 413, "PAYLOAD_TOO_LARGE", body=b" " * (1024 * 1024 + 1)),
        Case("an unknown agent", "POST", CHAT, 404, "NOT_FOUND", body=said(message="hi", agentId="nobody")),
        Case("an unknown agent, streamed", "POST", STREAM, 404, "NOT_FOUND", body=said(message="hi", agentId="nobody")),
        Case("a reset of an unknown agent", "POST", RESET, 404, "NOT_FOUND", body=said(agentId="nobody")),
    ]


def addresses(scene: Scene) -> list[Case]:
    """What is wrong with paths, queries and headers: much of it belongs to somebody else."""
    own, foreign = f"/sessions/{scene.session}", f"/sessions/{scene.foreign}"
    future = f"{scene.session}:{scene.last_seq + 1}"
    return [
        Case("a foreign session", "GET", foreign, 404, "NOT_FOUND"),
        Case("a foreign session's events", "GET", f"{foreign}/events", 404, "NOT_FOUND"),
        Case("cancel a foreign session", "POST", f"{foreign}/cancel", 404, "NOT_FOUND"),
        Case("an unknown session", "GET", "/sessions/ses_x", 404, "NOT_FOUND"),
        Case("a session behind a slash", "GET", "/sessions/ses%2Fx", 404, "NOT_FOUND"),
        Case("an unknown path", "GET", "/nowhere", 404, "NOT_FOUND"),
        Case("an unknown method", "DELETE", CHAT, 405, "METHOD_NOT_ALLOWED"),
        Case(
            "a foreign workspace",
            "POST",
            CHAT,
            403,
            "FORBIDDEN",
            body=HI,
            headers={"X-Workspace-Id": scene.foreign_workspace},
        ),
        Case("an unknown workspace", "POST", STREAM, 403, "FORBIDDEN", body=HI, headers={"X-Workspace-Id": "ws_x"}),
        get("an unknown status", "/sessions?status=open", "status", "invalid_value"),
        get("an unknown surface to list", "/sessions?surface=fax", "surface", "invalid_value"),
        get("a word for a limit", "/sessions?limit=many", "limit", "wrong_type"),
        get("a limit of nothing", "/sessions?limit=", "limit", "wrong_type"),
        get("a limit beyond the largest", "/sessions?limit=101", "limit", "too_large"),
        get("a huge offset", "/sessions?offset=99999999999999999999", "offset", "too_large"),
        get("a query that is not UTF-8", "/sessions?agentId=%FF", "query", "not_utf8"),
        get("too many messages", f"{own}?limit=501", "limit", "too_large"),
        get("a word for follow", f"{own}/events?follow=maybe", "follow", "wrong_type"),
        get("events of the future", f"{own}/events?after={scene.last_seq + 1}", "after", "in_the_future"),
        post("an event id of the future", STREAM, HI, "Last-Event-ID", "in_the_future", Last_Event_ID=future),
        post("an event id that is none", STREAM, HI, "Last-Event-ID", "invalid_value", Last_Event_ID="7"),
        Case(
            "an event id of a foreign session",
            "POST",
            STREAM,
            404,
            "NOT_FOUND",
            body=HI,
            headers={"Last-Event-ID": f"{scene.foreign}:1"},
        ),
        Case(
            "an event id of another session",
            "GET",
            f"{own}/events",
            400,
            "VALIDATION",
            ("Last-Event-ID", "other_session"),
            headers={"Last-Event-ID": f"{scene.foreign}:1"},
        ),
        post("a long key", CHAT, HI, "X-Idempotency-Key", "invalid_value", X_Idempotency_Key="k" * 256),
    ]


def tokens(scene: Scene) -> list[Case]:
    """What is wrong with credentials."""
    now = int(time.time())
    claims = {"uid": scene.mira.uid, "sub": scene.mira.uid, "iat": now, "exp": now + 900, "jti": "acc_x", "ver": 0}
    expired = jwt.encode(claims | {"iat": now - 2000, "exp": now - 1000}, JWT_SECRET)
    unsigned = jwt.encode(claims, "", algorithm="none")
    head, payload, signature = scene.mira.token.split(".")
    other = base64.urlsafe_b64encode(msgspec.json.encode(claims | {"uid": scene.eve.uid})).rstrip(b"=").decode()
    bad = {
        "an expired token": expired,
        "a forged token": f"{head}.{other}.{signature}",
        "a token of algorithm none": unsigned,
        "a token whose header says none": f"{unsigned.split('.')[0]}.{payload}.{signature}",
        "a token of another secret": jwt.encode(claims, "another-secret-of-at-least-32-characters"),
        "a token of another algorithm": jwt.encode(claims, JWT_SECRET * 2, algorithm="HS512"),
        "a refresh token for an access token": scene.mira.refresh_token,
        "rubbish": "rubbish",
    }
    refused = [
        Case(f"{name} to {target}", method, target, 401, "UNAUTHENTICATED", body=body, headers=bearer(token))
        for name, token in bad.items()
        for method, target, body in (("GET", "/sessions", b""), ("POST", CHAT, HI))
    ]
    return [
        *refused,
        Case("no token", "POST", CHAT, 401, "UNAUTHENTICATED", body=HI, signed=False),
        Case("another scheme", "GET", "/sessions", 401, "UNAUTHENTICATED", headers={"Authorization": "Basic eA=="}),
        Case("logout of nobody", "POST", LOGOUT, 401, "UNAUTHENTICATED", signed=False),
        Case("a wrong password", "POST", LOGIN, 401, "UNAUTHENTICATED", body=said(email="a@b.org", password="wrong!")),
        Case("a replayed refresh token", "POST", REFRESH, 401, "TOKEN_REPLAY", body=said(refreshToken=scene.spent)),
        Case(
            "an access token for a refresh token",
            "POST",
            REFRESH,
            401,
            "UNAUTHENTICATED",
            body=said(refreshToken=scene.mira.token),
        ),
        Case(
            "an unsigned refresh token",
            "POST",
            REFRESH,
            401,
            "UNAUTHENTICATED",
            body=said(refreshToken=jwt.encode(claims | {"type": "refresh"}, "", algorithm="none")),
        ),
        Case("diagnostics for a user", "GET", "/diagnostics", 401, "UNAUTHENTICATED"),
        Case("a kill with a guessed key", "POST", "/diagnostics/actors/presence/kill", 401, "UNAUTHENTICATED",
             headers={"X-Api-Key": "guess"}),
    ]  # fmt: skip


def bearer(token: str) -> dict[str, str]:
    """The header that carries *token*."""
    return {"Authorization": f"Bearer {token}"}


async def set_up(http: httpx.AsyncClient) -> Scene:
    """Two users, a turn of each, and a refresh token that was rotated away twice over."""
    mira, eve, rita = [await register(http) for _ in range(3)]
    session, foreign = [(await user.chat("hi")).json()["sessionId"] for user in (mira, eve)]
    workspaces = (await http.get("/workspaces", headers=eve.headers)).json()["workspaces"]
    last = (await mira.session(session))["lastEventId"]
    # Rotated twice: a token whose successor was used is no client racing with itself, but a replay at once.
    spent = rita.refresh_token
    for _ in range(2):
        rotated = await http.post(REFRESH, json={"refreshToken": rita.refresh_token})
        rita.refresh_token = rotated.json()["refreshToken"]
    return Scene(mira, eve, session, foreign, workspaces[0]["id"], int(last.rpartition(":")[2]), spent)


@asynccontextmanager
async def counting(dsn: str) -> AsyncGenerator[Any, None]:
    """A function that counts the rows of every table a request could have changed."""
    pool = Pool(dsn, min_size=0, max_size=1)
    await pool.open()

    async def count() -> dict[str, int]:
        async with pool.connection() as connection:
            found = {}
            for table in TABLES:
                cursor = await connection.execute(f"SELECT count(*) FROM {table}")
                row = await cursor.fetchone()
                assert row is not None
                found[table] = row[0]
            return found

    try:
        yield count
    finally:
        await pool.close()


async def refuse(http: httpx.AsyncClient, scene: Scene, case: Case, number: int) -> str:
    """Send *case* and hold its answer to what it must be; returns the request's id."""
    given = f"bad-input-{number}"
    own = scene.mira.headers if case.signed else {}
    headers = {**own, "Content-Type": "application/json", "X-Request-ID": given, **case.headers}
    answer = await http.request(case.method, case.target, content=case.body, headers=headers)
    what = f"{case.name}: {answer.status_code} {answer.text[:500]}"
    assert answer.status_code == case.status, what
    assert answer.headers["content-type"] == "application/json", what
    problem = answer.json()
    assert problem["code"] == case.code, what
    assert problem["requestId"] == answer.headers["x-request-id"] == given, what
    assert problem["error"], what
    assert set(problem) <= {"error", "code", "requestId", "details"}, what
    if case.issue is not None:
        assert (problem["details"][0]["path"], problem["details"][0]["issue"]) == case.issue, what
    if case.status == 401:
        assert answer.headers["www-authenticate"], what
    if case.status == 405:
        assert answer.headers["allow"], what
    return given


def lines_of(node: Node, since: int) -> list[dict[str, Any]]:
    """What the server has logged, from character *since* on; a line that is not JSON fails."""
    return [msgspec.json.decode(line) for line in node.log[since:].splitlines()]


async def test_bad_input_is_named_changes_nothing_and_leaves_one_line(tmp_path: Path, pg_dsn: str) -> None:
    with trio.fail_after(110):
        async with running_node(tmp_path, database_url=pg_dsn) as node, connect(node.url) as http:
            scene = await set_up(http)
            cases = [*bodies(), *addresses(scene), *tokens(scene)]
            async with counting(pg_dsn) as count:
                before, since = await count(), len(node.log)
                ids = [await refuse(http, scene, case, number) for number, case in enumerate(cases)]
                after = await count()
            assert after == before
            while node.log.count("\n", since) < len(cases):  # a line is written when its request was answered
                await trio.sleep(0.01)
            log = lines_of(node, since)
            assert (await http.get("/readiness")).status_code == 200
            assert (await scene.mira.chat("still there?")).status_code == 200
        assert [line["request_id"] for line in log] == ids
        for line, case in zip(log, cases, strict=True):
            assert (line["event"], line["level"], line["status"]) == ("request", "info", case.status), case.name
        assert "Traceback" not in node.log
        told = re.compile("|".join(re.escape(s) for s in (PASSWORD, JWT_SECRET, scene.mira.token, scene.spent)))
        assert not told.search(node.log)
