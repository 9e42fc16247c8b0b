"""What a plain chat does while a person thinks, and how many streams one person may read."""

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.support.neighbours import AUTH, Api, serving_api
from tests.support.requests import post, stream
from tests.support.server import RawClient
from tests.support.talks import Consent, CountReaders

SESSION = "session/ses_mira"


async def until_read(api: Api) -> None:
    """Return when the request that reads the session has seen all that happened there."""
    while api.system.whereis(SESSION) is None or not await api.system.ask(SESSION, CountReaders()):
        await wait_all_tasks_blocked(0.001)
    await wait_all_tasks_blocked(0.001)


async def test_the_time_that_somebody_thinks_about_a_call_is_not_the_requests(mock_clock: MockClock) -> None:
    async with serving_api(request_timeout=3.0) as api, await api.running.connect() as client:
        await client.send(post("/agent/chat", '{"message":"consent"}'))
        await until_read(api)
        mock_clock.jump(10)
        await until_read(api)
        api.system.tell(SESSION, Consent())
        response = await client.response()
        assert (response.status, response.json["content"]) == (200, "Good day.")


async def test_when_they_have_decided_the_requests_clock_goes_on(mock_clock: MockClock) -> None:
    async with serving_api(request_timeout=3.0) as api, await api.running.connect() as client:
        await client.send(post("/agent/chat", '{"message":"consent and silence"}'))
        await until_read(api)
        mock_clock.jump(10)
        api.system.tell(SESSION, Consent())
        await until_read(api)
        mock_clock.jump(4)
        response = await client.response()
        assert (response.status, response.json["code"]) == (504, "TIMEOUT")


async def read_silence(client: RawClient) -> None:
    await client.send(stream("silence"))
    assert (await client.head()).status == 200


async def test_a_user_reads_so_many_streams_at_once_and_another_one_as_many() -> None:
    events = "/sessions/ses_mira/events"
    async with serving_api(streams_of_user=2) as api:
        async with await api.running.connect() as first, await api.running.connect() as second:
            await read_silence(first)
            await read_silence(second)
            logged = len(api.logs[SESSION])
            for answer in (
                await api.client.post("/agent/chat/stream", json={"message": "hi"}, headers=AUTH),
                await api.client.get(events, headers=AUTH),
            ):
                assert (answer.status_code, answer.json()["code"]) == (429, "RATE_LIMIT")
                assert int(answer.headers["retry-after"]) > 0
            assert len(api.logs[SESSION]) == logged, "no turn was begun for a stream that is refused"
            chat = await api.client.post("/agent/chat", json={"message": "hi"}, headers=AUTH)
            assert chat.status_code == 200
            other = {"Authorization": "Bearer good-noor"}
            spoken = await api.client.post("/agent/chat/stream", json={"message": "hi"}, headers=other)
            assert spoken.status_code == 200
        while (await api.client.get(f"{events}?follow=false", headers=AUTH)).status_code == 429:
            await trio.sleep(0.005)
