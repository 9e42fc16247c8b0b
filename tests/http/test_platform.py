"""The platform's routes: what they answer when all is well."""

from datetime import UTC, datetime

import httpx
import msgspec
import pytest
import yaml

from tests.support.neighbours import AUTH, OPERATOR, serving_api
from understudy.http import schemas_actors
from understudy.http.app import create_app
from understudy.http.openapi import document
from understudy.http.operation import openapi_path


async def test_registering_answers_201_with_the_user_and_both_tokens() -> None:
    async with serving_api() as api:
        response = await api.client.post("/auth/register", json={"email": "a@example.org", "password": "12345678"})
        assert response.status_code == 201
        assert set(response.json()) == {"user", "accessToken", "refreshToken", "workspaceId"}
        user = {"id": "usr_mira", "email": "a@example.org", "name": "Mira", "createdAt": "2026-11-21T12:00:00Z"}
        assert response.json()["user"] == user
        assert response.headers["cache-control"] == "no-store"


async def test_signing_in_refreshing_and_signing_out() -> None:
    async with serving_api() as api:
        login = await api.client.post("/auth/login", json={"email": "a@example.org", "password": "correct horse"})
        assert login.status_code == 200
        pair = await api.client.post("/auth/refresh", json={"refreshToken": login.json()["refreshToken"]})
        assert pair.json() == {"accessToken": "good-usr_mira", "refreshToken": "refresh-2"}
        bye = await api.client.post("/auth/logout", headers={"Authorization": "bearer " + pair.json()["accessToken"]})
        assert (bye.status_code, bye.json()) == (200, {"ok": True})
        bye = await api.client.post("/auth/logout", json={"refreshToken": "refresh-2"})
        assert bye.status_code == 200


async def test_a_chat_answers_with_what_the_contract_names() -> None:
    async with serving_api() as api:
        response = await api.client.post("/agent/chat", json={"message": "hi", "surface": "prop"}, headers=AUTH)
        assert response.json() == {
            "content": "Good day.",
            "sessionId": "ses_mira",
            "toolsUsed": [],
            "usage": {"promptTokens": 1, "completionTokens": 2, "totalTokens": 3},
            "agentId": "chad",
        }


async def test_presence_and_workspaces_and_health() -> None:
    async with serving_api() as api:
        presence = (await api.client.get("/agent/presence", headers=AUTH)).json()
        assert presence["agents"][0] == {
            "agentId": "chad",
            "state": "thinking",
            "sessionId": "ses_1",
            "since": "2026-11-21T12:00:00Z",
        }
        workspaces = (await api.client.get("/workspaces", headers=AUTH)).json()["workspaces"]
        assert workspaces[0]["yourRole"] == "owner"
        assert workspaces[0]["createdAt"] == 1795262400000
        assert (await api.client.get("/agent/health")).json() == {"status": "ok"}
        health = await api.client.get("/health")
        assert health.status_code == 503
        assert health.json()["checks"] == {"typesense": "error", "postgres": "ok"}
        assert (await api.client.get("/readiness")).json() == {"ready": True}


async def test_sessions_are_listed_in_pages_with_a_link_to_the_next() -> None:
    async with serving_api() as api:
        page = await api.client.get("/sessions?status=active&limit=2&offset=4", headers=AUTH)
        assert {key: page.json()[key] for key in ("total", "limit", "offset")} == {
            "total": 250,
            "limit": 2,
            "offset": 4,
        }
        assert len(page.json()["sessions"]) == 2
        assert page.headers["link"] == '</sessions?status=active&limit=2&offset=6>; rel="next"'
        last = await api.client.get("/sessions?limit=100&offset=200", headers=AUTH)
        assert "link" not in last.headers


async def test_a_session_is_read_with_its_messages_and_cancelled() -> None:
    async with serving_api() as api:
        detail = (await api.client.get("/sessions/ses_mira?limit=5", headers=AUTH)).json()
        assert detail["workspaceId"] == "ws_mira"
        assert detail["messages"][0]["content"] == "Hi"
        assert detail["lastEventId"] == "ses_mira:0"
        cancelled = (await api.client.post("/sessions/ses_mira/cancel", headers=AUTH)).json()
        assert cancelled == {
            "ok": True,
            "sessionId": "ses_mira",
            "turnId": "trn_1",
            "status": "cancelled",
            "lastEventId": "ses_mira:0",
        }


@pytest.mark.parametrize(
    ("accept", "content_type", "start"),
    [
        ("*/*", "application/json", b'{"uptime"'),
        ("", "application/json", b'{"uptime"'),
        ("nonsense;q=x", "application/json", b'{"uptime"'),
        ("text/plain;q=0.1, application/*;q=0.9", "application/json", b'{"uptime"'),
        (
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            b"und",
        ),
        ("text/plain", "text/plain; version=0.0.4; charset=utf-8", b"understudy_up"),
        (
            "application/openmetrics-text; version=1.0.0",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            b"und",
        ),
    ],
)
async def test_metrics_come_in_the_form_that_is_accepted(accept: str, content_type: str, start: bytes) -> None:
    async with serving_api() as api:
        response = await api.client.get("/metrics", headers={"Accept": accept})
        assert response.headers["content-type"] == content_type
        assert response.content.startswith(start)


async def test_money_is_shown_only_to_the_internal_key() -> None:
    async with serving_api() as api:
        assert "billing" not in (await api.client.get("/metrics")).json()
        billed = (await api.client.get("/metrics", headers=OPERATOR)).json()
        assert billed["billing"] == {"month": "2026-11", "totalCost": 0.25}


async def test_diagnostics_are_run_quickly_and_kept() -> None:
    async with serving_api() as api:
        full = (await api.client.get("/diagnostics", headers=OPERATOR)).json()
        assert (full["kind"], full["summary"]) == ("full", {"pass": 1, "warn": 0, "fail": 0})
        assert (await api.client.get("/diagnostics/quick", headers=OPERATOR)).json()["kind"] == "quick"
        runs = (await api.client.get("/diagnostics/history", headers=OPERATOR)).json()["runs"]
        assert runs == [{"id": "dgn_1", "status": "pass"}]


async def test_circuit_breakers_are_shown_to_operators() -> None:
    async with serving_api() as api:
        assert (await api.client.get("/diagnostics/circuit-breakers", headers=OPERATOR)).json() == {
            "breakers": [
                {
                    "provider": "claude",
                    "state": "open",
                    "failures": 5,
                    "successes": 0,
                    "openedAt": "2026-11-21T12:00:00Z",
                    "nextAttemptAt": "2026-11-21T12:01:00Z",
                    "lastError": "claude answered 529",
                }
            ]
        }
        assert (await api.client.get("/diagnostics/circuit-breakers")).status_code == 401


async def test_an_actor_can_be_looked_at_and_acted_on() -> None:
    async with serving_api() as api:
        await api.client.post("/agent/chat", json={"message": "hi"}, headers=AUTH)
        path = "/diagnostics/actors/session/ses_mira"
        node = (await api.client.get(path, headers=OPERATOR)).json()
        assert (node["address"], node["kind"], node["state"], node["inspect"]) == (
            "session/ses_mira",
            "session",
            "idle",
            {},
        )
        suspended = await api.client.post(f"{path}/suspend", headers=OPERATOR)
        assert suspended.json()["node"]["state"] == "suspended"
        assert (await api.client.post(f"{path}/resume", headers=OPERATOR)).json()["ok"]
        for act in ("restart", "kill"):
            epoch = (await api.client.get(path, headers=OPERATOR)).json()["epoch"]
            assert (await api.client.post(f"{path}/{act}", headers=OPERATOR)).status_code == 200
            await api.system.ensure("session/ses_mira")
            assert (await api.client.get(path, headers=OPERATOR)).json()["epoch"] > epoch
        await api.client.post("/agent/chat", json={"message": "hi"}, headers=AUTH)
        trace = (await api.client.get(f"{path}/trace", headers=OPERATOR)).json()
        assert trace["messages"][-1]["message"] == "Play"
        assert trace["messages"][-1]["outcome"] == "ok"


async def test_what_is_told_of_actors_is_what_is_described() -> None:
    began = datetime.now(UTC)
    async with serving_api() as api:
        await api.client.post("/agent/chat", json={"message": "crash"}, headers=AUTH)
        await api.system.ensure("session/ses_mira")
        for path, model in (
            ("", schemas_actors.ActorTree),
            ("/sessions", schemas_actors.ActorDetail),
            ("/session/ses_mira", schemas_actors.ActorDetail),
            ("/session/ses_mira/trace", schemas_actors.ActorTrace),
        ):
            answer = (await api.client.get(f"/diagnostics/actors{path}", headers=OPERATOR)).json()
            told = msgspec.convert(answer, model)
            assert msgspec.json.decode(msgspec.json.encode(told)).keys() == answer.keys()
            assert "0x" not in str(answer)
            if isinstance(told, schemas_actors.ActorDetail) and told.crash is not None:
                assert (told.crash.error, told.crash.message) == ("RuntimeError: on purpose", "Play")
                assert began <= told.crash.at <= datetime.now(UTC)
                assert answer["crash"].keys() == {"at", "error", "message"}
        for act in ("suspend", "resume", "restart", "kill"):
            answer = (await api.client.post(f"/diagnostics/actors/presence/{act}", headers=OPERATOR)).json()
            assert msgspec.convert(answer, schemas_actors.ActorControlled).ok


async def test_a_supervisor_can_be_looked_at() -> None:
    async with serving_api() as api:
        node = (await api.client.get("/diagnostics/actors/sessions", headers=OPERATOR)).json()
        assert node["strategy"] == "one_for_one"
        assert [child["address"] for child in node["children"]] == ["sessions/directory"]


async def test_the_openapi_document_is_served_in_both_forms_and_they_agree() -> None:
    async with serving_api() as api:
        json_form = (await api.client.get("/openapi.json")).json()
        yaml_form = yaml.safe_load((await api.client.get("/openapi.yaml")).text)
        assert json_form == yaml_form
        assert json_form["openapi"].startswith("3.1")


def test_the_openapi_document_has_every_route_an_id_for_each_and_no_loose_reference() -> None:
    app = create_app()
    made = document(app)
    served = {
        (openapi_path(rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    described = {(path, method) for path, methods in made["paths"].items() for method in methods}
    assert described == served
    ids = [operation["operationId"] for methods in made["paths"].values() for operation in methods.values()]
    assert len(ids) == len(set(ids)) == len(served)
    assert set(made["components"]["securitySchemes"]) == {"bearerAuth", "apiKeyAuth"}

    def references(value: object) -> set[str]:
        if isinstance(value, dict):
            own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
            return own.union(*(references(item) for item in value.values()))
        return set().union(*(references(item) for item in value)) if isinstance(value, list) else set()

    known = {f"#/components/schemas/{name}" for name in made["components"]["schemas"]}
    assert references(made) <= known
    chat = made["paths"]["/agent/chat"]["post"]
    assert {"X-Workspace-Id", "X-Idempotency-Key"} <= {parameter["name"] for parameter in chat["parameters"]}
    assert chat["requestBody"]["content"]["application/json"]["example"]["message"]
    assert "/diagnostics/actors/{address}/kill" in made["paths"]


async def test_what_is_answered_fits_what_is_described() -> None:
    made = document(create_app())
    async with serving_api() as api:

        async def fits(response: httpx.Response, path: str, method: str) -> None:
            described = made["paths"][path][method]["responses"][str(response.status_code)]
            reference = described["content"]["application/json"]["schema"]["$ref"]
            schema = made["components"]["schemas"][reference.rpartition("/")[2]]
            answer = msgspec.json.decode(response.content)
            assert set(schema.get("required", ())) <= set(answer) <= set(schema["properties"])

        await fits(await api.client.post("/agent/chat", json={"message": "hi"}, headers=AUTH), "/agent/chat", "post")
        await fits(await api.client.get("/sessions", headers=AUTH), "/sessions", "get")
        await fits(await api.client.get("/sessions/ses_mira", headers=AUTH), "/sessions/{id}", "get")
        await fits(await api.client.get("/health"), "/health", "get")
        await fits(await api.client.get("/metrics"), "/metrics", "get")
        await fits(await api.client.get("/diagnostics", headers=OPERATOR), "/diagnostics", "get")
        await fits(await api.client.post("/agent/chat", json={}, headers=AUTH), "/agent/chat", "post")
