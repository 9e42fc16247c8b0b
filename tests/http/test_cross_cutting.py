"""What every answer has in common: ids, headers, limits, idempotency, and errors of every floor below."""

from collections import Counter
from collections.abc import Iterator

import httpx
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from tests.support.neighbours import AUTH, OPERATOR, serving_api
from tests.support.server import serving
from understudy.http.app import create_app
from understudy.http.limits import WireLimits
from understudy.http.schemas import Wire

CHAT = "/agent/chat"
HI = {"message": "hi"}


async def test_a_request_id_is_taken_echoed_and_logged() -> None:
    with capture_logs() as logs:
        async with serving_api() as api:
            response = await api.client.get("/livez", headers={"X-Request-ID": "my-request.7"})
    assert response.headers["x-request-id"] == "my-request.7"
    assert logs[0]["request_id"] == "my-request.7"


@pytest.mark.parametrize("bad", ["x" * 129, "a b", 'a"b', "é"])
async def test_a_request_id_that_is_not_safe_is_replaced(bad: str) -> None:
    async with serving_api() as api:
        response = await api.client.get("/livez", headers=[(b"X-Request-ID", bad.encode("latin-1"))])
        assert response.headers["x-request-id"] != bad
        assert len(response.headers["x-request-id"]) == 36


async def test_every_answer_carries_the_security_headers() -> None:
    async with serving_api() as api:
        for path in ("/livez", "/nowhere", "/sessions"):
            headers = (await api.client.get(path)).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"
            assert headers["strict-transport-security"] == "max-age=63072000; includeSubDomains; preload"
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert headers["referrer-policy"] == "strict-origin-when-cross-origin"
            assert "camera=()" in headers["permissions-policy"]
            assert "server" not in headers
            assert "x-powered-by" not in headers


async def test_the_log_line_names_the_request_and_tells_no_secret() -> None:
    with capture_logs() as logs:
        async with serving_api() as api:
            await api.client.post(f"{CHAT}?token=hush", json={"message": "my secret"}, headers=AUTH)
    (line,) = logs
    assert (line["method"], line["path"], line["status"]) == ("POST", "/agent/chat", 200)
    assert {"uid", "workspace", "ms", "client"} <= set(line)
    assert not any(secret in str(line) for secret in ("hush", "good-mira", "my secret"))


async def test_a_client_that_leaves_before_its_answer_is_logged_as_499() -> None:
    with capture_logs() as logs:
        async with serving_api() as api:
            async with await api.running.connect() as client:
                await client.send(
                    "POST /agent/chat HTTP/1.1\nHost: t\nAuthorization: Bearer good-mira\nContent-Length: 21\n\n"
                    '{"message":"silence"}'
                )
                while not api.logs:
                    await trio.lowlevel.checkpoint()
            while not logs:
                await trio.lowlevel.checkpoint()
    assert logs[0]["status"] == 499


async def test_other_origins_get_nothing_unless_they_are_configured() -> None:
    async with serving_api(cors_origins=("https://app.example",)) as api:
        good = await api.client.get("/livez", headers={"Origin": "https://app.example"})
        assert good.headers["access-control-allow-origin"] == "https://app.example"
        assert "RateLimit-Remaining" in good.headers["access-control-expose-headers"]
        bad = await api.client.get("/livez", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in bad.headers
        assert good.headers["vary"] == bad.headers["vary"] == "Origin"


async def test_a_preflight_is_answered_without_a_token() -> None:
    async with serving_api(cors_origins=("*",)) as api:
        asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
        response = await api.client.options(CHAT, headers=asked)
        assert response.status_code == 204
        assert "Last-Event-ID" in response.headers["access-control-allow-headers"]
        assert response.headers["access-control-allow-origin"] == "https://a.example"


async def test_405_names_the_methods_that_are_allowed() -> None:
    async with serving_api() as api:
        response = await api.client.delete("/agent/chat")
        assert (response.status_code, response.headers["allow"]) == (405, "OPTIONS, POST")


async def test_options_names_the_methods_of_every_operation_at_that_path() -> None:
    async with serving_api() as api:
        response = await api.client.options("/agents/chad")
        assert (response.status_code, response.headers["allow"]) == (204, "DELETE, GET, HEAD, OPTIONS, PUT")


def test_no_two_shapes_of_the_wire_have_one_name_since_the_document_knows_them_by_it() -> None:
    def below(shape: type) -> Iterator[type]:
        each: type
        for each in shape.__subclasses__():
            yield each
            yield from below(each)

    shapes = {each for each in below(Wire) if each.__module__.startswith("understudy.")}
    names = Counter(each.__name__ for each in shapes if not each.__name__.endswith("Query"))  # those stand in place
    assert names["AgentUsage"] == 1
    assert [name for name, times in names.items() if times > 1] == []


async def test_limited_routes_say_what_is_left_and_429_when_to_come_back() -> None:
    async with serving_api(tokens=2) as api:
        for left in ("1", "0"):
            response = await api.client.post(CHAT, json=HI, headers=AUTH)
            assert response.status_code == 200
            assert response.headers["ratelimit-limit"] == "2"
            assert response.headers["ratelimit-remaining"] == left
            assert response.headers["ratelimit-reset"] == "60"
        refused = await api.client.post("/agent/chat/stream", json=HI, headers=AUTH)
        assert (refused.status_code, refused.json()["code"]) == (429, "RATE_LIMIT")
        assert refused.headers["retry-after"] == "13"
        assert (await api.client.post("/auth/login", json={})).status_code == 429
        assert "ratelimit-limit" not in (await api.client.get("/livez")).headers


async def test_the_same_key_is_one_turn_and_the_same_answer() -> None:
    async with serving_api() as api:
        keyed = AUTH | {"X-Idempotency-Key": "k1"}
        first = await api.client.post(CHAT, json=HI, headers=keyed)
        second = await api.client.post(CHAT, json=HI, headers=keyed)
        assert first.content == second.content
        assert "idempotency-replayed" not in first.headers
        assert second.headers["idempotency-replayed"] == "true"
        assert len(api.logs["session/ses_mira"]) == 4
        streamed = await api.client.post("/agent/chat/stream", json=HI, headers=keyed)
        assert streamed.headers["idempotency-replayed"] == "true"
        assert streamed.text.count("event: done") == 1


async def test_the_same_key_resets_once() -> None:
    async with serving_api() as api:
        keyed = AUTH | {"Idempotency-Key": "k1"}
        first = await api.client.post("/agent/reset", headers=keyed)
        second = await api.client.post("/agent/reset", headers=keyed)
        other = await api.client.post("/agent/reset", json={"surfaceId": "x"}, headers=keyed)
        assert first.json() == second.json() == {"ok": True, "archivedSessionId": None, "sessionId": "ses_new1"}
        assert second.headers["idempotency-replayed"] == "true"
        assert (other.status_code, other.json()["code"]) == (409, "CONFLICT")


async def test_a_turn_that_fails_has_the_status_of_its_code() -> None:
    async with serving_api() as api:
        response = await api.client.post(CHAT, json={"message": "fail"}, headers=AUTH)
        assert (response.status_code, response.json()["code"]) == (502, "PROVIDER_ERROR")


async def test_an_actor_that_crashes_is_a_503_that_says_to_try_again() -> None:
    async with serving_api() as api:
        response = await api.client.post(CHAT, json={"message": "crash"}, headers=AUTH)
        problem = response.json()
        assert (response.status_code, problem["code"]) == (503, "UNAVAILABLE")
        assert "restarted; try again" in problem["error"]
        assert "on purpose" not in response.text
        assert int(response.headers["retry-after"]) >= 1
        assert (await api.client.post(CHAT, json=HI, headers=AUTH)).status_code == 200


async def test_an_actor_that_does_not_answer_is_a_504() -> None:
    async with serving_api(request_timeout=0.2) as api:
        await api.system.suspend("sessions/directory")
        response = await api.client.post(CHAT, json=HI, headers=AUTH)
        assert (response.status_code, response.json()["code"]) == (504, "TIMEOUT")


async def test_a_turn_that_takes_longer_than_a_request_may_is_a_504() -> None:
    async with serving_api(request_timeout=0.2) as api:
        response = await api.client.post(CHAT, json={"message": "silence"}, headers=AUTH)
        assert (response.status_code, response.json()["code"]) == (504, "TIMEOUT")


@pytest.mark.parametrize("path", [CHAT, f"{CHAT}/stream"])
async def test_a_turn_may_wait_behind_another_as_long_as_its_request_may_take(path: str) -> None:
    async with serving_api(request_timeout=77.0) as api:
        response = await api.client.post(path, json={"message": "patience"}, headers=AUTH)
        assert response.json()["error"] == "77 s left"


async def test_a_bug_in_a_view_is_a_500_without_its_traceback_and_with_it_in_the_log() -> None:
    app = create_app()

    @app.get("/bug")
    async def bug() -> str:
        raise ZeroDivisionError("inner detail")

    app.node = object()  # type: ignore[assignment]
    with capture_logs() as logs:
        async with serving(app) as running, httpx.AsyncClient(base_url=running.url, verify=False) as client:
            response = await client.get("/bug")
    assert (response.status_code, response.json()["code"]) == (500, "INTERNAL")
    assert "inner detail" not in response.text
    assert isinstance(logs[0]["exc_info"], ZeroDivisionError)
    assert logs[0]["request_id"] == response.json()["requestId"]


async def test_without_a_node_everything_is_503() -> None:
    async with serving(create_app()) as running, httpx.AsyncClient(base_url=running.url, verify=False) as client:
        assert (await client.get("/livez")).status_code == 503


async def test_what_quart_views_may_return_works_too() -> None:
    app = create_app()
    app.node = object()  # type: ignore[assignment]

    @app.get("/words")
    async def words() -> tuple[dict[str, str], int]:
        return {"a": "b"}, 201

    async with serving(app) as running, httpx.AsyncClient(base_url=running.url, verify=False) as client:
        response = await client.get("/words")
        assert (response.status_code, response.json()) == (201, {"a": "b"})


async def test_head_is_get_without_a_body() -> None:
    async with serving_api() as api:
        response = await api.client.head("/livez")
        assert (response.status_code, response.content) == (200, b"")
        assert response.headers["content-length"] == "15"


async def test_the_address_behind_a_trusted_proxy_is_the_one_the_proxy_saw() -> None:
    for trust, expected in ((True, "203.0.113.9"), (False, "127.0.0.1")):
        with capture_logs() as logs:
            async with serving_api(trust_proxy=trust) as api:
                await api.client.get("/livez", headers={"X-Forwarded-For": "6.6.6.6, 203.0.113.9"})
        assert logs[0]["client"] == expected


async def test_no_connection_is_left_behind_by_any_of_it() -> None:
    async with serving_api() as api:
        async with httpx.AsyncClient(base_url=api.running.url, verify=False) as client:
            for _ in range(5):
                await client.post(CHAT, json=HI, headers=AUTH)
                await client.get("/diagnostics/actors", headers=OPERATOR)
        while api.running.server.statistics().open:
            await trio.lowlevel.checkpoint()


@pytest.mark.parametrize(
    "request_", ["GET /livez HTTP/1.1\nHost: t\nConnection: close\n\n", "GET /livez HTTP/1.0\n\n"], ids=["close", "1.0"]
)
async def test_a_connection_that_is_to_be_closed_is_closed_by_the_application_too(request_: str) -> None:
    # quart-trio cancels itself within its last send; under it no connection is ever closed.
    async with serving_api() as api, await api.running.connect() as client:
        await client.send(request_)
        assert (await client.response()).json == {"status": "ok"}
        assert await client.closed()


async def test_an_idle_connection_of_the_application_is_closed_too(idle_clock: MockClock) -> None:
    async with serving_api(wire=WireLimits(keep_alive_timeout=0.1)) as api, await api.running.connect() as client:
        for path in ("/livez", "/nowhere"):
            await client.send(f"GET {path} HTTP/1.1\nHost: t\n\n")
            assert (await client.response()).status in {200, 404}
        assert await client.closed()
