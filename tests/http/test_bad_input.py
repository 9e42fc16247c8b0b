"""Bad input: each a named error in the envelope, with nothing changed and nothing logged but a line."""

from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from tests.support.neighbours import AUTH, OPERATOR, serving_api

CHAT = "/agent/chat"
STREAM = "/agent/chat/stream"
IDENTITY = "/diagnostics/actors/identity"


def post(path: str, content: bytes | None = None, *, json: Any = None, headers: dict[str, str] | None = None) -> Any:
    return httpx.Request("POST", f"http://test{path}", content=content, json=json, headers=headers or AUTH)


def get(path: str, headers: dict[str, str] | None = None) -> Any:
    return httpx.Request("GET", f"http://test{path}", headers=headers or AUTH)


HI = {"message": "hi"}

TABLE = [
    ("malformed JSON", post(CHAT, b'{"message": '), 400, "VALIDATION", ("body", "malformed_json")),
    ("no body", post(CHAT, b""), 400, "VALIDATION", ("body", "malformed_json")),
    ("not UTF-8", post(CHAT, b'{"message": "\xff\xfe"}'), 400, "VALIDATION", ("body", "malformed_json")),
    ("a lone surrogate", post(CHAT, b'{"message": "\\ud800"}'), 400, "VALIDATION", ("body", "malformed_json")),
    ("a NUL", post(CHAT, b'{"message": "a\\u0000b"}'), 400, "VALIDATION", ("message", "nul_character")),
    ("deep nesting", post(CHAT, b'{"x":' + b"[" * 100_000), 400, "VALIDATION", ("body", "malformed_json")),
    ("an array", post(CHAT, json=[HI]), 400, "VALIDATION", ("body", "wrong_type")),
    ("no message", post(CHAT, json={}), 400, "VALIDATION", ("message", "missing")),
    ("a number for a message", post(CHAT, json={"message": 1}), 400, "VALIDATION", ("message", "wrong_type")),
    ("null for a message", post(CHAT, json={"message": None}), 400, "VALIDATION", ("message", "wrong_type")),
    ("an empty message", post(CHAT, json={"message": ""}), 400, "VALIDATION", ("message", "too_short")),
    ("a blank message", post(CHAT, json={"message": " \n\t"}), 400, "VALIDATION", ("message", "too_short")),
    (
        "two different idempotency keys",
        post(CHAT, json=HI, headers=AUTH | {"X-Idempotency-Key": "a", "Idempotency-Key": "b"}),
        400,
        "VALIDATION",
        ("X-Idempotency-Key", "contradicts"),
    ),
    ("10,001 characters", post(CHAT, json={"message": "ü" * 10_001}), 400, "VALIDATION", ("message", "too_long")),
    ("an unknown surface", post(CHAT, json=HI | {"surface": "fax"}), 400, "VALIDATION", ("surface", "invalid_value")),
    ("a long surfaceId", post(CHAT, json=HI | {"surfaceId": "x" * 129}), 400, "VALIDATION", ("surfaceId", "too_long")),
    ("an unknown onBusy", post(CHAT, json=HI | {"onBusy": "fork"}), 400, "VALIDATION", ("onBusy", "invalid_value")),
    (
        "a long webhookUrl",
        post(CHAT, json=HI | {"webhookUrl": f"https://e.org/{'x' * 2048}"}),
        400,
        "VALIDATION",
        ("webhookUrl", "too_long"),
    ),
    ("the same on the stream", post(STREAM, json={"message": 1}), 400, "VALIDATION", ("message", "wrong_type")),
    ("an unknown agent", post(CHAT, json=HI | {"agentId": "nobody"}), 404, "NOT_FOUND", None),
    ("an unknown agent, streamed", post(STREAM, json=HI | {"agentId": "nobody"}), 404, "NOT_FOUND", None),
    ("a busy session", post(STREAM, json={"message": "busy"}), 409, "CONFLICT", None),
    ("a foreign workspace", post(CHAT, json=HI, headers=AUTH | {"X-Workspace-Id": "ws_x"}), 403, "FORBIDDEN", None),
    ("no token", post(CHAT, json=HI, headers={"X-None": "1"}), 401, "UNAUTHENTICATED", None),
    ("a bad token", post(CHAT, json=HI, headers={"Authorization": "Bearer forged"}), 401, "UNAUTHENTICATED", None),
    ("another scheme", post(CHAT, json=HI, headers={"Authorization": "Basic eA=="}), 401, "UNAUTHENTICATED", None),
    ("an empty bearer", post(CHAT, json=HI, headers={"Authorization": "Bearer"}), 401, "UNAUTHENTICATED", None),
    ("bad input without a token", post(CHAT, b"{", headers={"X-None": "1"}), 401, "UNAUTHENTICATED", None),
    (
        "a long key",
        post(CHAT, json=HI, headers=AUTH | {"X-Idempotency-Key": "k" * 256}),
        400,
        "VALIDATION",
        ("X-Idempotency-Key", "invalid_value"),
    ),
    (
        "a key with a space",
        post(CHAT, json=HI, headers=AUTH | {"Idempotency-Key": "a b"}),
        400,
        "VALIDATION",
        ("Idempotency-Key", "invalid_value"),
    ),
    (
        "an event id of another make",
        post(STREAM, json=HI, headers=AUTH | {"Last-Event-ID": "7"}),
        400,
        "VALIDATION",
        ("Last-Event-ID", "invalid_value"),
    ),
    (
        "an event id of another's session",
        post(STREAM, json=HI, headers=AUTH | {"Last-Event-ID": "ses_eve:1"}),
        404,
        "NOT_FOUND",
        None,
    ),
    (
        "an event id of the future",
        post(STREAM, json=HI, headers=AUTH | {"Last-Event-ID": "ses_mira:99"}),
        400,
        "VALIDATION",
        ("Last-Event-ID", "in_the_future"),
    ),
    ("a foreign session", get("/sessions/ses_eve"), 404, "NOT_FOUND", None),
    ("a foreign session's events", get("/sessions/ses_eve/events"), 404, "NOT_FOUND", None),
    ("cancel a foreign session", post("/sessions/ses_eve/cancel"), 404, "NOT_FOUND", None),
    ("an unknown status", get("/sessions?status=open"), 400, "VALIDATION", ("status", "invalid_value")),
    ("a word for a limit", get("/sessions?limit=many"), 400, "VALIDATION", ("limit", "wrong_type")),
    ("a limit of zero", get("/sessions?limit=0"), 400, "VALIDATION", ("limit", "too_small")),
    ("a limit beyond the largest", get("/sessions?limit=101"), 400, "VALIDATION", ("limit", "too_large")),
    ("a negative offset", get("/sessions?offset=-1"), 400, "VALIDATION", ("offset", "too_small")),
    ("an unknown surface to list", get("/sessions?surface=fax"), 400, "VALIDATION", ("surface", "invalid_value")),
    ("a query that is not UTF-8", get("/sessions?agentId=%FF"), 400, "VALIDATION", ("query", "not_utf8")),
    ("a NUL in the query", get("/sessions?agentId=%00"), 400, "VALIDATION", ("query", "nul_character")),
    ("a word for follow", get("/sessions/ses_mira/events?follow=maybe"), 400, "VALIDATION", ("follow", "wrong_type")),
    (
        "events after one to come",
        get("/sessions/ses_mira/events?after=99"),
        400,
        "VALIDATION",
        ("after", "in_the_future"),
    ),
    (
        "events after another session's",
        get("/sessions/ses_mira/events", AUTH | {"Last-Event-ID": "ses_eve:1"}),
        400,
        "VALIDATION",
        ("Last-Event-ID", "other_session"),
    ),
    (
        "a bad e-mail's type",
        post("/auth/register", json={"email": 1, "password": "x" * 8}),
        400,
        "VALIDATION",
        ("email", "wrong_type"),
    ),
    (
        "a weak password",
        post("/auth/register", json={"email": "a@b.c", "password": "123"}),
        400,
        "VALIDATION",
        ("password", "too_short"),
    ),
    (
        "a taken e-mail",
        post("/auth/register", json={"email": "taken@b.c", "password": "12345678"}),
        409,
        "CONFLICT",
        None,
    ),
    (
        "a wrong password",
        post("/auth/login", json={"email": "a@b.c", "password": "wrong"}),
        401,
        "UNAUTHENTICATED",
        None,
    ),
    ("a spent refresh token", post("/auth/refresh", json={"refreshToken": "spent"}), 401, "TOKEN_REPLAY", None),
    ("no refresh token", post("/auth/refresh", json={}), 400, "VALIDATION", ("refreshToken", "missing")),
    ("logout without a token", post("/auth/logout", headers={"X-None": "1"}), 401, "UNAUTHENTICATED", None),
    ("diagnostics without a key", get("/diagnostics", {"X-None": "1"}), 401, "UNAUTHENTICATED", None),
    ("diagnostics with a user's token", get("/diagnostics", AUTH), 401, "UNAUTHENTICATED", None),
    ("diagnostics with a wrong key", get("/diagnostics", {"X-Api-Key": "guess"}), 401, "UNAUTHENTICATED", None),
    ("metrics with a wrong key", get("/metrics", {"X-Api-Key": "guess"}), 401, "UNAUTHENTICATED", None),
    ("an unknown actor", get("/diagnostics/actors/session/ses_x", OPERATOR), 404, "NOT_FOUND", None),
    ("kill an unknown actor", post("/diagnostics/actors/no/one/kill", headers=OPERATOR), 404, "NOT_FOUND", None),
    ("a word for watch", get("/diagnostics/actors?watch=2", OPERATOR), 400, "VALIDATION", ("watch", "wrong_type")),
    ("suspend who lets operators in", post(IDENTITY + "/suspend", headers=OPERATOR), 409, "CONFLICT", None),
    ("suspend without a key", post(IDENTITY + "/suspend", headers={"X-None": "1"}), 401, "UNAUTHENTICATED", None),
    ("an unknown path", get("/nowhere"), 404, "NOT_FOUND", None),
    ("a path with two slashes", get("//sessions"), 404, "NOT_FOUND", None),
    ("another method", get("/agent/chat"), 405, "METHOD_NOT_ALLOWED", None),
    ("a large body", post(CHAT, b"x" * (1024 * 1024 + 1)), 413, "PAYLOAD_TOO_LARGE", None),
]


@pytest.mark.parametrize(
    ("request_", "status", "code", "detail"), [row[1:] for row in TABLE], ids=[r[0] for r in TABLE]
)
async def test_bad_input_is_named(request_: Any, status: int, code: str, detail: tuple[str, str] | None) -> None:
    with capture_logs() as logs:
        async with serving_api() as api:
            response = await api.client.request(
                request_.method,
                str(request_.url)[len("http://test") :],
                content=request_.content,
                headers=request_.headers,
            )
    assert response.headers["content-type"] == "application/json"
    problem = response.json()
    assert (response.status_code, problem["code"]) == (status, code), problem
    assert problem["requestId"] == response.headers["x-request-id"]
    assert problem["error"]
    if detail is None:
        assert "details" not in problem
    else:
        assert (problem["details"][0]["path"], problem["details"][0]["issue"]) == detail
    assert [(line["event"], line["status"], line["log_level"]) for line in logs] == [("request", status, "info")]
    assert api.logs == {}
    if status == 401:
        assert response.headers["www-authenticate"]


async def test_ten_thousand_characters_are_counted_as_characters() -> None:
    async with serving_api() as api:
        response = await api.client.post(CHAT, json={"message": "😀" * 10_000}, headers=AUTH)
        assert response.status_code == 200


async def test_too_long_says_how_long_it_may_be() -> None:
    async with serving_api() as api:
        response = await api.client.post(CHAT, json={"message": "x" * 10_001}, headers=AUTH)
        assert response.json()["details"] == [{"path": "message", "issue": "too_long", "max": 10000}]


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (post(CHAT, json={"message": ""}), "message: must have at least 1 character"),
        (post(CHAT, json={"message": "x" * 10_001}), "message: must have at most 10000 characters"),
        (post(CHAT, json={}), "message: is required"),
        (post(CHAT, json={"message": 1}), "message: expected a string, got an integer"),
        (post(CHAT, json=[]), "body: expected an object, got an array"),
        (get("/sessions?limit=101"), "limit: must be at most 100"),
        (get("/sessions/ses_mira/events?after=x"), "after: expected an integer, got a string"),
        (get("/sessions?status=open"), "status: must be one of active, archived"),
        (
            post("/agent/chat", json=HI | {"onBusy": "fork"}),
            "onBusy: must be one of enqueue, reject, interrupt, rollback",
        ),
        (
            post("/webhooks", json={"url": "https://e.org", "events": [1]}),
            "events[0]: expected a string, got an integer",
        ),
        (
            post("/onboarding/setup", json={"agents": ["coder", "butler"]}),
            "agents[1]: must be one of assistant, researcher, coder",
        ),
    ],
)
async def test_errors_speak_of_json_and_not_of_python(request_: Any, said: str) -> None:
    async with serving_api() as api:
        target = str(request_.url)[len("http://test") :]
        answer = await api.client.request(request_.method, target, content=request_.content, headers=request_.headers)
        assert answer.json()["error"] == said


async def test_what_is_refused_is_not_repeated_at_length() -> None:
    async with serving_api() as api:
        answer = await api.client.post(CHAT, json=HI | {"surface": "x" * 100_000}, headers=AUTH)
    assert answer.status_code == 400
    assert len(answer.json()["error"]) < 300


async def test_a_chunked_body_over_the_limit_is_413_without_being_read_to_its_end() -> None:
    async with serving_api() as api, await api.running.connect() as client:
        await client.send(
            "POST /agent/chat HTTP/1.1\nHost: t\nAuthorization: Bearer good-mira\nTransfer-Encoding: chunked\n\n"
        )
        for _ in range(20):
            await client.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        response = await client.response()
        assert (response.status, response.json["code"]) == (413, "PAYLOAD_TOO_LARGE")
        assert response.headers["connection"] == "close"
        assert await client.closed()


async def test_a_body_that_does_not_come_is_408() -> None:
    async with serving_api(body_timeout=0.1) as api, await api.running.connect() as client:
        await client.send("POST /agent/chat HTTP/1.1\nHost: t\nContent-Length: 10\n\n{")
        response = await client.response()
        assert (response.status, response.json["code"]) == (408, "REQUEST_TIMEOUT")
        assert response.headers["connection"] == "close"
        assert await client.closed()


async def test_a_client_that_was_refused_its_body_does_not_lose_its_next_request() -> None:
    async with serving_api() as api:
        for _ in range(5):
            assert (await api.client.post(CHAT, content=b"x" * (1024 * 1024 + 1), headers=AUTH)).status_code == 413
            assert (await api.client.get("/livez")).status_code == 200


async def test_unknown_fields_are_ignored() -> None:
    async with serving_api() as api:
        response = await api.client.post(CHAT, json={"message": "hi", "unknown": {"x": 1}}, headers=AUTH)
        assert response.status_code == 200
        assert "unknown" not in response.text
