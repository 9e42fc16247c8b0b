"""`/webhooks` over real sockets, real actors and a real database, to a receiver on the loopback."""

import hashlib
import hmac
import ipaddress
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import httpx
import pytest
import trio
from standardwebhooks import Webhook as Verifier

from tests.support.platform import Caller, Platform, serving_platform
from tests.support.receiver import Receiver, receiving
from understudy.actors.errors import NotFound
from understudy.actors.facts import fact
from understudy.actors.jobs.kinds import JobRun
from understudy.actors.outbound.guarded import GuardedClient
from understudy.actors.webhooks.fanout import webhook_consumer
from understudy.actors.webhooks.jobs import webhook_job_kinds
from understudy.actors.webhooks.messages import EVENTS, MOST_WEBHOOKS
from understudy.actors.webhooks.poster import GuardedPoster
from understudy.actors.webhooks.schedule import RetrySchedule
from understudy.actors.webhooks.tree import webhooks_spec
from understudy.actors.webhooks.webhook import Delivering
from understudy.storage.job import Job
from understudy.storage.pool import Pool
from understudy.storage.records import OutboxItem, WorkspaceRole

ROOT = "/webhooks"
SOMEWHERE = "https://hooks.example.org/in"
NEW = {"url": SOMEWHERE, "events": ["*"]}


async def resolve(host: str, port: int) -> Sequence[str]:
    """The names that these tests use, and addresses as they are."""
    del port
    if host == "unknown.example.org":
        raise OSError("no such host")
    return {"hooks.example.org": ("93.184.215.14",), "inside.example.org": ("10.0.0.7",)}.get(host, (host,))


@pytest.fixture
async def platform(pool: Pool) -> AsyncIterator[Platform]:
    async with serving_platform(pool) as platform:
        client = GuardedClient([ipaddress.ip_network("127.0.0.1/32")], resolver=resolve)
        services = Delivering(
            platform.store.deliveries,
            GuardedPoster(client, insecure=True),
            schedule=RetrySchedule((0.01, 0.01)),
        )
        await platform.system.spawn(webhooks_spec(platform.store.webhooks, services, every=0.1))
        yield platform


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


async def call(caller: Caller, method: str, path: str = "", body: Any = None, **headers: str) -> httpx.Response:
    return await caller.call(method, f"{ROOT}{path}", body, **headers)


async def make(caller: Caller, **more: Any) -> Any:
    made = await call(caller, "POST", "", NEW | more)
    assert made.status_code == 201, made.text
    return made.json()


async def happen(platform: Platform, caller: Caller, event: str = "agent.completed") -> str:
    """A fact about the caller, as the outbox tells it; its id."""
    now = datetime.now(UTC)
    told = fact(event, uid=caller.uid, workspace_id=caller.workspace_id, data={"agentId": "chad"}, at=now)
    consumer = webhook_consumer(platform.system, platform.store.deliveries)
    await consumer.deliver(OutboxItem(told.id, event, caller.workspace_id, told.payload, now, 1))
    return told.id


async def settled(caller: Caller, webhook_id: str) -> list[dict[str, Any]]:
    """The history once nothing is pending."""
    while True:
        shown: list[dict[str, Any]] = (await call(caller, "GET", f"/{webhook_id}/deliveries")).json()["deliveries"]
        if all(each["status"] != "pending" for each in shown):
            return shown
        await trio.sleep(0.01)


def problem(response: httpx.Response) -> tuple[int, str, str | None]:
    body = response.json()
    assert set(body) <= {"error", "code", "requestId", "details"}
    details = body.get("details") or [{"path": None}]
    return response.status_code, body["code"], details[0]["path"]


async def test_a_webhook_is_made_with_a_secret_that_is_shown_once(mira: Caller) -> None:
    answer = await call(mira, "POST", "", NEW | {"description": "To the channel", "events": ["agent.failed"] * 2})
    made = answer.json()
    assert answer.headers["location"] == f"/webhooks/{made['id']}"
    assert made.pop("secret").startswith("whsec_")
    assert made["id"].startswith("whk_")
    assert datetime.fromisoformat(made["createdAt"]) - datetime.now(UTC) < timedelta(minutes=1)
    assert {key: made[key] for key in ("url", "events", "description", "enabled", "workspaceId", "failures")} == {
        "url": SOMEWHERE,
        "events": ["agent.failed"],
        "description": "To the channel",
        "enabled": True,
        "workspaceId": None,
        "failures": 0,
    }
    assert (await call(mira, "GET", f"/{made['id']}")).json() == made
    assert (await call(mira, "GET")).json() == {"webhooks": [made], "total": 1}


async def test_making_one_is_idempotent_by_key(mira: Caller) -> None:
    first = await call(mira, "POST", "", NEW, x_idempotency_key="k1")
    again = await call(mira, "POST", "", NEW, x_idempotency_key="k1")
    assert first.json() == again.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert (await call(mira, "GET")).json()["total"] == 1
    other = await call(mira, "POST", "", NEW | {"enabled": False}, x_idempotency_key="k1")
    assert problem(other) == (409, "CONFLICT", None)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"url": ""}, "url"),
    ({"url": "hooks.example.org"}, "url"),
    ({"url": "ftp://hooks.example.org"}, "url"),
    ({"url": "https://user:pw@hooks.example.org"}, "url"),
    ({"url": f"https://hooks.example.org/{'x' * 2048}"}, "url"),
    ({"url": "https://hooks.example.org:25"}, "url"),
    ({"url": "https://10.0.0.7"}, "url"),
    ({"url": "https://169.254.169.254/latest"}, "url"),
    ({"url": "https://[::1]/"}, "url"),
    ({"url": "https://inside.example.org"}, "url"),
    ({"url": "https://unknown.example.org"}, "url"),
    ({"events": []}, "events"),
    ({"events": ["agent.completed", "agent.sneezed"]}, "events[1]"),
    ({"events": ["webhook.test"]}, "events[0]"),
    ({"events": "*"}, "events"),
    ({"description": "x" * 201}, "description"),
    ({"secret": "short"}, "secret"),
    ({"secret": "whsec_abc"}, "secret"),
    ({"enabled": "yes"}, "enabled"),
]


async def test_a_bad_field_is_named_on_making_and_on_changing(mira: Caller) -> None:
    made = await make(mira)
    for wrong, path in WRONG:
        assert problem(await call(mira, "POST", "", NEW | wrong)) == (400, "VALIDATION", path), wrong
        assert problem(await call(mira, "PUT", f"/{made['id']}", wrong)) == (400, "VALIDATION", path), wrong
    shown = (await call(mira, "GET")).json()
    assert (shown["total"], shown["webhooks"][0]["updatedAt"]) == (1, made["updatedAt"])


async def test_an_unknown_event_is_answered_with_those_there_are(mira: Caller) -> None:
    said = (await call(mira, "POST", "", NEW | {"events": ["nothing"]})).json()["error"]
    assert all(event in said for event in (*EVENTS, "*"))


async def test_plain_http_is_refused_unless_the_operator_allows_it(pool: Pool) -> None:
    async with serving_platform(pool) as platform:
        poster = GuardedPoster(GuardedClient(resolver=resolve))
        services = Delivering(platform.store.deliveries, poster)
        await platform.system.spawn(webhooks_spec(platform.store.webhooks, services))
        mira = await platform.user()
        plain = NEW | {"url": "http://hooks.example.org/in"}
        assert problem(await call(mira, "POST", "", plain)) == (400, "VALIDATION", "url")
        assert (await poster.post("http://hooks.example.org", {}, b"")).error == "only https URLs are allowed here"


async def test_a_user_has_so_many_webhooks(mira: Caller) -> None:
    for _ in range(MOST_WEBHOOKS):
        await make(mira)
    assert problem(await call(mira, "POST", "", NEW)) == (409, "CONFLICT", None)


async def test_every_route_is_ones_own(platform: Platform, mira: Caller) -> None:
    made = await make(mira, workspaceId=mira.workspace_id)
    stranger = await platform.user()
    colleague = await platform.member(mira, WorkspaceRole.ADMIN)
    for other in (stranger, colleague):
        assert (await call(other, "GET")).json() == {"webhooks": [], "total": 0}
        for method, path, body in (
            ("GET", "", None),
            ("PUT", "", {"enabled": False}),
            ("DELETE", "", None),
            ("GET", "/deliveries", None),
            ("POST", "/test", None),
            ("POST", "/deliveries/dlv_1/replay", None),
        ):
            answer = await call(other, method, f"/{made['id']}{path}", body)
            assert problem(answer) == (404, "NOT_FOUND", None), (method, path)
    anonymous = await mira.client.get(ROOT)
    assert problem(anonymous) == (401, "UNAUTHENTICATED", None)
    assert (await call(mira, "GET", f"/{made['id']}")).json()["enabled"] is True


async def test_a_webhook_is_for_a_workspace_that_one_belongs_to(platform: Platform, mira: Caller) -> None:
    stranger = await platform.user()
    foreign = {"workspaceId": stranger.workspace_id}
    assert problem(await call(mira, "POST", "", NEW | foreign)) == (403, "FORBIDDEN", None)
    made = await make(mira, workspaceId=mira.workspace_id)
    assert problem(await call(mira, "PUT", f"/{made['id']}", foreign)) == (403, "FORBIDDEN", None)
    everywhere = await call(mira, "PUT", f"/{made['id']}", {"workspaceId": None})
    assert everywhere.json()["workspaceId"] is None


async def test_a_delivery_arrives_signed_both_ways_and_is_in_the_history(
    platform: Platform, mira: Caller, receiver: Receiver
) -> None:
    made = await make(mira, url=f"{receiver.url}/in?channel=7", events=["agent.completed"])
    await happen(platform, mira, "agent.failed")
    event_id = await happen(platform, mira)
    (got,) = await receiver.wait(1)
    assert got.path == "/in?channel=7"
    told = Verifier(made["secret"]).verify(got.body, got.headers)
    assert (told["id"], told["event"], told["data"]) == (event_id, "agent.completed", {"agentId": "chad"})
    mac = hmac.new(made["secret"].encode(), got.body, hashlib.sha256).hexdigest()
    assert got.headers["x-astra-signature"] == f"sha256={mac}"
    (shown,) = await settled(mira, made["id"])
    assert got.headers["x-astra-delivery"] == shown["id"]
    assert got.headers["x-astra-event"] == shown["event"] == "agent.completed"
    assert (shown["eventId"], shown["status"], shown["attempts"], shown["responseStatus"]) == (
        event_id,
        "success",
        1,
        200,
    )
    assert (shown["error"], shown["nextAttemptAt"]) == (None, None)


async def test_a_receiver_that_fails_is_tried_to_the_end_and_no_redirect_is_followed(
    platform: Platform, mira: Caller, receiver: Receiver
) -> None:
    receiver.script = [500, 302, 404]
    made = await make(mira, url=receiver.url)
    await happen(platform, mira)
    await receiver.wait(3)
    (shown,) = await settled(mira, made["id"])
    assert (shown["status"], shown["attempts"], shown["responseStatus"], shown["error"]) == (
        "failed",
        3,
        404,
        "answered 404",
    )
    assert {request.path for request in receiver.got} == {"/"}
    assert (await call(mira, "GET", f"/{made['id']}")).json()["failures"] == 3
    replayed = await call(mira, "POST", f"/{made['id']}/deliveries/{shown['id']}/replay", x_idempotency_key="r1")
    assert (replayed.status_code, replayed.json()["status"]) == (202, "pending")
    await receiver.wait(4)
    (again,) = await settled(mira, made["id"])
    assert (again["id"], again["status"], again["attempts"]) == (shown["id"], "success", 4)
    assert len({request.body for request in receiver.got}) == 1
    assert problem(await call(mira, "POST", f"/{made['id']}/deliveries/dlv_none/replay")) == (404, "NOT_FOUND", None)


async def test_an_address_is_looked_at_again_at_each_delivery(platform: Platform, mira: Caller) -> None:
    made = await make(mira)
    async with platform.pool.connection() as connection:
        await connection.execute("UPDATE webhooks SET url = 'https://inside.example.org/'")
    await happen(platform, mira)
    (shown,) = await settled(mira, made["id"])
    assert (shown["status"], shown["responseStatus"]) == ("failed", None)
    assert "not allowed" in shown["error"]


async def test_a_new_secret_signs_beside_the_old_one_for_a_day(
    platform: Platform, mira: Caller, receiver: Receiver
) -> None:
    made = await make(mira, url=receiver.url)
    changed = (await call(mira, "PUT", f"/{made['id']}", {"secret": "whsec_bmV3IHNlY3JldA=="})).json()
    assert "secret" not in changed
    until = datetime.fromisoformat(changed["oldSecretUntil"])
    assert timedelta(hours=23) < until - datetime.now(UTC) <= timedelta(hours=24)
    await happen(platform, mira)
    (got,) = await receiver.wait(1)
    for secret in (made["secret"], "whsec_bmV3IHNlY3JldA=="):
        Verifier(secret).verify(got.body, got.headers)


async def test_disabled_it_gets_nothing_and_enabled_it_goes_on(
    platform: Platform, mira: Caller, receiver: Receiver
) -> None:
    made = await make(mira, url=receiver.url, enabled=False)
    await happen(platform, mira)
    assert (await call(mira, "GET", f"/{made['id']}/deliveries")).json() == {"deliveries": []}
    await call(mira, "PUT", f"/{made['id']}", {"enabled": True})
    receiver.script = [410]
    await happen(platform, mira)
    await receiver.wait(1)
    await settled(mira, made["id"])
    gone = (await call(mira, "GET", f"/{made['id']}")).json()
    assert (gone["enabled"], gone["disabledReason"]) == (False, "gone")
    dead = (await settled(mira, made["id"]))[0]
    replay = f"/{made['id']}/deliveries/{dead['id']}/replay"
    assert problem(await call(mira, "POST", replay)) == (409, "CONFLICT", None)
    enabled = (await call(mira, "PUT", f"/{made['id']}", {"enabled": True})).json()
    assert (enabled["enabled"], enabled["disabledReason"], enabled["failures"]) == (True, None, 0)


async def test_a_test_says_what_the_receiver_says(mira: Caller, receiver: Receiver) -> None:
    made = await make(mira, url=receiver.url)
    receiver.script = [204, 503]
    good = (await call(mira, "POST", f"/{made['id']}/test")).json()
    assert (good["delivered"], good["status"], good["error"]) == (True, 204, None)
    assert 0 <= good["durationMs"] < 5000
    told = Verifier(made["secret"]).verify(receiver.got[0].body, receiver.got[0].headers)
    assert (told["event"], told["data"]) == ("webhook.test", {"webhookId": made["id"]})
    bad = await call(mira, "POST", f"/{made['id']}/test")
    assert bad.status_code == 200
    assert (bad.json()["delivered"], bad.json()["status"], bad.json()["error"]) == (False, 503, "answered 503")
    history = (await call(mira, "GET", f"/{made['id']}/deliveries?limit=1")).json()["deliveries"]
    assert [(each["event"], each["status"]) for each in history] == [("webhook.test", "failed")]
    assert (await call(mira, "GET", f"/{made['id']}")).json()["failures"] == 0
    for limit in ("0", "201", "x"):
        refused = await call(mira, "GET", f"/{made['id']}/deliveries?limit={limit}")
        assert problem(refused) == (400, "VALIDATION", "limit")


async def test_every_change_is_in_the_audit_log_and_no_secret_is(platform: Platform, mira: Caller) -> None:
    made = await make(mira)
    await call(mira, "PUT", f"/{made['id']}", {"secret": "another-secret", "enabled": True})
    assert (await call(mira, "DELETE", f"/{made['id']}")).status_code == 204
    assert problem(await call(mira, "DELETE", f"/{made['id']}")) == (404, "NOT_FOUND", None)
    lines = [line for line in await platform.store.audit.of_user(mira.uid) if line.event.startswith("webhook.")]
    assert [line.event for line in lines] == ["webhook.deleted", "webhook.changed", "webhook.created"]
    assert {line.metadata["webhook"] for line in lines} == {made["id"]}
    assert lines[1].metadata["fields"] == ["enabled", "secret"]
    assert made["secret"] not in str(lines)
    assert "another-secret" not in str(lines)


async def test_a_job_delivers_once_more_what_is_its_askers_own(
    platform: Platform, mira: Caller, receiver: Receiver
) -> None:
    made = await make(mira, url=receiver.url)
    event = await happen(platform, mira)
    (delivery,) = await settled(mira, made["id"])
    (kind,) = webhook_job_kinds(platform.system)
    payload = {"webhookId": made["id"], "deliveryId": delivery["id"]}
    assert (kind.public, [detail.path for detail in kind.check({})]) == (True, ["webhookId"])
    now = datetime.now(UTC)
    job = Job("job_1", kind.name, payload, now, now, mira.workspace_id, mira.uid)
    stranger = await platform.user()
    with pytest.raises(NotFound):
        await kind.run(JobRun(attrs.evolve(job, uid=stranger.uid)))
    assert await kind.run(JobRun(job)) == {**payload, "eventId": event}
    assert [request.headers["webhook-id"] for request in await receiver.wait(2)] == [event, event]
